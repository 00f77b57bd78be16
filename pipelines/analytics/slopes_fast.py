"""Order statistics of the slopes between all pairs of bars, without forming most of them; as machine code.

With the bars in the order of x, the slope between two is below t exactly where y - t x falls from the one to the other.
So counting the slopes below t is counting inversions, and the slopes between two bounds belong to the pairs that
change places from the one order to the other (Dillencourt, Mount and Netanyahu 1992).
"""

from __future__ import annotations

import numpy as np

from pipelines.analytics.compiled import compiled
from pipelines.analytics.windows import Floats, Integers

BINS = 1024


def within(y: Floats, x: Floats, low: float, high: float) -> tuple[int, Floats]:
    """How many slopes between two bars are below `low`, and all from `low` to `high`; bars of equal x make none.

    The bars in the order of x, those of equal x in that of y. Both answers exactly: where rounding leaves doubt about
    a slope at a bound, all slopes are formed.
    """
    if np.isfinite(low) and np.isfinite(high):
        slack = 1e-15 * len(x) ** 0.5 * (np.abs(y).max() + max(abs(low), abs(high)) * np.abs(x).max())
        start, end = y - low * x, y - high * x
        (below, one), (not_above, other) = _falls(start), _falls(end)
        # Bars that are neighbours in such an order by less than rounding leave doubt, unless they are the same.
        twins = _twins(y, x)
        if _near(one, slack) == twins and _near(other, slack) == twins:
            first = np.argsort(start)
            return below, _changed(end[first], y[first], x[first], not_above - below)
    return _all_within(y, x, low, high)


@compiled
def _twins(y: Floats, x: Floats) -> int:
    """Bars that are the same as the one before."""
    count = 0
    for i in range(1, len(x)):
        count += (x[i] == x[i - 1]) & (y[i] == y[i - 1])
    return count


@compiled
def _near(z: Floats, slack: float) -> int:
    """Values no further than the slack above the one before."""
    count = 0
    for i in range(1, len(z)):
        count += z[i] - z[i - 1] <= slack
    return count


@compiled
def _falls(z: Floats) -> tuple[int, Floats]:
    """Inversions, pairs whose later value is lower, counted while sorting; and the sorted values."""
    n = len(z)
    values, merged = z.copy(), np.empty(n)
    falls, width = 0, 1
    while width < n:
        for left in range(0, n, 2 * width):
            middle, right = min(left + width, n), min(left + 2 * width, n)
            i, j, k = left, middle, left
            while i < middle and j < right:  # without branches, which would be guessed wrongly half the time
                later = values[j] < values[i]
                merged[k] = values[j] if later else values[i]
                falls += (middle - i) * later
                i, j, k = i + (not later), j + later, k + 1
            for rest in range(i, middle):
                merged[k] = values[rest]
                k += 1
            for rest in range(j, right):
                merged[k] = values[rest]
                k += 1
        values, merged = merged, values
        width *= 2
    return falls, values


@compiled
def _changed(z: Floats, y: Floats, x: Floats, count: int) -> Floats:
    """Slopes of the `count` pairs that stand the wrong way round in z: met while merging bars into its order."""
    n = len(z)
    bars, merged = np.empty((3, n)), np.empty((3, n))
    bars[0], bars[1], bars[2] = z, y, x
    kept, at, width = np.empty(count), 0, 1
    while width < n:
        for left in range(0, n, 2 * width):
            middle, right = min(left + width, n), min(left + 2 * width, n)
            i = k = left
            for j in range(middle, right):
                while i < middle and bars[0, i] <= bars[0, j]:
                    merged[0, k], merged[1, k], merged[2, k] = bars[0, i], bars[1, i], bars[2, i]
                    i, k = i + 1, k + 1
                for wrong in range(i, middle):
                    kept[at + wrong - i] = (bars[1, wrong] - bars[1, j]) / (bars[2, wrong] - bars[2, j])
                at += middle - i
                merged[0, k], merged[1, k], merged[2, k] = bars[0, j], bars[1, j], bars[2, j]
                k += 1
            for rest in range(k, right):
                merged[0, rest], merged[1, rest], merged[2, rest] = bars[0, i], bars[1, i], bars[2, i]
                i += 1
        bars, merged = merged, bars
        width *= 2
    return kept


@compiled
def _all_within(y: Floats, x: Floats, low: float, high: float) -> tuple[int, Floats]:
    n = len(x)
    kept, below, count = np.empty(16 * n), 0, 0
    for i in range(n - 1):
        if count + n > len(kept):
            larger = np.empty(2 * len(kept))
            larger[:count] = kept[:count]
            kept = larger
        for j in range(i + 1, n):
            if x[j] != x[i]:
                slope = (y[j] - y[i]) / (x[j] - x[i])
                below += slope < low
                kept[count] = slope
                count += (slope >= low) & (slope <= high)
    return below, kept[:count]


def pick(values: Floats, ranks: Integers) -> Floats:
    """The values of these ranks, in linear time: only the bins that hold one are sorted."""
    low, high = float(values.min()), float(values.max())
    scale = (BINS - 1) / (high - low) if high > low else 0.0
    if not (np.isfinite(scale) and scale > 0.0):  # nor are they where one is NaN
        return np.asarray(np.sort(values)[ranks])
    return _picked(values, ranks, low, scale)


@compiled
def _picked(values: Floats, ranks: Integers, low: float, scale: float) -> Floats:
    out = np.empty(len(ranks))
    held = np.zeros(BINS + 1, dtype=np.int64)
    at = np.empty(len(values), dtype=np.int32)
    for i in range(len(values)):  # apart from the counting, so that several go at once
        at[i] = np.int32((values[i] - low) * scale)
    for bin in at:
        held[bin + 1] += 1
    before = np.cumsum(held)
    wanted = np.zeros(BINS, dtype=np.bool_)
    for rank in ranks:
        wanted[np.searchsorted(before, rank, side="right") - 1] = True
    skipped = np.zeros(BINS + 1, dtype=np.int64)
    for k in range(BINS):
        skipped[k + 1] = skipped[k] + (0 if wanted[k] else held[k + 1])
    some, count = np.empty(len(values) - skipped[BINS] + 1), 0
    for i in range(len(values)):
        some[count] = values[i]
        count += wanted[at[i]]
    some = np.sort(some[:count])
    for r in range(len(ranks)):
        out[r] = some[ranks[r] - skipped[np.searchsorted(before, ranks[r], side="right") - 1]]
    return out
