"""Many series' newest bars as matrices: a row a bar, the newest last, a column a series, NaN where there is none.

Times are seconds since 1970 as floats, so that one array holds everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
TS = "ts"


class NotAtHandError(Exception):
    """What is asked for does not follow from the newest bars: the lake has to be read."""


@dataclass(frozen=True)
class Rows:
    """Bars of several series, sorted by series and time: each one's series by number, and its values by name."""

    series: Integers
    values: Mapping[str, Floats]

    @property
    def ts(self) -> Floats:
        return self.values[TS]

    def counts(self, series: int) -> Integers:
        """How many rows each of so many series has."""
        return np.bincount(self.series, minlength=series)

    def having(self, values: Mapping[str, Floats]) -> Rows:
        """The rows with more columns."""
        return Rows(self.series, {**self.values, **values})


class Place(NamedTuple):
    """Where matrices lie on disk: the file's name, and how many rows it holds."""

    file: str
    rows: int


@dataclass(frozen=True)
class Matrices:
    """Column `names[c]` of series `s` is `[:, c, s]`: `old` as it lies at `place`, then `new` which is nowhere yet."""

    names: tuple[str, ...]
    old: Floats
    new: Floats
    place: Place | None = None

    @classmethod
    def of(cls, names: tuple[str, ...], data: Floats, place: Place | None = None) -> Matrices:
        return cls(names, data, np.empty((0, *data.shape[1:])), place)

    @property
    def series(self) -> int:
        return int(self.old.shape[2])

    def tail(self, rows: int) -> Floats:
        """The newest rows, all columns: (rows, columns, series), or as many as there are."""
        if len(self.new) >= rows:
            return self.new[len(self.new) - rows :]
        older = self.old[max(len(self.old) + len(self.new) - rows, 0) :]
        return np.concatenate([older, self.new]) if len(self.new) else older

    def column(self, name: str, rows: int) -> Floats:
        """The newest rows of one column: (rows, series)."""
        at = self.names.index(name)
        new = self.new[:, at]
        older = self.old[max(len(self.old) + len(new) - rows, 0) :, at]
        return np.concatenate([older, new])[-rows:] if len(new) else older

    def grown(self, behind: Integers, rows: Rows) -> Matrices:
        """The matrices with the rows in place of each series' last `behind` bars."""
        counts = rows.counts(self.series)
        values = np.stack([rows.values[name] for name in self.names])
        if not behind.any() and (counts == counts[0]).all():
            block = values.reshape(len(self.names), self.series, int(counts[0])).transpose(2, 0, 1)
            return replace(self, new=np.concatenate([self.new, block]))
        return Matrices.of(self.names, spliced(self.tail(1 << 30), behind, counts, values))

    def trimmed(self, rows: int) -> Matrices:
        """Not more rows than these, of matrices that lie nowhere yet."""
        return self if self.place else Matrices.of(self.names, self.tail(rows))


def spliced(old: Floats, behind: Integers, counts: Integers, values: Floats) -> Floats:
    """`old` without each series' last `behind` rows, and with its `counts` new ones below the others.

    old: (rows, columns, series); values: (columns, all new ones, series after series). The answer is as high as its
    highest column, and aligned at the bottom.
    """
    height = len(old) + max(int((counts - behind).max(initial=0)), 0)
    out = np.full((height, *old.shape[1:]), np.nan)
    first = np.cumsum(counts) - counts
    for gone, come in np.unique(np.stack([behind, counts]), axis=1).T.tolist():
        where = np.flatnonzero((behind == gone) & (counts == come))
        kept = len(old) - gone
        out[height - kept - come : height - come, :, where] = old[:kept, :, where]
        if come:
            block = values[:, first[where][:, None] + np.arange(come)]
            out[height - come :, :, where] = block.transpose(2, 0, 1)
    return out
