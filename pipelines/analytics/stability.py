"""Does a relation hold through time? Halves that contradict the whole, and the bars after those it was fitted on."""

from __future__ import annotations

import numpy as np

from pipelines.analytics.adf import Lags, unit_root
from pipelines.analytics.cointegration import MIN_BARS
from pipelines.analytics.pairwise import both_orders
from pipelines.analytics.regression import ols
from pipelines.analytics.windows import Floats, Integers

HALF_P = 0.20
"""Half the bars prove less: a half holds up to this p, else two of a hundred sound pairs would be flagged (n = 600,
half-life 6.6 bars; at 0.10 it is twelve).
"""


def break_flags(
    levels: Floats, y: Integers, x: Integers, lags: Lags, p_whole: Floats, alpha: float = 0.05
) -> Floats:
    """1 where the halves of a pair contradict the whole, 0 where not, NaN where a half cannot be tested.

    levels: (bars, series); y, x: columns of each pair's legs; p_whole: the larger p of both orders over all bars.
    Contradictions: the whole is cointegrated at `alpha` but one half is not even at HALF_P, or both halves are at
    `alpha` and the whole is not (the hedge ratio has moved in between).
    """
    middle = len(levels) // 2
    try:
        halves = [both_orders(part, (y, x), lags).p_max for part in (levels[:middle], levels[middle:])]
    except ValueError:  # so many lags that they fit into the whole only
        return np.full(len(y), np.nan)
    worst = np.maximum(*halves)
    broken = np.where(p_whole <= alpha, worst > HALF_P, worst <= alpha)
    return np.where(np.isnan(worst) | np.isnan(p_whole), np.nan, broken)


def holdout(y: Floats, x: Floats, lags: Lags) -> tuple[int, float] | None:
    """Whether the last third of the bars obeys the line of those before: its bars, and p of its spread's unit root.

    None where the third has fewer than MIN_BARS bars or its spread cannot be tested.
    """
    bars = len(y) // 3
    if bars < MIN_BARS:
        return None
    try:
        after = ols(y[:-bars], x[:-bars]).residuals(y[-bars:], x[-bars:])
        return bars, unit_root(after, lags, constant=True).p
    except ValueError:
        return None
