"""What a stream still has before it: frames that are landed and not yet loaded, and how fast they come."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

from pipelines import segments
from pipelines.segments import Sealed, SegmentError

PACE_S = 60.0


class Backlog:
    """Frames of one source's sealed segments that wait for the warehouse; from any thread.

    Its own collector notes what it seals. What an earlier one left is counted once, by reading it.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder, self.source = folder, source
        self._frames: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, batch_id: str, frames: int) -> None:
        """This open segment is to be sealed."""
        with self._lock:
            self._frames[batch_id] = frames

    def frames(self) -> int:
        """How many wait now; a loaded segment no longer counts."""
        with self._lock:
            # In this order: a segment is in both folders for a moment, never in none.
            unsealed = {Sealed(path).batch_id for path in (self.folder / segments.OPEN).glob("*")}
            waiting = {one.batch_id: one for one in segments.pending(self.folder, self.source)}
            fresh = {batch: _frames_in(one) for batch, one in waiting.items() if batch not in self._frames}
            noted = {batch: n for batch, n in self._frames.items() if batch in unsealed | waiting.keys()}
            self._frames = noted | fresh
            return sum(self._frames.values())


class Pace:
    """How many a second, over the last minute, of a count that only grows."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, at: float, count: int) -> float | None:
        """The pace at `at` (seconds of any steady clock); None at the first look: it knows no earlier one."""
        while len(self._looks) > 1 and self._looks[1][0] <= at - PACE_S:
            self._looks.popleft()
        self._looks.append((at, count))
        since, before = self._looks[0]
        return (count - before) / (at - since) if at > since else None


def _frames_in(one: Sealed) -> int:
    """0 for one that cannot be read, or was loaded a moment ago."""
    try:
        return len(segments.read(one.path).frames)
    except SegmentError:
        return 0
