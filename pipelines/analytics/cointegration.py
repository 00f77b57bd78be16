"""Do two prices hold each other on a leash? Engle-Granger, half-life, false discoveries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.analytics import normal
from pipelines.analytics.adf import Lags, unit_root
from pipelines.analytics.mackinnon import critical_5pct, p_value
from pipelines.analytics.regression import ols
from pipelines.analytics.windows import Floats

MIN_BARS = 100
"""Below this MacKinnon's p-values mislead: at n = 20 the test never rejects, at n = 15 to 30 too often."""
ALIKE = 0.99999
"""Correlation from which two series are one series: statsmodels then calls them perfectly cointegrated."""


@dataclass(frozen=True)
class EngleGranger:
    """The statistic and p of one order, y explained by x."""

    stat: float
    p: float
    lags: int
    critical_5pct: float


@dataclass(frozen=True)
class HalfLife:
    """Bars in which half a deviation is gone, with its 95 % interval; `phi` is the AR(1) coefficient."""

    bars: float
    lo: float
    hi: float
    phi: float


def untestable(y: Floats, x: Floats, min_bars: int = MIN_BARS) -> str | None:
    """Why a test of these two would mean nothing, in words, or None if it can be made."""
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        return "a price is missing or, for logarithms, not positive"
    if len(y) < min_bars:
        return f"{len(y)}/{min_bars} bars in common"
    if y.max() == y.min() or x.max() == x.min():
        return "one of the prices has not moved"
    if abs(float(np.corrcoef(y, x)[0, 1])) > ALIKE:
        return f"the two series are the same (correlation above {ALIKE})"
    return None


def engle_granger(y: Floats, x: Floats, lags: Lags = "aic") -> EngleGranger:
    """Unit-root test of the residual of y on x and a constant: statsmodels' `coint`, on centred series.

    p is MacKinnon's for two series (1994), the 5 % critical value the finite-sample one of 2010. Raises
    ValueError where `untestable` gives a reason to.
    """
    y, x = y - y.mean(), x - x.mean()
    line = ols(y, x)
    test = unit_root(y - line.beta * x, lags, constant=False)
    return EngleGranger(test.stat, float(p_value(test.stat, 2)), test.lags, critical_5pct(len(y) - 1, 2))


def half_life(spread: Floats, confidence: float = 0.95) -> HalfLife | None:
    """-ln 2 / ln(phi) with phi = 1 + b from d spread = a + b spread before; None unless phi lies in (0, 1).

    The interval follows phi's standard error by the delta method, cut at 0. Most pure walks "have" a
    half-life too: it says something only of a cointegrated pair, and reads short in few bars.
    """
    before, change = spread[:-1], np.diff(spread)
    line = ols(change, before)
    phi = 1.0 + line.beta
    if not 0.0 < phi < 1.0:
        return None
    residual = line.residuals(change, before)
    centred = before - before.mean()
    error = math.sqrt(float(residual @ residual) / (len(before) - 2) / float(centred @ centred))
    bars = -math.log(2.0) / math.log(phi)
    reach = normal.reach(confidence) * error * math.log(2.0) / (phi * math.log(phi) ** 2)
    return HalfLife(bars, max(0.0, bars - reach), bars + reach, phi)


def benjamini_hochberg(p: Floats, dependent: bool = False) -> Floats:
    """q of each p: the share of false finds if all with at most this p are taken; NaN is not counted.

    Benjamini and Hochberg (1995); with `dependent` Benjamini and Yekutieli (2001), which holds whatever the tests
    have to do with each other and finds less.
    """
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if known.size:
        order = known[np.argsort(p[known], kind="stable")]
        ranks = np.arange(1, known.size + 1)
        scaled = p[order] * known.size / ranks * (np.sum(1.0 / ranks) if dependent else 1.0)
        q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q
