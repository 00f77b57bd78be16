"""Statistics of trailing windows, computed in two passes so that a flat window has exactly no spread.

Every function takes windows on the last axis, oldest value first, and returns one value a window; NaN in
a window gives NaN. `moments` has the fast way, for windows whose width is known when they are made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Statistic = Callable[..., Floats]

_CHUNK = 1 << 14


def mean(windows: Floats) -> Floats:
    """Arithmetic mean; of equal values it is exactly that value, so that a flat line does not deviate."""
    first = windows[..., 0]
    flat = (windows == first[..., None]).all(axis=-1)
    return np.asarray(np.where(flat, first, windows.mean(axis=-1)), dtype=np.float64)


def std(windows: Floats, ddof: int) -> Floats:
    """Standard deviation around the window's own mean."""
    residual = windows - mean(windows)[..., None]
    variance: Floats = _dot(residual, residual) / (windows.shape[-1] - ddof)
    return np.sqrt(variance)


def sample_std(windows: Floats) -> Floats:
    return std(windows, ddof=1)


def sigmas(value: Floats, middle: Floats, spread: Floats) -> Floats:
    """How many `spread` the value lies above `middle`; NaN where there is no spread."""
    return (value - middle) / np.where(spread > 0, spread, np.nan)


def pearson(left: Floats, right: Floats) -> Floats:
    """Correlation of two equally long windows; NaN where either has no variance."""
    a = left - mean(left)[..., None]
    b = right - mean(right)[..., None]
    scale = np.sqrt(_dot(a, a)) * np.sqrt(_dot(b, b))
    return np.clip(_dot(a, b) / np.where(scale > 0, scale, np.nan), -1.0, 1.0)


def rolling(statistic: Statistic, width: int, *series: Floats) -> Floats:
    """`statistic` over each trailing window of one or more aligned series; NaN before the first whole one."""
    out = np.full(len(series[0]), np.nan)
    if len(out) < width:
        return out
    views = [np.lib.stride_tricks.sliding_window_view(s, width) for s in series]
    # In pieces, because the residuals of a whole year would be `width` times the series in memory.
    for start in range(0, len(views[0]), _CHUNK):
        piece = statistic(*(view[start : start + _CHUNK] for view in views))
        out[width - 1 + start : width - 1 + start + len(piece)] = piece
    return out


def lag(series: Floats) -> Floats:
    """The series one bar later on its last axis: a window that ends here ended one bar before."""
    out = np.full_like(series, np.nan)
    out[..., 1:] = series[..., :-1]
    return out


def newest(width: int, *matrices: Floats) -> list[Floats]:
    """The newest `width` rows of each column that are valid in every matrix; NaN on top if fewer.

    matrices: (rows, columns), at least `width` rows, the newest last. Returns one (width, columns) matrix for each.
    """
    tails = [m[-width:] for m in matrices]
    holes = np.isnan(sum(tails)).any(axis=0)
    if not holes.any():
        return tails
    columns = [m[:, holes] for m in matrices]
    valid = ~np.isnan(sum(columns))
    order = np.argsort(valid, axis=0, kind="stable")[-width:]
    kept = np.take_along_axis(valid, order, axis=0)
    compact = [t.copy() for t in tails]
    for target, source in zip(compact, columns, strict=True):
        target[:, holes] = np.where(kept, np.take_along_axis(source, order, axis=0), np.nan)
    return compact


def _dot(a: Floats, b: Floats) -> Floats:
    product: Floats = np.einsum("...i,...i->...", a, b)
    return product
