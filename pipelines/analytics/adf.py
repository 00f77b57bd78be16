"""The augmented Dickey-Fuller regression: does a series return to its level, or wander?

Same numbers as statsmodels' `adfuller`, by one QR factorisation that yields the fit of every lag at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.analytics.mackinnon import p_value
from pipelines.analytics.windows import Floats

SINGULAR = 1e-7
"""Share of a column that must be new; with less the regression has no unique solution."""

Lags = str | int
"""`aic`, `bic`, or the number of lagged differences itself."""


@dataclass(frozen=True)
class UnitRoot:
    """t-statistic of the level, how many lagged differences were used, and differences in the regression."""

    stat: float
    lags: int
    n: int

    @property
    def p(self) -> float:
        """MacKinnon's asymptotic p of a single series (regression with a constant)."""
        return float(p_value(self.stat, 1))


def unit_root(series: Floats, lags: Lags, constant: bool) -> UnitRoot:
    """Regress the differences of `series` on its level and lagged differences (and a constant).

    Information criteria search 0 .. ceil(12 (n / 100)^0.25) lags on a common sample (Schwert's rule, as
    statsmodels), the smaller lag winning a tie; the statistic is from the longer sample that the chosen lag
    allows. Raises ValueError for a constant series, one too short for its lags, and one that moves in so few
    bars that the regression has no unique solution.
    """
    if series.max() == series.min():
        raise ValueError("the series is constant")
    most = most_lags(len(series), constant)
    if isinstance(lags, int):
        if not 0 <= lags <= most:
            raise ValueError(f"{lags} lags do not fit into {len(series)} bars; at most {most} do")
        return _fit(series, lags, constant)
    return _fit(series, _best(series, lags, most, constant), constant)


def most_lags(n: int, constant: bool) -> int:
    """Schwert's largest lag for `n` observations, as far as they suffice."""
    fitting = n // 2 - int(constant) - 1
    if fitting < 0:
        raise ValueError(f"{n} bars are too few for a unit-root regression")
    return min(fitting, math.ceil(12.0 * math.pow(n / 100.0, 0.25)))


def _best(series: Floats, criterion: str, most: int, constant: bool) -> int:
    levels, cross, total, n = _by_lag(series, most, constant)
    residual = total - cross**2 / levels
    columns = np.arange(most + 1) + 1 + int(constant)
    penalty = {"aic": 2.0, "bic": math.log(n)}.get(criterion)
    if penalty is None:
        raise ValueError(f"lags: {criterion!r} is neither aic, bic nor a number")
    return int(np.argmin(n * np.log(residual / n) + penalty * columns))


def _fit(series: Floats, lags: int, constant: bool) -> UnitRoot:
    levels, cross, total, n = _by_lag(series, lags, constant)
    level, slope = levels[-1], cross[-1] / levels[-1]
    variance = (total[-1] - slope * cross[-1]) / (n - 1 - lags - int(constant))
    return UnitRoot(float(slope / math.sqrt(variance / level)), lags, n)


def _by_lag(series: Floats, most: int, constant: bool) -> tuple[Floats, Floats, Floats, int]:
    """For 0..most lagged differences: level.level, level.difference, difference.difference left.

    The columns stand as constant, lags, level, difference: what the first columns of a triangular factor
    leave of the last two lies below them.
    """
    change = np.diff(series)
    n = len(change) - most
    lagged = [change[most - k : len(change) - k] for k in range(1, most + 1)]
    first = [np.ones(n)] if constant else []
    table = np.column_stack([*first, *lagged, series[most:-1], change[most:]])
    factor = np.asarray(np.linalg.qr(table, mode="r"))
    if (np.abs(factor.diagonal()[:-1]) <= SINGULAR * np.linalg.norm(factor, axis=0)[:-1]).any():
        raise ValueError("the series moves in too few bars")
    factor = factor[len(first) :]
    level, moved = factor[:, -2], factor[:, -1]
    left = [np.cumsum(product[::-1])[::-1][: most + 1] for product in (level**2, level * moved, moved**2)]
    return left[0], left[1], left[2], n
