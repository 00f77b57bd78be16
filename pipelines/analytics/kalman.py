"""A hedge ratio that may wander: the line y = alpha + beta x whose two numbers follow random walks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.analytics.windows import Floats

FIRST_BARS = 10
"""Bars whose least-squares line begins the filter."""
STATE_NOISE = 1e-5
"""Variance of a step of the line, in units of the observation's variance and of x's own spread."""


@dataclass(frozen=True)
class KalmanPath:
    """One value a bar, NaN for the bars that begin the filter.

    beta, alpha: the line after the bar; innovation: y less what the line before the bar says, so that it
    contains nothing of the bar it judges; scale: its standard deviation in units of the observation noise.
    """

    beta: Floats
    alpha: Floats
    innovation: Floats
    scale: Floats


def kalman(y: Floats, x: Floats, state_noise: float = STATE_NOISE) -> KalmanPath:
    """Filter the line through the bars; with `state_noise` 0 it ends on their least-squares line.

    y, x: (bars,) or (bars, pairs), each pair by itself. Everything at a bar depends on that bar and earlier ones
    only. All NaN where there are not FIRST_BARS bars or x never moves.
    """
    path = KalmanPath(*(np.full(y.shape, np.nan) for _ in range(4)))
    columns = [
        values.reshape(len(y), -1) for values in (y, x, path.beta, path.alpha, path.innovation, path.scale)
    ]
    moved = columns[1] != columns[1][:1]
    begins = np.maximum(FIRST_BARS, moved.argmax(axis=0) + 1) if len(y) else np.zeros(0)
    for first in np.unique(begins):
        of = np.flatnonzero((begins == first) & moved.any(axis=0))
        if of.size and first < len(y):
            parts = _filter(columns[0][:, of], columns[1][:, of], int(first), state_noise)
            for target, part in zip(columns[2:], parts, strict=True):
                target[first:, of] = part
    return path


def _filter(y: Floats, x: Floats, first: int, state_noise: float) -> list[Floats]:
    """beta, alpha, innovation and scale of (bars, pairs) from `first` on, a row a bar."""
    origin, unit, level = x[:first].mean(axis=0), x[:first].std(axis=0), y[:first].mean(axis=0)
    scaled, offset = (x - origin) / unit, y - level
    # Of the first bars both are centred and x has variance 1: their normal matrix is `first` times the unit one.
    paa = pbb = np.full(y.shape[1], 1.0 / first)
    pab = np.zeros(y.shape[1])
    a, b = offset[:first].mean(axis=0), (scaled[:first] * offset[:first]).mean(axis=0)
    out = [np.empty((len(y) - first, y.shape[1])) for _ in range(4)]
    for row, t in enumerate(range(first, len(y))):
        paa, pbb, u = paa + state_noise, pbb + state_noise, scaled[t]
        ga, gb = paa + pab * u, pab + pbb * u
        variance = 1.0 + ga + gb * u
        surprise = offset[t] - a - b * u
        a, b = a + ga / variance * surprise, b + gb / variance * surprise
        paa, pab, pbb = paa - ga * ga / variance, pab - ga * gb / variance, pbb - gb * gb / variance
        beta = b / unit
        out[0][row], out[1][row] = beta, level + a - beta * origin
        out[2][row], out[3][row] = surprise, np.sqrt(variance)
    return out
