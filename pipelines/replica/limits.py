"""Binance's request weight: counted per minute of real time, refused with 429, banned with 418."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What spending weight came to: `status` 200, 429 or 418; `retry_after` in seconds."""

    used: int
    status: int = 200
    retry_after: int = 0
    banned_until: float = 0.0


class WeightLimit:
    """`limit` a minute; who goes on after 429 more than `patience` times is banned for `ban_s`.

    `wall` is real time in epoch seconds: clients sleep in real seconds, whatever the market's speed.
    """

    def __init__(
        self, limit: int = 6000, patience: int = 10, ban_s: int = 120, wall: Callable[[], float] = time.time
    ) -> None:
        self.limit = limit
        self.used = 0
        self._patience = patience
        self._ban_s = ban_s
        self._wall = wall
        self._minute = -1
        self._strikes = 0
        self._banned_until = 0.0

    def spend(self, weight: int) -> Verdict:
        now = self._wall()
        if int(now // 60) != self._minute:
            self._minute, self.used, self._strikes = int(now // 60), 0, 0
        self.used += weight
        if now < self._banned_until:
            return self._banned(now)
        if self.used <= self.limit:
            return Verdict(self.used)
        self._strikes += 1
        if self._strikes > self._patience:
            self._banned_until = now + self._ban_s
            return self._banned(now)
        return Verdict(self.used, 429, int(60 - now % 60) + 1)

    def _banned(self, now: float) -> Verdict:
        return Verdict(self.used, 418, int(self._banned_until - now) + 1, self._banned_until)
