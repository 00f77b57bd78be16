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

    Both exactly: where rounding leaves doubt about a slope at a bound, all slopes are formed.
    """
    if np.isfinite(low) and np.isfinite(high):
        order = np.lexsort((y, x))
        y, x = y[order], x[order]
        slack = 1e-15 * len(x) ** 0.5 * (np.abs(y).max() + max(abs(low), abs(high)) * np.abs(x).max())
        start, end = y - low * x, y - high * x
        below, doubtful = _falls(start, slack)
        if doubtful == _falls(end, slack)[1] == _twins(y, x):
            first = np.argsort(start, kind="stable")
            return below, _changed(end[first], y[first], x[first])
    return _all_within(y, x, low, high)


@compiled
def _twins(y: Floats, x: Floats) -> int:
    """Pairs of bars that are the same in both, of sorted bars."""
    pairs, run = 0, 0
    for i in range(1, len(x)):
        run = run + 1 if x[i] == x[i - 1] and y[i] == y[i - 1] else 0
        pairs += run
    return pairs


@compiled
def _falls(z: Floats, slack: float) -> tuple[int, int]:
    """Pairs whose later value is lower by more than `slack`, and those that are closer: counted while merging."""
    n = len(z)
    values, merged = z.copy(), np.empty(n)
    falls, near, width = 0, 0, 1
    while width < n:
        for left in range(0, n, 2 * width):
            middle, right = min(left + width, n), min(left + 2 * width, n)
            i = k = left
            for j in range(middle, right):
                while i < middle and values[i] + slack < values[j]:
                    i += 1
                k = max(i, k)
                while k < middle and values[k] - slack <= values[j]:
                    k += 1
                falls += middle - k
                near += k - i
            _merge(values, merged, left, middle, right)
        values, merged = merged, values
        width *= 2
    return falls, near


@compiled
def _merge(values: Floats, merged: Floats, left: int, middle: int, right: int) -> None:
    i, j = left, middle
    for k in range(left, right):
        if i < middle and (j >= right or values[i] <= values[j]):
            merged[k] = values[i]
            i += 1
        else:
            merged[k] = values[j]
            j += 1


@compiled
def _changed(z: Floats, y: Floats, x: Floats) -> Floats:
    """Slopes of the pairs that stand the wrong way round in z."""
    n = len(z)
    order, merged = np.arange(n), np.empty(n, dtype=np.int64)
    kept, count, width = np.empty(16 * n), 0, 1
    while width < n:
        for left in range(0, n, 2 * width):
            middle, right = min(left + width, n), min(left + 2 * width, n)
            i = left
            for j in range(middle, right):
                b = order[j]
                while i < middle and z[order[i]] <= z[b]:
                    i += 1
                if count + n > len(kept):
                    larger = np.empty(2 * len(kept))
                    larger[:count] = kept[:count]
                    kept = larger
                for k in range(i, middle):
                    a = order[k]
                    kept[count] = (y[a] - y[b]) / (x[a] - x[b])
                    count += 1
            i, j = left, middle
            for k in range(left, right):
                if i < middle and (j >= right or z[order[i]] <= z[order[j]]):
                    merged[k] = order[i]
                    i += 1
                else:
                    merged[k] = order[j]
                    j += 1
        order, merged = merged, order
        width *= 2
    return kept[:count]


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


@compiled
def pick(values: Floats, ranks: Integers) -> Floats:
    """The values of these ranks, in linear time: only the bins that hold one are sorted."""
    low, high = values.min(), values.max()
    out = np.empty(len(ranks))
    scale = (BINS - 1) / (high - low) if high > low else 0.0
    if not (np.isfinite(scale) and scale > 0.0):
        ordered = np.sort(values)
        for r in range(len(ranks)):
            out[r] = ordered[ranks[r]]
        return out
    held = np.zeros(BINS + 1, dtype=np.int64)
    at = np.empty(len(values), dtype=np.int16)
    for i in range(len(values)):
        at[i] = int((values[i] - low) * scale)
        held[at[i] + 1] += 1
    before = np.cumsum(held)
    wanted = np.zeros(BINS, dtype=np.bool_)
    for rank in ranks:
        wanted[np.searchsorted(before, rank, side="right") - 1] = True
    skipped = np.zeros(BINS + 1, dtype=np.int64)
    for k in range(BINS):
        skipped[k + 1] = skipped[k] + (0 if wanted[k] else held[k + 1])
    some, count = np.empty(len(values)), 0
    for i in range(len(values)):
        some[count] = values[i]
        count += wanted[at[i]]
    some = np.sort(some[:count])
    for r in range(len(ranks)):
        out[r] = some[ranks[r] - skipped[np.searchsorted(before, ranks[r], side="right") - 1]]
    return out
