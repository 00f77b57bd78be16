"""Each series' newest bars as matrices: a row a series, the newest bar in the last column, NaN where there is none.

Times are seconds since 1970 as floats, so that one array holds everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """Bars of several series, sorted by series and time: the row of each one's series, and its values by name."""

    series: Integers
    values: Mapping[str, Floats]

    @property
    def ts(self) -> Floats:
        return self.values[TS]

    def counts(self, series: int) -> Integers:
        """How many rows each of so many series has."""
        return np.bincount(self.series, minlength=series)


@dataclass(frozen=True)
class Matrices:
    """`data[c, s, :]` holds column `names[c]` of series `s`, oldest first, its newest value last."""

    names: tuple[str, ...]
    data: Floats

    def __getitem__(self, name: str) -> Floats:
        column: Floats = self.data[self.names.index(name)]
        return column

    @property
    def width(self) -> int:
        return int(self.data.shape[2])

    def ends(self) -> Integers:
        """How many bars of each series there are."""
        return np.asarray((~np.isnan(self[TS])).sum(axis=1), dtype=np.int64)

    def replaced(self, behind: Integers, rows: Rows) -> Matrices:
        """Wider matrices in which each series' rows stand in place of its last `behind` bars."""
        values = np.stack([rows.values[name] for name in self.names])
        return Matrices(self.names, spliced(self.data, behind, rows.counts(self.data.shape[1]), values))

    def trimmed(self, width: int) -> Matrices:
        """The newest `width` columns."""
        return Matrices(self.names, self.data[:, :, -width:])


def spliced(old: Floats, behind: Integers, counts: Integers, values: Floats) -> Floats:
    """`old` without each series' last `behind` columns and with its `counts` new values behind the others.

    old: (columns, series, width); values: (columns, all new ones, series after series). The answer is as wide as
    its longest row, and aligned on the right.
    """
    width = old.shape[2] + max(int((counts - behind).max(initial=0)), 0)
    shapes = np.unique(np.stack([behind, counts]), axis=1).T
    out = np.full((*old.shape[:2], width), np.nan)
    first = np.cumsum(counts) - counts
    for gone, come in shapes.tolist():
        where = np.flatnonzero((behind == gone) & (counts == come))
        chosen: slice | Integers = slice(None) if len(where) == old.shape[1] else where
        kept = old.shape[2] - gone
        out[:, chosen, width - kept - come : width - come] = old[:, chosen, :kept]
        if come:
            out[:, chosen, width - come :] = values[:, first[where][:, None] + np.arange(come)]
    return out


def repeated(series: Sequence[int] | Integers, counts: Integers) -> Integers:
    return np.repeat(np.asarray(series, dtype=np.int64), counts)
