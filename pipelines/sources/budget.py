"""How much a venue may be asked: request weight per minute, and a breaker that keeps a pause across runs.

Each minute is a new process, so the breaker is a plain value in a small JSON file. It is

    closed      ask freely
    open        ask nothing until `open_until`: the venue said so (429, 418, 403, 451) or gave no proper
                answer to `OPENS_AFTER` fetches in a row
    half-open   the pause is over: one request goes first, the others only if it is answered
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import orjson

from pipelines.market import MINUTE, floor_minute

OPENS_AFTER = 3
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 900.0
USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"


@dataclass(frozen=True)
class Breaker:
    """Whether a source may be asked; every change gives a new value."""

    failures: int = 0
    """Fetches in a row that got no proper answer at all."""
    openings: int = 0
    """Pauses in a row of our own making, each twice as long as the one before."""
    open_until: datetime | None = None
    reason: str = ""

    def state(self, now: datetime) -> Literal["closed", "open", "half-open"]:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def wait_s(self, now: datetime) -> float:
        """Seconds until the source may be asked again; 0 unless open."""
        return max(0.0, (self.open_until - now).total_seconds()) if self.open_until else 0.0

    def answered(self) -> Breaker:
        return Breaker()

    def unanswered(self, now: datetime, reason: str) -> Breaker:
        """After a whole fetch failed; a failed probe opens it again at once."""
        failures = self.failures + 1
        if failures < OPENS_AFTER and self.open_until is None:
            return replace(self, failures=failures, reason=reason)
        pause = min(FIRST_PAUSE_S * 2**self.openings, LONGEST_PAUSE_S)
        return Breaker(failures, min(self.openings + 1, 10), now + timedelta(seconds=pause), reason)

    def paused(self, now: datetime, pause_s: float, reason: str) -> Breaker:
        """After the venue asked for a pause; never shortens one that is running."""
        until = now + timedelta(seconds=pause_s)
        if self.open_until and self.open_until > until:
            return self
        return replace(self, open_until=until, reason=reason)

    @classmethod
    def load(cls, path: Path | None) -> Breaker:
        """The saved value; a closed breaker where there is no readable file: the venue will say it again."""
        if path is None:
            return cls()
        try:
            saved = orjson.loads(path.read_bytes())
            until = datetime.fromisoformat(saved["open_until"]) if saved["open_until"] else None
            return cls(int(saved["failures"]), int(saved["openings"]), until, str(saved["reason"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def save(self, path: Path | None) -> None:
        """Replaces the file at once or not at all."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(orjson.dumps(asdict(self)))
        temporary.replace(path)


class WeightBudget:
    """Request weight used in the current minute, by our own count and by the venue's header."""

    def __init__(self, limit: int, share: float) -> None:
        self.ceiling = int(limit * share)
        self.used = 0
        self.under_way = 0
        self.minute: datetime | None = None

    def reserve(self, weight: int, now: datetime) -> float:
        """0 if a request of `weight` may go now, which counts it; else seconds until it may be asked again.

        A request that alone is over the ceiling goes when nothing else was used.
        """
        self._roll(now)
        spent = self.used + self.under_way
        if spent and spent + weight > self.ceiling:
            return (floor_minute(now) + MINUTE - now).total_seconds()
        self.under_way += weight
        return 0.0

    def settle(self, weight: int, headers: Mapping[str, str], now: datetime) -> None:
        """Ends a reservation; the venue's count wins where it is higher, it knows of other processes."""
        self._roll(now)
        self.under_way -= weight
        counted = headers.get(USED_WEIGHT, "")
        self.used = max(self.used + weight, int(counted) if counted.isascii() and counted.isdigit() else 0)

    def _roll(self, now: datetime) -> None:
        if floor_minute(now) != self.minute:
            self.minute, self.used = floor_minute(now), 0
