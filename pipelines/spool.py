"""The writer of one source's segments: a bounded queue, a thread that appends, another that makes it durable."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.backlog import Backlog
from pipelines.ring import RingBuffer
from pipelines.segment_format import encode, seal_line
from pipelines.segments import OPEN, seal, segment_id

log = logging.getLogger(__name__)

SYNC_S = 1.0
"""What was received is on the disk within a second, whatever happens to the machine."""
SEGMENT_S = 60
SEGMENT_BYTES = 64 << 20
WAITS_KEPT = 4096


@dataclass(frozen=True)
class SpoolOptions:
    """How frames are written. queue_bytes: what may wait for the disk before frames are dropped, and counted."""

    queue_bytes: int = 64 << 20
    packed: bool = True


@dataclass
class SpoolCounts:
    """What the spool has done since it was made; `problem` is why the disk took nothing the last time."""

    frames: int = 0
    bytes: int = 0
    dropped: int = 0
    segments: int = 0
    problem: str | None = None


class Spool:
    """Takes batches of frames from any thread, and never blocks the one that brings them.

    A frame is landed when it is written to the open segment: a kill of the process loses none of those.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        options: SpoolOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.source, self.options, self.clock = folder, source, options or SpoolOptions(), clock
        self.counts = SpoolCounts()
        self.waits_ms = RingBuffer(WAITS_KEPT)
        self._sealed = Backlog(folder, source)
        self._segment_frames = 0
        self._segment_waits = RingBuffer(WAITS_KEPT)
        self._segment_dropped = 0
        self._wake = threading.Condition()
        self._waiting: list[tuple[int, Sequence[bytes]]] = []
        self._waiting_bytes = 0
        self._closing = False
        self._file: FileIO | None = None
        self._path = Path()
        self._ends = 0.0
        self._size = 0
        self._dirty_since: float | None = None
        self._keeper = ThreadPoolExecutor(1, f"{source} sealing")
        self._sync: Future[None] | None = None
        (folder / OPEN).mkdir(parents=True, exist_ok=True)
        self._writer = threading.Thread(target=self._run, name=f"{source} landing", daemon=True)
        self._writer.start()

    def put(self, at_us: int, frames: Sequence[bytes]) -> bool:
        """Queues frames received from `at_us` on; False if they were dropped because the disk is too slow."""
        size = sum(map(len, frames))
        with self._wake:
            if self._closing or self._waiting_bytes + size > self.options.queue_bytes:
                self.counts.dropped += len(frames)
                self._segment_dropped += len(frames)
                return False
            self._waiting.append((at_us, frames))
            self._waiting_bytes += size
            self._wake.notify()
        return True

    def close(self) -> None:
        """Writes what waits, seals the open segment, and returns when it is on the disk."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._writer.join()
        self._keeper.shutdown(wait=True)

    def backlog(self) -> int:
        """Frames that are landed and not yet in the warehouse."""
        return self._segment_frames + self._sealed.frames()

    def latency_ms(self) -> dict[str, float | int]:
        """Receive to landed of the newest batches, by the oldest frame of each: p50, p99, max, n."""
        return _spread(self.waits_ms)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._waiting and not self._closing:
                    self._wake.wait(self._patience())
                batches, self._waiting, self._waiting_bytes = self._waiting, [], 0
                closing = self._closing
            if self._file and (self._is_over() or self._size >= SEGMENT_BYTES):
                self._finish()
            if batches:
                self._append(batches)
            self._keep()
            if closing and not batches:
                self._finish()
                return

    def _is_over(self) -> bool:
        """Whether the segment's minute is over, or lies ahead: the machine's clock was set back."""
        return not self._ends - SEGMENT_S - 1 <= self.clock() < self._ends

    def _patience(self) -> float | None:
        """Seconds until something is due without a new frame: the fsync, or the end of the segment."""
        if self._file is None:
            return None
        due = [self._ends - self.clock()]
        if self._dirty_since is not None:
            due.append(self._dirty_since + SYNC_S - time.monotonic())
        return max(min(due), 0.001)

    def _append(self, batches: list[tuple[int, Sequence[bytes]]]) -> None:
        data = b"".join(encode(at_us, frames) for at_us, frames in batches)
        count = sum(len(frames) for _, frames in batches)
        try:
            file = self._file or self._start()
            _write(file, data)
        except OSError as error:
            self._refuse(error, count)
            return
        now_us = self.clock() * 1e6
        for at_us, _ in batches:
            wait = max(now_us - at_us, 0.0) / 1000
            self.waits_ms.push(wait)
            self._segment_waits.push(wait)
        self._size += len(data)
        self._dirty_since = self._dirty_since or time.monotonic()
        self.counts.frames += count
        self._segment_frames += count
        self.counts.bytes += len(data)
        self.counts.problem = None

    def _refuse(self, error: OSError, count: int) -> None:
        """The disk took only a part: the file ends where it was whole, the frames are lost and counted."""
        if self.counts.problem is None:
            log.error("%s: frames cannot be written: %s; free space, collection goes on", self.source, error)
        self.counts.problem = str(error)
        self.counts.dropped += count
        self._segment_dropped += count
        if self._file:
            self._file.truncate(self._size)
            self._file.seek(self._size)

    def _start(self) -> FileIO:
        now = self.clock()
        self._path = self.folder / OPEN / f"{segment_id(self.source, datetime.fromtimestamp(now, UTC))}.jsonl"
        self._file = FileIO(self._path, "w")
        self._ends = (now // SEGMENT_S + 1) * SEGMENT_S
        self._size = 0
        self._segment_waits = RingBuffer(WAITS_KEPT)
        return self._file

    def _keep(self) -> None:
        """An fsync a second, in another thread: the disk's slowness must not become the feed's."""
        if self._file is None or self._dirty_since is None or time.monotonic() < self._dirty_since + SYNC_S:
            return
        if self._sync is None or self._sync.done():
            self._dirty_since = None
            self._sync = self._keeper.submit(_sync, os.dup(self._file.fileno()))

    def _finish(self) -> None:
        if self._file is None:
            return
        file, path, self._file, self._dirty_since = self._file, self._path, None, None
        end = {"dropped": self._segment_dropped, "receive_to_landed_ms": _spread(self._segment_waits)}
        self._segment_dropped = 0
        self._sealed.note(path.stem, self._segment_frames)
        self._segment_frames = 0
        self._keeper.submit(self._seal, file, path, end)

    def _seal(self, file: FileIO, path: Path, end: dict[str, Any]) -> None:
        try:
            with file:
                _write(file, seal_line(int(self.clock() * 1e6), **end))
                os.fsync(file.fileno())
            seal(self.folder, path, self.options.packed)
            self.counts.segments += 1
        except OSError as error:
            log.error("%s: segment %s stays open: %s; the next start seals it", self.source, path.name, error)


def _write(file: FileIO, data: bytes) -> None:
    """All of it; a disk that becomes full takes a part and raises at the next."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _sync(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _spread(ring: RingBuffer) -> dict[str, float | int]:
    waits = ring.values()
    if not len(waits):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0, "n": 0}
    p50, p99 = np.quantile(waits, (0.5, 0.99))
    return {
        "p50": round(float(p50), 3),
        "p99": round(float(p99), 3),
        "max": round(float(waits.max()), 3),
        "n": len(waits),
    }
