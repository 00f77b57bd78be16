"""Engle-Granger's test of every pair of a panel, in both orders.

Exact: the numbers of statsmodels' `coint` on centred series, to 1e-8 and better, from sums that all pairs share
(`grams`) and one small factorisation a pair (`solve`). Pairs whose line leaves almost nothing, where those sums
would cancel, are done again from the residual itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from pipelines.analytics import solve
from pipelines.analytics.adf import Lags, penalty, search, unit_root
from pipelines.analytics.cointegration import ALIKE, MIN_BARS
from pipelines.analytics.fast import compiled_twin
from pipelines.analytics.grams import Grams, Sums
from pipelines.analytics.mackinnon import p_value
from pipelines.analytics.windows import Floats, Integers

CLOSE = 1e-4
"""Share of y's variance, of levels or of differences, below which the residual's sums lose too many digits."""
STALE = 0.05
"""Share of bars in which a price must have moved: a feed that stands is no market."""
MISSING, SHORT, STILL, SAME, STUCK = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class PairTests:
    """One row a pair; column 0 is y explained by x, column 1 x by y. Refused pairs have NaN and lags -1.

    y, x: columns of the panel; refusal: 0, or the number of the reason that `why` puts into words
    """

    bars: int
    min_bars: int
    y: Integers
    x: Integers
    beta: Floats
    stat: Floats
    p: Floats
    lags: Integers
    refusal: npt.NDArray[np.int8]

    @property
    def p_max(self) -> Floats:
        """The larger p of the two orders decides: going by the better one would double the false alarms."""
        return np.asarray(self.p.max(axis=1))

    def why(self, pair: int) -> str | None:
        """Why a pair was refused, in words."""
        return {
            0: None,
            MISSING: "a price is missing or, for logarithms, not positive",
            SHORT: f"{self.bars}/{self.min_bars} bars in common",
            STILL: "one of the prices has not moved",
            SAME: f"the two series are the same (correlation above {ALIKE})",
            STUCK: "the prices moved in too few bars for this test",
        }[int(self.refusal[pair])]


def both_orders(
    panel: Floats, pairs: tuple[Integers, Integers] | None = None, lags: Lags = "aic",
    min_bars: int = MIN_BARS, fast: bool | None = None,
) -> PairTests:  # fmt: skip
    """Test the named pairs of columns, else all.

    panel: (bars, series), oldest first; logarithms or prices, NaN where there is none
    lags:  as in `adf`; ValueError if so many do not fit
    fast:  compiled or not; where it is not said, by the amount of work, if numba is installed
    """
    y, x = np.triu_indices(panel.shape[1], 1) if pairs is None else pairs
    refusal = _refusals(panel, y, x, min_bars)
    good = np.flatnonzero(refusal == 0)
    if not good.size:
        return _nothing(panel, y, x, min_bars, refusal)
    used, place = np.unique(np.concatenate([y[good], x[good]]), return_inverse=True)
    grams = Grams(panel[:, used], search(lags, len(panel), constant=False)[1])
    some = both_orders_of(grams, (place[: good.size], place[good.size :]), lags, min_bars, fast)
    whole = _nothing(panel, y, x, min_bars, refusal)
    for name in ("beta", "stat", "p", "lags", "refusal"):
        getattr(whole, name)[good] = getattr(some, name)
    return whole


def both_orders_of(
    grams: Grams, pairs: tuple[Integers, Integers], lags: Lags = "aic", min_bars: int = MIN_BARS, fast: bool | None = None
) -> PairTests:  # fmt: skip
    """The same from sums that are at hand, made for these lags, of a panel without holes or still prices."""
    sums = grams.sums()
    y, x = (np.ascontiguousarray(side, dtype=np.int64) for side in pairs)
    shared = sums.levels[y, x]
    explained = shared * shared / (sums.spread[y] * sums.spread[x])
    tests = _nothing_of(sums.bars, y, x, min_bars, np.where(explained > ALIKE * ALIKE, SAME, 0))
    engine = compiled_twin("solve_fast", 2.0 * len(y) * (sums.most + 3) ** 3 / 3, fast) or solve
    for order, (left, right) in enumerate(((y, x), (x, y))):
        beta = shared / sums.spread[right]
        lag, stat = _fits(engine, sums, left, right, beta, lags)
        moved = sums.own[0, left] - beta * (2.0 * sums.summed[0, left, right] - beta * sums.own[0, right])
        close = np.minimum(1.0 - explained, moved / sums.own[0, left]) < CLOSE
        for pair in np.flatnonzero((close | np.isnan(stat)) & (tests.refusal == 0)):
            lag[pair], stat[pair] = _directly(grams, left[pair], right[pair], lags)
        tests.beta[:, order], tests.stat[:, order], tests.lags[:, order] = beta, stat, lag
    tests.refusal[(tests.refusal == 0) & np.isnan(tests.stat).any(axis=1)] = STUCK
    for values, nothing in ((tests.beta, np.nan), (tests.stat, np.nan), (tests.lags, -1)):
        values[tests.refusal != 0] = nothing
    tests.p[:] = p_value(tests.stat, 2)
    return tests


def _fits(
    engine: ModuleType, sums: Sums, y: Integers, x: Integers, beta: Floats, lags: Lags
) -> tuple[Integers, Floats]:
    """Lags and statistic; the latter from the longer sample that the chosen lag allows."""
    criterion, most = search(lags, sums.bars, constant=False)
    if criterion is None:
        return np.full(len(y), most), engine.statistic(sums, y, x, beta, most)
    n = sums.bars - 1 - most
    # n log(squares) + penalty k is least where squares exp(penalty k / n) is: no logarithm a pair and lag.
    weights = np.exp(penalty(criterion, n) * np.arange(most + 1) / n)
    lag: Integers = engine.choose(sums, y, x, beta, weights)
    stat = np.full(len(y), np.nan)
    for number in range(most + 1):
        of = np.flatnonzero(lag == number)
        if of.size:
            stat[of] = engine.statistic(sums, y[of], x[of], beta[of], number)
    return lag, stat


def _directly(grams: Grams, y: int, x: int, lags: Lags) -> tuple[int, float]:
    """One pair from its own residual; NaN where even that has no unique fit."""
    left, right = grams.series(y), grams.series(x)
    try:
        test = unit_root(left - float(left @ right) / float(right @ right) * right, lags, constant=False)
    except ValueError:
        return -1, math.nan
    return test.lags, test.stat


def _refusals(panel: Floats, y: Integers, x: Integers, min_bars: int) -> npt.NDArray[np.int8]:
    whole = np.logical_and.reduce(np.isfinite(panel), axis=0)
    still = np.logical_and.reduce(panel == panel[:1], axis=0)
    stale = (np.diff(panel, axis=0) != 0).sum(axis=0) < STALE * (len(panel) - 1)
    refusal = np.zeros(len(y), dtype=np.int8)
    refusal[stale[y] | stale[x]] = STUCK
    refusal[still[y] | still[x]] = STILL
    if len(panel) < min_bars:
        refusal[:] = SHORT
    refusal[~(whole[y] & whole[x])] = MISSING
    return refusal


def _nothing(panel: Floats, y: Integers, x: Integers, min_bars: int, refusal: npt.ArrayLike) -> PairTests:
    return _nothing_of(len(panel), y, x, min_bars, refusal)


def _nothing_of(bars: int, y: Integers, x: Integers, min_bars: int, refusal: npt.ArrayLike) -> PairTests:
    beta, stat, p = (np.full((len(y), 2), np.nan) for _ in range(3))
    lags = np.full((len(y), 2), -1, dtype=np.int64)
    return PairTests(bars, min_bars, y, x, beta, stat, p, lags, np.array(refusal, dtype=np.int8))
