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

    Everything at a bar depends on that bar and earlier ones only. All NaN where there are not FIRST_BARS
    bars or x never moves.
    """
    n = len(y)
    path = KalmanPath(*(np.full(n, np.nan) for _ in range(4)))
    first = FIRST_BARS
    while first < n and x[:first].max() == x[:first].min():
        first += 1
    if n <= first or x[:first].max() == x[:first].min():
        return path
    origin, unit = float(x[:first].mean()), float(x[:first].std())
    level = float(y[:first].mean())
    scaled, offset = (x - origin) / unit, y - level
    design = np.column_stack([np.ones(first), scaled[:first]])
    covariance = np.linalg.inv(design.T @ design)
    a, b = covariance @ design.T @ offset[:first]
    paa, pab, pbb = covariance[0, 0], covariance[0, 1], covariance[1, 1]
    for t in range(first, n):
        paa, pbb, u = paa + state_noise, pbb + state_noise, scaled[t]
        ga, gb = paa + pab * u, pab + pbb * u
        variance = 1.0 + ga + gb * u
        surprise = offset[t] - a - b * u
        a, b = a + ga / variance * surprise, b + gb / variance * surprise
        paa, pab, pbb = paa - ga * ga / variance, pab - ga * gb / variance, pbb - gb * gb / variance
        beta = b / unit
        path.beta[t], path.alpha[t] = beta, level + a - beta * origin
        path.innovation[t], path.scale[t] = surprise, variance**0.5
    return path
