"""How many units of x hedge one of y: least squares, and Theil-Sen where outliers must not decide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from pipelines.analytics.windows import Floats

EXACT = 600
"""Bars up to which Theil-Sen looks at every pair of them (180,000 slopes)."""
SAMPLE = 200_000
"""Pairs of bars it looks at above that."""
SEED = 20_190_523


@dataclass(frozen=True)
class Line:
    """y = alpha + beta x."""

    beta: float
    alpha: float
    r2: float

    def residuals(self, y: Floats, x: Floats) -> Floats:
        """The spread: what of y the line leaves."""
        return y - self.alpha - self.beta * x


@dataclass(frozen=True)
class RobustLine:
    """The median slope and its confidence interval; the interval holds for independent residuals only."""

    beta: float
    alpha: float
    beta_lo: float
    beta_hi: float


def ols(y: Floats, x: Floats) -> Line:
    """Least squares with an intercept, on centred series; beta NaN where x is constant, r2 where y is."""
    mean_y, mean_x = float(y.mean()), float(x.mean())
    dy, dx = y - mean_y, x - mean_x
    sxx, syy, sxy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    beta = sxy / sxx if sxx > 0 else math.nan
    residual = dy - beta * dx
    r2 = 1.0 - float(residual @ residual) / syy if syy > 0 else math.nan
    return Line(beta, mean_y - beta * mean_x, r2)


def ols_through_origin(y: Floats, x: Floats) -> float:
    """The slope of y = beta x, as the older literature fits hedge ratios of prices."""
    return float(x @ y) / float(x @ x)


def theil_sen(y: Floats, x: Floats, confidence: float = 0.95) -> RobustLine:
    """The median slope between all pairs of bars, with Sen's interval: scipy's `theilslopes` to the bit.

    Above EXACT bars the slopes of SAMPLE pairs drawn with a fixed seed stand for all of them. The interval
    is too narrow where residuals are autocorrelated, as spreads are: with AR(0.95) residuals it covers a
    third of the time. All four are NaN where x is constant.
    """
    slopes, share = _slopes(y, x)
    if not slopes.size:
        return RobustLine(math.nan, math.nan, math.nan, math.nan)
    low, high = _interval(y, x, slopes.size, share, confidence)
    middle = {(slopes.size - 1) // 2, slopes.size // 2}
    ordered = np.partition(slopes, sorted(middle | {low, high}))
    beta = float(np.mean([ordered[i] for i in sorted(middle)]))
    return RobustLine(
        beta, float(np.median(y) - beta * np.median(x)), float(ordered[low]), float(ordered[high])
    )


def _slopes(y: Floats, x: Floats) -> tuple[Floats, float]:
    """Slopes of the pairs of bars that differ in x, and the share of all pairs they stand for."""
    n = len(x)
    pairs = n * (n - 1) // 2
    if n <= EXACT:
        i, j = np.triu_indices(n, 1)
        share = 1.0
    else:
        rng = np.random.default_rng(SEED)
        i = rng.integers(0, n, SAMPLE)
        j = (i + rng.integers(1, n, SAMPLE)) % n
        share = SAMPLE / pairs
    dx, dy = x[i] - x[j], y[i] - y[j]
    different = dx != 0
    return dy[different] / dx[different], share


def _interval(y: Floats, x: Floats, slopes: int, share: float, confidence: float) -> tuple[int, int]:
    """Ranks of the interval's ends among the slopes: Sen (1968), equation 2.6."""
    n = len(y)
    ties = sum(_tied(values) for values in (x, y))
    sigma = math.sqrt((n * (n - 1) * (2 * n + 5) - ties) / 18.0)
    reach = -float(ndtri((1.0 - confidence) / 2.0)) * sigma * share
    high = min(int(np.round((slopes + reach) / 2.0)), slopes - 1)
    low = max(int(np.round((slopes - reach) / 2.0)) - 1, 0)
    return low, high


def _tied(values: Floats) -> int:
    counts = np.unique(values, return_counts=True)[1]
    counts = counts[counts > 1]
    return int((counts * (counts - 1) * (2 * counts + 5)).sum())
