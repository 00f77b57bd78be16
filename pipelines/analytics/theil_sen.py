"""A hedge ratio that outliers do not decide: the median of the slopes between all bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np

from pipelines.analytics import normal, slopes
from pipelines.analytics.fast import compiled_twin
from pipelines.analytics.windows import Floats, Integers

EXACT = 600
"""Bars up to which every pair of them is looked at (180,000 slopes) without the extra `fast`."""
SAMPLE = 200_000
"""Pairs of bars that are looked at above that."""
BRACKET = 6_000
"""Pairs whose slopes tell where the ranks lie that are looked for."""
SEED = 20_190_523


@dataclass(frozen=True)
class RobustLine:
    """The median slope and its confidence interval; the interval holds for independent residuals only."""

    beta: float
    alpha: float
    beta_lo: float
    beta_hi: float


def theil_sen(y: Floats, x: Floats, confidence: float = 0.95, fast: bool | None = None) -> RobustLine:
    """The median slope between all pairs of bars, with Sen's interval: scipy's `theilslopes` to the bit.

    Above EXACT bars and without the extra `fast`, the slopes of SAMPLE pairs drawn with a fixed seed stand for all
    of them. The interval is too narrow where residuals are autocorrelated, as spreads are: with AR(0.95)
    residuals it covers a third of the time. All four are NaN where x is constant.

    fast: compiled or not; where it is not said, if it is installed and there are more than EXACT bars
    """
    n = len(x)
    pairs = n * (n - 1) // 2
    twin = compiled_twin("slopes_fast", math.inf if n > EXACT else 0.0, fast)
    across = np.lexsort((y, x))
    tied_x, tied_y = _ties(x[across]), _ties(np.sort(y))
    reach = normal.reach(confidence) * _sigma(n, tied_x, tied_y)
    if twin is None and n > EXACT:
        some = _slopes(y, x, SAMPLE)
        ranks = _ranks(len(some), reach * SAMPLE / pairs)
        found = slopes.pick(some, ranks) if len(some) else some
    else:
        total = pairs - int((tied_x * (tied_x - 1) // 2).sum())
        ranks = _ranks(total, reach)
        found = _exactly(y[across], x[across], ranks, total, twin or slopes) if total else np.zeros(0)
    if not len(found):
        return RobustLine(math.nan, math.nan, math.nan, math.nan)
    beta = float((found[1] + found[2]) / 2)
    return RobustLine(beta, float(np.median(y) - beta * np.median(x)), float(found[0]), float(found[3]))


def _exactly(y: Floats, x: Floats, ranks: Integers, total: int, engine: ModuleType) -> Floats:
    """The slopes of these ranks among all; the bars in the order of x, those of equal x in that of y.

    A sample says between which slopes they lie, one pass over all pairs counts those below and keeps those between.
    """
    low, high = -math.inf, math.inf
    if total > 2 * BRACKET:
        some = _slopes(y, x, BRACKET)
        spare = 1.5 * math.sqrt(len(some))  # three standard deviations of a rank in the middle
        under = int(len(some) * ranks[0] / total - spare)
        over = int(len(some) * ranks[-1] / total + spare) + 1
        # Between two slopes of the sample rather than on one: there rounding could not tell the sides apart.
        ends = [at for end in (under, over) if 0 < end < len(some) for at in (end - 1, end)]
        some = np.partition(some, ends) if ends else some
        low = float(some[under] + some[under - 1]) / 2 if under > 0 else low
        high = float(some[over] + some[over - 1]) / 2 if over < len(some) else high
    below, kept = engine.within(y, x, low, high)
    if not below <= ranks[0] <= ranks[-1] < below + len(kept):  # the sample was unlucky
        below, kept = engine.within(y, x, -math.inf, math.inf)
    found: Floats = engine.pick(kept, ranks - below)
    return found


def _slopes(y: Floats, x: Floats, size: int) -> Floats:
    """Slopes of so many pairs of bars, always the same; pairs of equal x have none."""
    i, j = _sample(len(x), size)
    apart = x[i] - x[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(((y[i] - y[j]) / apart)[apart != 0])


@lru_cache(maxsize=4)
def _sample(n: int, size: int) -> tuple[Integers, Integers]:
    rng = np.random.default_rng(SEED)
    i = rng.integers(0, n, size)
    return i, (i + rng.integers(1, n, size)) % n


def _ranks(total: int, reach: float) -> Integers:
    """Of the interval's ends and of the one or two in the middle, ascending: Sen (1968), equation 2.6."""
    high = min(int(np.round((total + reach) / 2.0)), total - 1)
    low = max(int(np.round((total - reach) / 2.0)) - 1, 0)
    return np.array([low, (total - 1) // 2, total // 2, high], dtype=np.int64)


def _ties(ordered: Floats) -> Integers:
    """Sizes of the groups of equal values, as far as they are more than one."""
    ends = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    sizes: Integers = np.diff(ends, prepend=0, append=len(ordered))
    return sizes[sizes > 1]


def _sigma(n: int, *tied: Integers) -> float:
    """Standard deviation of the number of rising less falling pairs; `tied` are sizes of groups of equal values."""
    ties = sum(int((sizes * (sizes - 1) * (2 * sizes + 5)).sum()) for sizes in tied)
    return math.sqrt(max(n * (n - 1) * (2 * n + 5) - ties, 0) / 18.0)
