"""Statistics of every trailing window of an array without holes. `history_fast` has the same compiled, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipelines.analytics import endings, moments
from pipelines.analytics.moments import Join, Sample, Scratch
from pipelines.analytics.windows import Floats, Integers

CHUNK = 15360
"""Bars whose windows are computed at a time."""


def volatility(width: int, x: Floats) -> Floats:
    """Standard deviation (of a sample) of `width` values, one value fewer than bars for each more than one in a window."""
    return _trailing(moments.spread, width, lambda moment: endings.deviation(moment[1], width - 1), x)


def correlation(width: int, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation of `width` pairs of values."""
    return _trailing(moments.together, width, endings.pearson, x, y)


def only_first_missing(values: Floats, edges: Integers) -> bool:
    """Whether each series (see `history.rows`) lacks its first value and no other."""
    holes, starts = np.isnan(values), edges[:-1][np.diff(edges) > 0]
    return bool(np.count_nonzero(holes) == len(starts) and holes[starts].all())


def chunks(count: int, reach: int) -> Iterator[tuple[int, int, int]]:
    """start, stop, and where the windows that end in [start, stop) begin."""
    for start in range(0, count, CHUNK):
        yield start, min(start + CHUNK, count), max(start - reach, 0)


def ending(values: Floats, start: int, stop: int) -> Floats:
    """The part of one chunk's windows that end in [start, stop)."""
    return values[max(len(values) - (stop - start), 0) :]


def _trailing(join: Join, width: int, finish: Callable[[Sample], Floats], *series: Floats) -> Floats:
    count, scratch = len(series[0]), Scratch()
    out = np.empty(max(count - width + 1, 0))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for start, stop, since in chunks(count, width - 1):
            scratch.clear()
            found = moments.sliding(join, (width,), *(values[since:stop] for values in series), new=scratch)
            if found:
                piece = tuple(ending(values, start, stop) for values in found[width])
                out[stop - width + 1 - len(piece[0]) : stop - width + 1] = finish(piece)
    return out
