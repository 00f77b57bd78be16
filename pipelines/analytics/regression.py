"""How many units of x hedge one of y: least squares, and Theil-Sen where outliers must not decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy.special import ndtri

from pipelines.analytics.fast import compiled_twin
from pipelines.analytics.windows import Floats, Integers

EXACT = 600
"""Bars up to which Theil-Sen looks at every pair of them (180,000 slopes), without the extra `fast`."""
SAMPLE = 200_000
"""Pairs of bars it looks at above that."""
BRACKET = 4_000
"""Pairs whose slopes tell about where the ranks lie that are looked for."""
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


def theil_sen(y: Floats, x: Floats, confidence: float = 0.95, fast: bool | None = None) -> RobustLine:
    """The median slope between all pairs of bars, with Sen's interval: scipy's `theilslopes` to the bit.

    Above EXACT bars and without the extra `fast`, the slopes of SAMPLE pairs drawn with a fixed seed stand for all
    of them. The interval is too narrow where residuals are autocorrelated, as spreads are: with AR(0.95)
    residuals it covers a third of the time. All four are NaN where x is constant.

    fast: compiled or not; where it is not said, if it is installed and there are more than EXACT bars
    """
    twin = compiled_twin("slopes_fast", math.inf if len(x) > EXACT else 0.0, fast)
    slopes, total, below, share = _around(y, x, confidence, twin) if twin else _slopes(y, x)
    if not total:
        return RobustLine(math.nan, math.nan, math.nan, math.nan)
    low, high = _interval(y, x, total, share, confidence)
    ranks = np.array([low, (total - 1) // 2, total // 2, high]) - below
    found = twin.pick(slopes, ranks) if twin else np.partition(slopes, np.unique(ranks))[ranks]
    beta = float(np.mean(found[1:3])) if ranks[1] != ranks[2] else float(found[1])
    return RobustLine(beta, float(np.median(y) - beta * np.median(x)), float(found[0]), float(found[3]))


def _slopes(y: Floats, x: Floats) -> tuple[Floats, int, int, float]:
    """Slopes of the pairs of bars that differ in x, how many, none left out below, and their share of all pairs."""
    n = len(x)
    if n <= EXACT:
        slopes = np.empty(n * (n - 1) // 2)
        start = 0
        with np.errstate(divide="ignore", invalid="ignore"):
            for bar in range(n - 1):
                row = slopes[start : start + n - 1 - bar]
                np.divide(y[bar] - y[bar + 1 :], x[bar] - x[bar + 1 :], out=row)
                start += len(row)
        share = 1.0
        if len(np.unique(x)) < n:
            i, j = np.triu_indices(n, 1)
            slopes[x[i] == x[j]] = np.nan
    else:
        i, j = _sample(n, SAMPLE)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = (y[i] - y[j]) / np.where(x[i] == x[j], np.nan, x[i] - x[j])
        share = SAMPLE / (n * (n - 1) // 2)
    slopes = slopes[~np.isnan(slopes)]
    return slopes, slopes.size, 0, share


def _around(y: Floats, x: Floats, confidence: float, twin: ModuleType) -> tuple[Floats, int, int, float]:
    """The slopes around the ranks that are asked for; how many there are in all, and below those.

    A sample says between which slopes the ranks lie, one pass over all pairs counts and keeps.
    """
    n = len(x)
    tied = np.unique(x, return_counts=True)[1]
    total = n * (n - 1) // 2 - int((tied * (tied - 1) // 2).sum())
    if not total:
        return np.zeros(0), 0, 0, 1.0
    low, high = _interval(y, x, total, 1.0, confidence)
    i, j = _sample(n, BRACKET)
    with np.errstate(divide="ignore", invalid="ignore"):
        some = np.sort((y[i] - y[j]) / np.where(x[i] == x[j], np.nan, x[i] - x[j]))
    some = some[~np.isnan(some)]
    spare = 1.5 * math.sqrt(len(some))  # three standard deviations of a rank in the middle
    first, last = (int(len(some) * rank / total) for rank in (low, high))
    # Between two slopes of the sample rather than on one: there rounding could not tell the sides apart.
    under, over = int(first - spare), int(last + spare) + 1
    bounds = (
        float(some[under] + some[under - 1]) / 2 if under > 0 else -math.inf,
        float(some[over] + some[over - 1]) / 2 if over < len(some) else math.inf,
    )
    below, kept = twin.within(y, x, *bounds)
    if not below <= low <= high < below + len(kept):  # the sample was unlucky
        below, kept = twin.within(y, x, -math.inf, math.inf)
    return kept, total, below, 1.0


def _sample(n: int, size: int) -> tuple[Integers, Integers]:
    """Pairs of different bars, always the same."""
    rng = np.random.default_rng(SEED)
    i = rng.integers(0, n, size)
    return i, (i + rng.integers(1, n, size)) % n


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
