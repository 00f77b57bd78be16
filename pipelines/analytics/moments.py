"""Sums, spreads and co-moments of trailing windows, by joining shorter windows into longer ones.

A window of 20 is the newest 16 values and the 4 before them, each of them two halves. Joining adds and never
subtracts a running total, so nothing drifts or cancels: a price of 1e9 that moves by 1e-3 keeps its deviation, and a
flat window has exactly none. `sliding` gives every window of a long array, `folded` the newest ones of each column of
a matrix; both join the same halves in the same order and so agree to the last bit.

Joining two samples' moments: Chan, Golub and LeVeque (1979), "Updating Formulae".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.analytics.windows import Floats

Sample = tuple[Any, ...]
"""Moments of some windows, one array each, of one shape; None: all zero."""
New = Callable[[tuple[int, ...]], Floats]
"""Where arrays come from: `np.empty`, or a `Scratch`."""
Both = Callable[[Sample, Sample, int, int, New], Sample]
"""(older, newer, values in each older window, in each newer, where arrays come from) -> the moments of both together."""


@dataclass(frozen=True)
class Join:
    """A kind of moments: how two samples' become those of both, and how many of them are zero for a single value."""

    both: Both
    deviations: int


class Scratch:
    """Memory for one chunk of work after the other, so that it stays in the processor's cache.

    Fresh arrays of this size cost more in page faults than the arithmetic on them.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0)
        self.used = 0

    def __call__(self, shape: tuple[int, ...]) -> Floats:
        count = shape[0]
        self.used += count
        if self.used > len(self.memory):
            return np.empty(count)
        return self.memory[self.used - count : self.used]

    def clear(self) -> None:
        """Everything handed out may be overwritten from now on; the next chunk may take as much."""
        if self.used > len(self.memory):
            self.memory = np.empty(self.used)
        self.used = 0


def _total(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    """(sum,)"""
    return (np.add(older[0], newer[0], out=new(newer[0].shape)),)


def _spread(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    """(mean, sum of squared deviations from it)"""
    shape = newer[0].shape
    mean = np.subtract(older[0], newer[0], out=new(shape))
    squares = np.multiply(mean, n * m / (n + m), out=new(shape))
    squares *= mean
    _add(squares, older[1], newer[1])
    mean *= n / (n + m)
    mean += newer[0]
    return mean, squares


def _together(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    """(mean x, mean y, squared deviations of x, of y, products of both)"""
    shape, weight = newer[0].shape, n * m / (n + m)
    dx, dy = (np.subtract(older[i], newer[i], out=new(shape)) for i in (0, 1))
    sx, sy = (np.multiply(d, weight, out=new(shape)) for d in (dx, dy))
    products = np.multiply(sx, dy, out=new(shape))
    sx *= dx
    sy *= dy
    for moment, i in ((sx, 2), (sy, 3), (products, 4)):
        _add(moment, older[i], newer[i])
    for mean, i in ((dx, 0), (dy, 1)):
        mean *= n / (n + m)
        mean += newer[i]
    return dx, dy, sx, sy, products


total, spread, together = Join(_total, 0), Join(_spread, 1), Join(_together, 3)


def sliding(join: Join, widths: Iterable[int], *values: Floats, new: New = np.empty) -> dict[int, Sample]:
    """Moments of every trailing window along an array: width -> arrays of len(values) - width + 1, oldest first."""
    wanted = [width for width in sorted(set(widths)) if width <= len(values[0])]
    levels, size = [leaf(join, values)], 1
    while wanted and 2 * size <= wanted[-1]:
        older, newer = rows(levels[-1], slice(None, -size)), rows(levels[-1], slice(size, None))
        levels.append(join.both(older, newer, size, size, new))
        size *= 2
    return {width: _slid(join, levels, width, new) for width in wanted}


def folded(join: Join, widths: Iterable[int], *values: Floats, new: New = np.empty) -> dict[int, Sample]:
    """Moments of the newest rows of each column of a (rows, columns) matrix, the newest last: width -> (columns,)."""
    wanted = sorted(set(widths))
    levels, size = [rows(leaf(join, values), slice(len(values[0]) - wanted[-1], None))], 1
    while 2 * size <= wanted[-1]:
        last = levels[-1]
        count = len(last[0])
        older, newer = rows(last, slice(count % 2, None, 2)), rows(last, slice(count % 2 + 1, None, 2))
        levels.append(join.both(older, newer, size, size, new))
        size *= 2
    return {width: _folded(join, levels, width, new) for width in wanted}


def _slid(join: Join, levels: Sequence[Sample], width: int, new: New) -> Sample:
    """Whole windows from the levels' parts: the longest part is the newest."""
    held, whole = 0, rows(levels[0], slice(0, 0))
    for size, power in parts(width):
        level, start = levels[power], width - held - size
        if not held:
            whole = rows(level, slice(start, None))
        else:
            whole = join.both(rows(level, slice(start, start + len(whole[0]))), whole, size, held, new)
        held += size
    return whole


def _folded(join: Join, levels: Sequence[Sample], width: int, new: New) -> Sample:
    held, whole = 0, rows(levels[0], slice(0, 0))
    for size, power in parts(width):
        level = levels[power]
        part = rows(level, len(level[0]) - 1 - held // size)
        whole = join.both(part, whole, size, held, new) if held else part
        held += size
    return whole


def parts(width: int) -> list[tuple[int, int]]:
    """The powers of two that the width is made of, and which power each is: the largest and newest first."""
    return [(1 << i, i) for i in range(width.bit_length() - 1, -1, -1) if width >> i & 1]


def leaf(join: Join, values: Sequence[Floats]) -> Sample:
    """The moments of single values: their deviations (None) are nothing."""
    return (*values, *(None,) * join.deviations)


def rows(sample: Sample, at: slice | int) -> Sample:
    """Some of the windows."""
    return tuple(None if values is None else values[at] for values in sample)


def _add(moment: Floats, *others: Floats | None) -> None:
    for other in others:
        if other is not None:
            moment += other
