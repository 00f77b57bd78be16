"""How often chance alone gives a Dickey-Fuller statistic as low as this: MacKinnon's tables, for arrays.

p-values are the asymptotic ones of MacKinnon (1994, table 3 and 4), critical values those for finite samples of
MacKinnon (2010, table 2); regression with a constant. `n_series` is 1 for a series alone, 2 for the residual of a
pair.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.analytics import normal
from pipelines.analytics.windows import Floats

_RANGE = {1: (-18.83, -1.61, 2.74), 2: (-18.86, -2.62, 0.92)}
"""Below the first p is 0, above the last 1; at the middle the polynomial changes."""
_LEFT = {1: (0.038269, 1.4412, 2.1659), 2: (0.039796, 1.5012, 2.92)}
_RIGHT = {1: (-0.010368, -0.12745, 0.93202, 1.7339), 2: (-0.042377, -0.29198, 0.64695, 2.1945)}
_CRITICAL_5PCT = {1: (-40.04, -4.234, -2.8903, -2.86154), 2: (0.0, -6.823, -6.1101, -3.33613)}


def p_value(stat: npt.ArrayLike, n_series: int) -> Floats:
    """p of each statistic; NaN where it is NaN."""
    t = np.asarray(stat, dtype=np.float64)
    low, middle, high = _RANGE[n_series]
    scale = np.where(t <= middle, np.polyval(_LEFT[n_series], t), np.polyval(_RIGHT[n_series], t))
    p: Floats = np.where(t > high, 1.0, np.where(t < low, 0.0, normal.share_below(scale)))
    return np.where(np.isnan(t), np.nan, p)


def critical_5pct(n: int, n_series: int) -> float:
    """The statistic below which a unit root is rejected at 5 % with `n` differences."""
    return float(np.polyval(_CRITICAL_5PCT[n_series], 1.0 / n))
