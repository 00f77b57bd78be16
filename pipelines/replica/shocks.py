"""Labelled abnormalities of the tape: where they lie and how they bend prices and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.replica.columns import Floats, Ints
from pipelines.replica.instruments import Instrument
from pipelines.replica.walk import DAY_S, generator

ShockKind = Literal["volume", "jump", "volatility", "frozen"]
KINDS: tuple[ShockKind, ...] = ("volume", "jump", "volatility", "frozen")

_FADE_HALF_LIFE = 30.0
_CHANCE = 0.15


@dataclass(frozen=True)
class Shock:
    """One abnormality over [start_s, end_s).

    size: volume = multiple of the usual; jump = log move at once, fading out within the day; volatility =
    multiple of the usual; frozen = no trades at all, size unused.
    """

    symbol: str
    kind: ShockKind
    start_s: int
    end_s: int
    size: float
    label: str = ""
    injected: bool = False

    def as_dict(self) -> dict[str, object]:
        return {
            "symbol": self.symbol,
            "label": self.label or self.kind,
            "kind": self.kind,
            "from": self.start_s,
            "to": self.end_s,
            "size": self.size,
            "injected": self.injected,
        }


def planted(seed: int, inst: Instrument, minutes: Ints) -> list[Shock]:
    """The shocks of that day, the same for a seed; legs of a cointegrated pair keep their prices calm."""
    if not len(minutes):
        return []
    rng = generator(seed, "shocks", inst.symbol, int(minutes[0]) // DAY_S)
    if rng.random() > _CHANCE:
        return []
    kinds = ("volume", "frozen") if inst.calm else KINDS
    kind = kinds[int(rng.integers(len(kinds)))]
    start = int(minutes[int(len(minutes) * (0.15 + 0.4 * rng.random()))])
    return [shock(rng, inst.symbol, kind, start)]


def shock(rng: np.random.Generator, symbol: str, kind: ShockKind, start_s: int, label: str = "") -> Shock:
    """A shock of the usual size and length for its kind."""
    length = {"volume": (3, 8), "jump": (3, 5), "volatility": (10, 20), "frozen": (3, 10)}[kind]
    size = {
        "volume": rng.uniform(5, 8),
        "jump": rng.uniform(0.06, 0.08) * rng.choice([-1, 1]),
        "volatility": rng.uniform(4, 6),
        "frozen": 0.0,
    }[kind]
    end = start_s + 60 * int(rng.integers(length[0], length[1] + 1))
    return Shock(symbol, kind, start_s, end, round(float(size), 4), label)


def inside(one: Shock, minutes: Ints) -> slice:
    """The rows of `minutes` that the shock covers."""
    first, last = np.searchsorted(minutes, (one.start_s, one.end_s))
    return slice(int(first), int(last))


def bend_path(path: Floats, one: Shock, minutes: Ints, vol: Floats, seed: int) -> Floats:
    """The log path with the shock in it; nothing before the shock and nothing at the day's end moves."""
    rows = inside(one, minutes)
    steps = rows.stop - rows.start
    if steps < 1 or one.kind not in ("jump", "volatility"):
        return path
    bent = path.copy()
    if one.kind == "jump":
        after = np.arange(len(path) - 1 - rows.start)
        taper = 1 - after / max(len(after) - 1, 1)
        bent[rows.start + 1 :] += one.size * 0.5 ** (after / _FADE_HALF_LIFE) * taper
        return bent
    noise = generator(seed, "burst", one.symbol, one.start_s).standard_normal(steps)
    burst = np.cumsum(noise * vol[rows] * one.size)
    bent[rows.start + 1 : rows.stop + 1] += burst - burst[-1] * np.arange(1, steps + 1) / steps
    return bent


def volume_factor(one: Shock) -> float:
    """How much the shock multiplies the volume of its minutes."""
    return {"volume": one.size, "jump": 5.0, "volatility": 2.5, "frozen": 0.0}[one.kind]
