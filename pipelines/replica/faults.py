"""What can go wrong: faults from a script or the control endpoint, each with its match, time and count.

A fault as TOML (`[[fault]]`) or JSON: `kind`; `venue`, `symbol`, `path` globs; `at` (ISO, epoch or "+90s"
from the start; now if absent), `for` (market seconds or "5m"; for ever if absent), `count` (hits; no limit if
absent), `rate` (share of matching requests, 1 if absent); whatever else the kind takes (see KINDS).
"""

from __future__ import annotations

import difflib
import random
import tomllib
from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from threading import RLock
from typing import Any

import orjson

from pipelines.market import Interval
from pipelines.replica.errors import ReplicaError
from pipelines.replica.wire import instant

TRANSPORT = {
    "status": {"status", "retry_after", "body"},
    "outage": {"status"},
    "html": {"status"},
    "malformed": set[str](),
    "truncated": set[str](),
    "timeout": {"seconds"},
    "cut": set[str](),
    "slow": {"seconds"},
}
ROWS = {
    "null_rows": {"rows"},
    "drop_rows": {"rows"},
    "duplicate_rows": {"rows"},
    "out_of_order": set[str](),
    "negative_price": {"rows"},
    "zero_price": {"rows"},
    "nan_price": {"rows"},
    "high_below_low": {"rows"},
    "future_bar": {"minutes"},
    "missing_minutes": {"from", "to"},
}
TAPE = {
    "revise": {"ts", "factor", "set"},
    "shock": {"shock", "minutes", "size", "label"},
    "lost_trades": {"from", "to"},
}
CLOCK = {"clock_skew": {"seconds"}}
CONNECTION = {
    "cut_stream": set[str](),
    "shutdown_stream": {"seconds"},
}
MESSAGES = {
    "silent_stream": set[str](),
    "drop_messages": set[str](),
    "duplicate_messages": set[str](),
    "reorder_messages": set[str](),
    "corrupt_messages": {"binary"},
    "oversized_messages": {"bytes"},
}
KINDS = TRANSPORT | ROWS | TAPE | CLOCK | CONNECTION | MESSAGES
"""Kind -> its own parameters."""
REQUESTS = TRANSPORT | ROWS

_COMMON = {"kind", "venue", "symbol", "path", "at", "for", "count", "rate", "id"}


@dataclass
class Fault:
    """One thing that goes wrong while it is active, matches and has hits left."""

    id: int
    kind: str
    at: float
    venue: str = "*"
    symbol: str = "*"
    path: str = "*"
    seconds: float | None = None
    count: int | None = None
    rate: float = 1.0
    params: dict[str, Any] = field(default_factory=dict)
    hits: int = 0
    applied: bool = False

    def active(self, now: float) -> bool:
        ended = self.seconds is not None and now >= self.at + self.seconds
        return self.at <= now and not ended and (self.count is None or self.hits < self.count)

    def matches(self, venue: str, symbol: str, path: str) -> bool:
        return (
            fnmatchcase(venue, self.venue)
            and fnmatchcase(symbol, self.symbol)
            and fnmatchcase(path, self.path)
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "venue": self.venue,
            "symbol": self.symbol,
            "path": self.path,
            "at": self.at,
            "for": self.seconds,
            "count": self.count,
            "rate": self.rate,
            "hits": self.hits,
            **self.params,
        }


class Faults:
    """All faults of a replica and the log of what they did; safe from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = RLock()
        self._faults: list[Fault] = []
        self._next = 1
        self._dice = random.Random(seed)
        self.log: deque[dict[str, Any]] = deque(maxlen=10_000)

    def add(self, spec: dict[str, Any], now: float) -> Fault:
        """The fault as understood; raises ReplicaError that names the wrong key."""
        fault = _parsed(spec, now, self._next)
        with self._lock:
            self._next += 1
            self._faults.append(fault)
        return fault

    def load(self, script: Path, now: float) -> list[Fault]:
        """Every fault of a TOML or JSON file; raises ReplicaError naming file and entry."""
        return [self._scripted(script, number, spec, now) for number, spec in enumerate(_read(script), 1)]

    def _scripted(self, script: Path, number: int, spec: dict[str, Any], now: float) -> Fault:
        try:
            return self.add(spec, now)
        except ReplicaError as error:
            raise ReplicaError(f"{script}: fault {number}: {error}") from None

    def remove(self, fault_id: int | None = None) -> int:
        """Take one fault or all away; how many went."""
        with self._lock:
            kept = [one for one in self._faults if fault_id is not None and one.id != fault_id]
            gone = len(self._faults) - len(kept)
            self._faults = kept
            return gone

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def due(self, now: float) -> list[Fault]:
        """Faults of the tape itself whose time has come, each once."""
        with self._lock:
            found = [one for one in self._faults if one.kind in TAPE and not one.applied and one.active(now)]
            for one in found:
                one.applied = True
                one.hits += 1
            return found

    def strike(
        self, venue: str, symbol: str, path: str, now: float, among: Container[str] = REQUESTS
    ) -> list[Fault]:
        """The faults of these kinds that hit this request, connection or message; each is counted and logged."""
        if not self._faults:
            return []
        with self._lock:
            found = [
                one for one in self._faults if one.kind in among and self._hits(one, venue, symbol, path, now)
            ]
            for one in found:
                one.hits += 1
                entry = {"fault": one.id, "kind": one.kind, "at": now, "venue": venue, "symbol": symbol}
                self.log.append({**entry, "path": path})
            return found

    def _hits(self, one: Fault, venue: str, symbol: str, path: str, now: float) -> bool:
        if not one.active(now) or not one.matches(venue, symbol, path):
            return False
        return one.rate >= 1 or self._dice.random() < one.rate

    def skew(self, venue: str, now: float) -> float:
        """Seconds by which that venue's clock is ahead of the market's."""
        if not self._faults:
            return 0.0
        with self._lock:
            return sum(
                float(one.params.get("seconds", 0))
                for one in self._faults
                if one.kind == "clock_skew" and one.active(now) and one.matches(venue, "", "")
            )


def _read(script: Path) -> list[dict[str, Any]]:
    try:
        text = script.read_text()
        value = orjson.loads(text) if script.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ReplicaError(f"cannot read the faults in {script}: {error.strerror}") from None
    except ValueError as error:
        raise ReplicaError(f"{script} is neither TOML nor JSON: {error}") from None
    found = value if isinstance(value, list) else value.get("fault", value.get("faults", []))
    return list(found)


def _parsed(spec: dict[str, Any], now: float, number: int) -> Fault:
    kind = str(spec.get("kind", ""))
    if kind not in KINDS:
        raise ReplicaError(f"unknown kind {kind!r}{_hint(kind, KINDS)}; one of {', '.join(KINDS)}")
    unknown = set(spec) - _COMMON - KINDS[kind]
    if unknown:
        name = min(unknown)
        known = _COMMON | KINDS[kind]
        raise ReplicaError(
            f"{kind} takes no {name!r}{_hint(name, known)}; it takes {', '.join(sorted(known))}"
        )
    if kind in TAPE and not spec.get("symbol"):
        raise ReplicaError(f'{kind} needs a symbol, such as "BTCUSDT", "BTC*", or "*" for all')
    try:
        return Fault(
            id=number,
            kind=kind,
            at=_at(spec.get("at"), now),
            venue=str(spec.get("venue", "*")),
            symbol=str(spec.get("symbol", "*")),
            path=str(spec.get("path", "*")),
            seconds=None if spec.get("for") is None else length(spec["for"]),
            count=None if spec.get("count") is None else int(spec["count"]),
            rate=float(spec.get("rate", 1)),
            params={name: spec[name] for name in KINDS[kind] if name in spec},
        )
    except (TypeError, ValueError) as error:
        raise ReplicaError(f"{kind}: {error}") from None


def _hint(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _at(value: Any, now: float) -> float:
    if value is None:
        return now
    text = str(value)
    if text.startswith("+"):
        return now + length(text[1:])
    try:
        return instant(text)
    except ValueError:
        raise ValueError(
            f'at = {value!r} is no time; write an ISO time, epoch seconds, or "+90s" from now'
        ) from None


def length(value: Any) -> float:
    """Seconds out of a number or `90s`, `5m`, `1h`; raises ValueError."""
    try:
        return float(value)
    except ValueError:
        return float(Interval.parse(str(value)).seconds)
