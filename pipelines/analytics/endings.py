"""What moments of windows say in the end: deviations, bands, correlations. `history_fast` has the same compiled."""

from __future__ import annotations

import numpy as np

from pipelines.analytics.moments import Sample
from pipelines.analytics.windows import Floats


def deviation_pct(close: Floats, average: Floats) -> Floats:
    """Percent of `close` above `average`; exactly 5 for 105 against 100."""
    return (close - average) * 100.0 / np.where(average != 0, average, np.nan)


def sigmas(value: Floats, mean: Floats, squares: Floats, freedom: int) -> Floats:
    """How many standard deviations (squares / freedom) the value lies above the mean; NaN where there are none."""
    return (value - mean) / np.sqrt(np.where(squares > 0, squares, np.nan) / freedom)


def deviation(squares: Floats, freedom: int) -> Floats:
    """Standard deviation."""
    return np.asarray(np.sqrt(squares / freedom))


def pearson(moment: Sample) -> Floats:
    """Correlation of co-moments; NaN where either has no variance."""
    *_, xx, yy, xy = moment
    scale = np.sqrt(xx) * np.sqrt(yy)
    return np.asarray(np.clip(xy / np.where(scale > 0, scale, np.nan), -1.0, 1.0))


def band(mean: Floats, squares: Floats, width: int, wide: float) -> tuple[Floats, Floats]:
    """Upper and lower: so many population standard deviations around the mean."""
    reach = wide * np.sqrt(squares / width)
    return mean + reach, mean - reach
