"""A ring of numbers: the newest `capacity` of them, in memory that never grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class RingBuffer:
    """float64 values; the oldest makes room for the newest."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring holds at least one value, not {capacity}")
        self._values = np.empty(capacity)
        self._pushed = 0

    def __len__(self) -> int:
        return min(self._pushed, len(self._values))

    @property
    def nbytes(self) -> int:
        return int(self._values.nbytes)

    def push(self, value: float) -> None:
        self._values[self._pushed % len(self._values)] = value
        self._pushed += 1

    def values(self) -> NDArray[np.float64]:
        """A copy, oldest first."""
        if self._pushed <= len(self._values):
            return self._values[: self._pushed].copy()
        return np.roll(self._values, -(self._pushed % len(self._values)))
