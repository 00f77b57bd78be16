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
"""How many lagged differences: the number, or the criterion that chooses it (`aic`, `bic`), with the largest
allowed behind a colon (`aic:4`), else Schwert's.
"""

PENALTIES = {"aic": 2.0, "bic": 0.0}
"""BIC's is log n."""


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
    criterion, most = search(lags, len(series), constant)
    chosen = _best(series, criterion, most, constant) if criterion else most
    return _fit(series, chosen, constant)


def search(lags: Lags, n: int, constant: bool) -> tuple[str | None, int]:
    """The criterion, None where the number is given, and the number or the largest one to try.

    Raises ValueError for words that are no criterion and for more lags than `n` observations bear.
    """
    longest = most_lags(n, constant)
    if isinstance(lags, int):
        if not 0 <= lags <= longest:
            raise ValueError(f"{lags} lags do not fit into {n} bars; at most {longest} do")
        return None, lags
    criterion, _, cap = lags.partition(":")
    if criterion not in PENALTIES or not (cap.isdigit() or lags == criterion):
        raise ValueError(
            f"{lags!r} is no choice of lags; write aic, bic, or a number, or aic:4 for at most 4"
        )
    return criterion, min(int(cap), longest) if cap else longest


def penalty(criterion: str, n: int) -> float:
    """What a coefficient costs: the criterion is n log(squares / n) + penalty x coefficients."""
    return PENALTIES[criterion] or math.log(n)


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
    return int(np.argmin(n * np.log(residual / n) + penalty(criterion, n) * columns))


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
