"""The market's clock: the replica's own idea of now, set, sped up or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock


class Clock:
    """Market time: `now` + `speed` x elapsed; without `now` the wall clock at speed 1.

    Speed 0 stops the market, for tests that want every minute by hand. `ticker` is any monotonic clock.
    """

    def __init__(
        self, now: datetime | None = None, speed: float = 1.0, ticker: Callable[[], float] = time.monotonic
    ) -> None:
        self._ticker = ticker
        self._lock = Lock()
        self._speed = _checked(speed)
        self._mark = ticker()
        self._market = time.time() if now is None else _epoch(now)

    def now(self) -> float:
        """Market time in epoch seconds."""
        with self._lock:
            return self._market + self._speed * (self._ticker() - self._mark)

    @property
    def speed(self) -> float:
        return self._speed

    def set(self, now: datetime | float | None = None, speed: float | None = None) -> None:
        """From here on `now` and `speed`; what is not given goes on as it was."""
        market = self.now() if now is None else _epoch(now)
        with self._lock:
            self._market, self._mark = market, self._ticker()
            self._speed = self._speed if speed is None else _checked(speed)

    def advance(self, seconds: float) -> None:
        self.set(self.now() + seconds)


def _checked(speed: float) -> float:
    if not 0 <= speed < float("inf"):
        raise ValueError(f"speed {speed}: market seconds per real second, 0 (stopped) or more")
    return speed


def _epoch(at: datetime | float) -> float:
    if not isinstance(at, datetime):
        return float(at)
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).timestamp()
