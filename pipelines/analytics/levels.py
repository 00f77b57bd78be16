"""Moments of trailing windows carried on bar after bar, without reading the windows again.

A window of 200 bars is the newest 128, the 64 before them and 8 more; each of these was the newest part of its length
some bars ago. Whoever keeps those parts joins a dozen rows a bar where `moments.folded` joins hundreds, in the same
order: the bits are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from pipelines.analytics import moments
from pipelines.analytics.moments import Join, Sample
from pipelines.analytics.windows import Floats


class Levels:
    """One kind of moments of many series, for windows of some widths; level n holds those of 2^n bars."""

    def __init__(self, join: Join, widths: Iterable[int], *values: Floats) -> None:
        """values: (bars, series) each, the newest last; as many bars as the widest window has are enough."""
        self.join = join
        self.parts = {width: moments.parts(width) for width in set(widths)}
        self.past: list[deque[Sample]] = []
        level, size = moments.leaf(join, values), 1
        for reach in self._reaches():
            count = max(len(values[0]) - size + 1, 0)
            kept = range(max(count - reach - 1, 0), count)
            self.past.append(deque((moments.rows(level, at) for at in kept), maxlen=reach + 1))
            if count > size:
                older, newer = moments.rows(level, slice(None, -size)), moments.rows(level, slice(size, None))
                level = join.both(older, newer, size, size, np.empty)
            size *= 2

    def take(self, *values: Floats) -> None:
        """One bar on: its value of each series."""
        sample, size = moments.leaf(self.join, values), 1
        for past in self.past[:-1]:
            past.append(sample)
            sample = self.join.both(past[-1 - size], sample, size, size, np.empty)
            size *= 2
        self.past[-1].append(sample)

    def newest(self, width: int) -> Sample:
        """The moments of the newest window of each series."""
        held, whole = 0, Sample()
        for size, level in self.parts[width]:
            part = self.past[level][-1 - held]
            whole = self.join.both(part, whole, size, held, np.empty) if held else part
            held += size
        return whole

    def _reaches(self) -> list[int]:
        """How many bars back each level is asked for: by the next level, and as the older part of a window."""
        highest = max(level for parts in self.parts.values() for _, level in parts)
        reaches = [1 << level for level in range(highest)] + [0]
        for parts in self.parts.values():
            held = 0
            for size, level in parts:
                reaches[level] = max(reaches[level], held)
                held += size
        return reaches
