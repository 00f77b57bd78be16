"""Log prices with random access: daily anchors, joined within the day by bridges.

An anchor walk plus Brownian bridges is a Brownian motion, so any day can be drawn without the days
before it. A follower adds a stationary AR(1) spread to its leader, conditioned on the spread's value at
both ends of the day (Gaussian bridge of an AR(1)).
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from pipelines.replica import nyse
from pipelines.replica.columns import Floats, Ints
from pipelines.replica.instruments import LISTED, Instrument

DAY_S = 86400
FIRST_DAY = (date(2010, 1, 1) - date(1970, 1, 1)).days
LAST_DAY = (date(2040, 1, 1) - date(1970, 1, 1)).days
SPREAD_HALF_LIFE = 8.0
"""Minutes. Engle-Granger on 600 bars has a t of about -sqrt(600 (1 - phi) / (1 + phi)): 30 minutes would
give -2.6 and stay unseen beside the critical -3.4, 8 minutes give -5."""
SPREAD_STD = 0.0011

_REVERSION = 0.5 ** (1 / 90)  # daily anchors come home with a half-life of 90 days
_FACTOR_VOL = {"crypto": 0.021, "equity": 0.009}
_GAP_VOL = 0.004
_MONDAY_TO_FRIDAY_SHARE = 0.9


def generator(seed: int, *words: object) -> np.random.Generator:
    """A stream of its own for these words: the same words, the same numbers, in any order of asking."""
    text = "|".join(map(str, (seed, *words)))
    return np.random.Generator(
        np.random.PCG64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))
    )


def bridge(start: float, end: float, spread: Floats, noise: Floats) -> Floats:
    """A path of len(noise) + 1 points from `start` to `end`; `spread` is each step's standard deviation."""
    path = np.concatenate(([0.0], np.cumsum(noise * spread)))
    share = np.concatenate(([0.0], np.cumsum(spread**2)))
    path += start + (end - start - path[-1]) * (share / share[-1])
    path[-1] = end
    return path


class Walk:
    """Log prices of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._anchors = lru_cache(maxsize=2048)(self._draw_anchors)
        self._factor = lru_cache(maxsize=64)(self._draw_factor)
        self._path = lru_cache(maxsize=64)(self._draw_path)

    def path(self, inst: Instrument, day: int) -> Floats:
        """Log price at the day's open and after each of its trading minutes."""
        return self._path(inst, day) if inst.leader or inst.calm else self._draw_path(inst, day)

    def minutes(self, inst: Instrument, day: int) -> Ints:
        """The trading minutes of the UTC day `day` (days since 1970) in epoch seconds; empty if closed."""
        if not FIRST_DAY < day < LAST_DAY - 1:
            return np.zeros(0, np.int64)
        return trading_minutes(inst.kind, day)

    def _draw_path(self, inst: Instrument, day: int) -> Floats:
        if inst.leader:
            return self._followed(inst, day)
        factor = self._factor(inst.kind, day)
        own_vol = inst.daily_vol * np.sqrt(1 - inst.beta**2)
        loading = inst.beta * inst.daily_vol / _FACTOR_VOL[inst.kind]
        own = self._level(inst.symbol, inst.kind, day, own_vol)
        return np.asarray(np.log(inst.price) + loading * factor + own)

    def _draw_factor(self, kind: str, day: int) -> Floats:
        return self._level(f"factor-{kind}", kind, day, _FACTOR_VOL[kind])

    def _level(self, name: str, kind: str, day: int, vol: float) -> Floats:
        steps = len(trading_minutes(kind, day))
        rng = generator(self.seed, "walk", name, day)
        profile = volatility_profile(kind, steps)
        start, end = self._anchors(name, vol)[day - FIRST_DAY : day - FIRST_DAY + 2]
        if kind == "equity":
            end -= self._gap(name, day + 1) * vol / _FACTOR_VOL["equity"]
            vol *= _MONDAY_TO_FRIDAY_SHARE
        return bridge(start, end, profile * vol / np.sqrt(steps), rng.standard_normal(steps))

    def _gap(self, name: str, day: int) -> float:
        return _GAP_VOL * float(generator(self.seed, "gap", name, day).standard_normal())

    def _draw_anchors(self, name: str, vol: float) -> Floats:
        days = LAST_DAY - FIRST_DAY
        steps = generator(self.seed, "anchors", name).standard_normal(days) * vol
        growth = _REVERSION ** np.arange(days)
        return np.asarray(growth * np.cumsum(steps / growth))

    def _followed(self, inst: Instrument, day: int) -> Floats:
        leader = LISTED[inst.leader]
        moved = self.path(leader, day) - np.log(leader.price)
        return np.asarray(np.log(inst.price) + inst.gamma * moved + self._spread(inst, day, len(moved)))

    def _spread(self, inst: Instrument, day: int, points: int) -> Floats:
        phi = 0.5 ** (1 / SPREAD_HALF_LIFE)
        noise = generator(self.seed, "spread", inst.symbol, day).standard_normal(points)
        start = self._spread_anchor(inst, day)
        spread = _autoregression(phi, start, noise * SPREAD_STD * np.sqrt(1 - phi**2))
        if inst.continuous:
            # Pull the end to the next day's start by the covariance of each point with it.
            back = np.arange(points - 1, -1, -1)
            ahead = np.arange(points)
            weight = phi**back * (1 - phi ** (2 * ahead)) / (1 - phi ** (2 * (points - 1)))
            end = self._spread_anchor(inst, day + 1)
            spread = spread + (end - spread[-1]) * weight
            spread[-1] = end
        return spread

    def _spread_anchor(self, inst: Instrument, day: int) -> float:
        return SPREAD_STD * float(generator(self.seed, "spread-anchor", inst.symbol, day).standard_normal())


def _autoregression(phi: float, start: float, shocks: Floats) -> Floats:
    """x_0 = start, x_i = phi x_(i-1) + shocks_i."""
    values = np.empty(len(shocks))
    value = start
    for i, shock in enumerate(shocks.tolist()):
        value = start if i == 0 else phi * value + shock
        values[i] = value
    return values


@lru_cache(maxsize=256)
def trading_minutes(kind: str, day: int) -> Ints:
    """Minute opens of that UTC day: all 1,440 for crypto, the New York session for equities."""
    if kind == "crypto":
        return np.arange(day * DAY_S, (day + 1) * DAY_S, 60, dtype=np.int64)
    session = nyse.session(date(1970, 1, 1) + timedelta(days=day))
    span = (session.open_s, session.close_s) if session else (0, 0)
    return np.arange(*span, 60, dtype=np.int64)


@lru_cache(maxsize=8)
def volatility_profile(kind: str, minutes: int) -> Floats:
    """Relative volatility through the day, mean square 1."""
    at = np.arange(minutes, dtype=float)
    if kind == "crypto":
        shape = 1 + 0.25 * np.sin(2 * np.pi * (at / 60 - 9) / 24)
    else:
        shape = 0.8 + 1.2 * np.exp(-at / 25) + 0.5 * np.exp(-(minutes - at) / 20)
    return np.asarray(shape / np.sqrt(np.mean(shape**2)))


@lru_cache(maxsize=8)
def volume_profile(kind: str, minutes: int) -> Floats:
    """Relative volume through the day, mean 1: smooth around the clock, U-shaped in a session."""
    at = np.arange(minutes, dtype=float)
    if kind == "crypto":
        shape = 1 + 0.4 * np.sin(2 * np.pi * (at / 60 - 9) / 24) + 0.15 * np.sin(4 * np.pi * at / 1440)
    else:
        shape = 0.6 + 1.8 * np.exp(-at / 25) + 1.4 * np.exp(-(minutes - at) / 18)
    return np.asarray(shape / shape.mean())
