"""Sums, spreads and co-moments of trailing windows, by joining shorter windows into longer ones.

A window of 20 is the newest 16 values and the 4 before them, each of them two halves. Joining adds and never
subtracts a running total, so nothing drifts or cancels: a price of 1e9 that moves by 1e-3 keeps its deviation, and a
flat window has exactly none. `sliding` gives every window of a long array, `folded` the newest one of each column of
a matrix; both join the same halves in the same order and so agree to the last bit.

Joining two samples' moments: Chan, Golub and LeVeque (1979), "Updating Formulae".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pipelines.analytics.windows import Floats

Sample = tuple[Any, ...]
"""Moments of some windows, one array each; the arrays have one shape."""
New = Callable[[tuple[int, ...]], Floats]
"""Where arrays come from: `np.empty`, or a `Scratch`."""
Join = Callable[[Sample, Sample, int, int, New], Sample]
"""(older, newer, values in each older window, in each newer, ...) -> the moments of both together."""


Parts = tuple[tuple[Sample, int], ...]
"""Windows that lie behind one another, the oldest first, and how many values each has."""


class Scratch:
    """Memory for one chunk of work after the other, so that it stays in the processor's cache.

    Fresh arrays of this size cost more in page faults than the arithmetic on them.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0)
        self.used = 0

    def __call__(self, shape: tuple[int, ...]) -> Floats:
        (count,) = shape
        self.used += count
        if self.used > len(self.memory):
            return np.empty(count)
        return self.memory[self.used - count : self.used]

    def clear(self) -> None:
        """Everything handed out may be overwritten from now on; the next chunk may take as much."""
        if self.used > len(self.memory):
            self.memory = np.empty(self.used)
        self.used = 0


def total(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    """(sum,)"""
    return (np.add(older[0], newer[0], out=new(newer[0].shape)),)


def spread(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    """(mean, sum of squared deviations from it)"""
    shape = newer[0].shape
    mean = np.subtract(older[0], newer[0], out=new(shape))
    squares = np.multiply(mean, n * m / (n + m), out=new(shape))
    squares *= mean
    squares += older[1]
    squares += newer[1]
    mean *= n / (n + m)
    mean += newer[0]
    return mean, squares


def together(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    """(mean x, mean y, squared deviations of x, of y, products of both)"""
    shape, weight = newer[0].shape, n * m / (n + m)
    dx, dy = (np.subtract(older[i], newer[i], out=new(shape)) for i in (0, 1))
    sx, sy = (np.multiply(d, weight, out=new(shape)) for d in (dx, dy))
    products = np.multiply(sx, dy, out=new(shape))
    sx *= dx
    sy *= dy
    for moment, i in ((sx, 2), (sy, 3), (products, 4)):
        moment += older[i]
        moment += newer[i]
    for mean, i in ((dx, 0), (dy, 1)):
        mean *= n / (n + m)
        mean += newer[i]
    return dx, dy, sx, sy, products


def leaf(join: Join, *values: Floats) -> Sample:
    """The moments of single values."""
    if join is total:
        return values
    nothing = np.zeros_like(values[0])
    return (*values, nothing) if join is spread else (*values, nothing, nothing, nothing)


def sliding(join: Join, widths: Iterable[int], *values: Floats, new: New = np.empty) -> dict[int, Sample]:
    """Moments of every trailing window along an array: width -> arrays of len(values) - width + 1, oldest first."""
    wanted = [width for width in sorted(set(widths)) if width <= len(values[0])]
    level, size = leaf(join, *values), 1
    parts: dict[int, tuple[Parts, int]] = dict.fromkeys(wanted, ((), 0))
    found: dict[int, Sample] = {}
    while wanted:
        for width in wanted:
            if width & size:
                behind, held = parts[width]
                # The halves of a window lie oldest and smallest first, as `folded` peels them off.
                parts[width] = (*behind, (level, size)), held + size
        for width in [width for width in wanted if width < 2 * size]:
            found[width] = _joined(join, parts[width][0], width, new)
            wanted.remove(width)
        if wanted:
            older, newer = tuple(a[:-size] for a in level), tuple(a[size:] for a in level)
            level, size = join(older, newer, size, size, new), 2 * size
    return found


def folded(join: Join, *values: Floats) -> Sample:
    """Moments of each column of a (width, columns) matrix, oldest row first."""
    level, size, parts = leaf(join, *values), 1, []
    while True:
        if len(level[0]) % 2:
            parts.append((tuple(a[0] for a in level), size))
            if len(level[0]) == 1:
                break
            level = tuple(a[1:] for a in level)
        level = join(tuple(a[::2] for a in level), tuple(a[1::2] for a in level), size, size, np.empty)
        size *= 2
    whole, held = parts.pop()
    while parts:
        older, count = parts.pop()
        whole = join(older, whole, count, held, np.empty)
        held += count
    return whole


def _joined(join: Join, parts: Parts, width: int, new: New) -> Sample:
    """The moments of whole windows from their parts, oldest part first."""
    *older, (whole, held) = parts
    whole = tuple(a[width - held :] for a in whole)
    for part, count in reversed(older):
        start = width - held - count
        behind = tuple(a[start : start + len(whole[0])] for a in part)
        whole = join(behind, whole, count, held, new)
        held += count
    return whole
