"""The slopes between all pairs of bars, in numpy; `slopes_fast` does the same as machine code."""

from __future__ import annotations

import numpy as np

from pipelines.analytics.windows import Floats, Integers


def within(y: Floats, x: Floats, low: float, high: float) -> tuple[int, Floats]:
    """How many slopes between two bars are below `low`, and all from `low` to `high`; bars of equal x make none."""
    n = len(x)
    slopes = np.empty(n * (n - 1) // 2)
    start = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for bar in range(n - 1):
            row = slopes[start : start + n - 1 - bar]
            np.divide(y[bar] - y[bar + 1 :], x[bar] - x[bar + 1 :], out=row)
            start += len(row)
    if len(np.unique(x)) < n:
        i, j = np.triu_indices(n, 1)
        slopes[x[i] == x[j]] = np.nan
    return int(np.count_nonzero(slopes < low)), slopes[(slopes >= low) & (slopes <= high)]


def pick(values: Floats, ranks: Integers) -> Floats:
    """The values of these ranks."""
    return np.asarray(np.partition(values, np.unique(ranks))[ranks])
