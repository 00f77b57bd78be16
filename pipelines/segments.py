"""Websocket frames as received: segments that are appended to, sealed by rename each minute, and loaded once.

    streams/open/<id>.jsonl            being written by the one collector that holds `open/.lock`
    streams/sealed/<id>.jsonl[.zst]    complete and on the disk, waiting to be loaded
    streams/loaded/<source>/dt=YYYY-MM-DD/<id>..   in the ledger; kept for as many days as the landing zone

A segment is a list of batches, each a line of JSON (`at`: when its first frame was received, epoch us; `frames`;
`length` in bytes; `lengths` of the frames where one of them holds a newline), then the frames, one a line. A
sealed segment ends with a line that says so (`sealed`, what was dropped, receive-to-landed times).
`folder` is the `streams` folder throughout.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson
import zstandard

from pipelines.landing import batch_id
from pipelines.market import utc
from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)

OPEN, SEALED, LOADED = "open", "sealed", "loaded"
PACKED = ".jsonl.zst"
PLAIN = ".jsonl"


class SegmentError(TapewatchError):
    """Another collector writes here, or a segment cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Segment:
    """What a segment holds. `seal` is its last line, empty for one that was never sealed by its writer."""

    frames: list[bytes]
    first_us: int | None
    last_us: int | None
    seal: dict[str, Any] = field(default_factory=dict)
    torn: int = 0
    """Bytes at the end that make no whole frame."""


@dataclass(frozen=True)
class Sealed:
    """A segment that waits to be loaded."""

    path: Path

    @property
    def batch_id(self) -> str:
        return self.path.name.split(".", 1)[0]

    @property
    def source(self) -> str:
        return self.path.name.split("-", 1)[0]


def segment_id(source: str, start: datetime) -> str:
    """`binance-stream-20261121T0241-07123456`: no two segments of a source begin in the same microsecond."""
    return batch_id(source, "stream", start, f"{utc(start):%S%f}")


def encode(at_us: int, frames: Sequence[bytes]) -> bytes:
    """One batch, ready to be appended."""
    body = b"\n".join(frames)
    header: dict[str, Any] = {"at": at_us, "frames": len(frames), "length": len(body)}
    if body.count(b"\n") != len(frames) - 1:
        header["lengths"] = [len(frame) for frame in frames]
    return b"%b\n%b\n" % (orjson.dumps(header), body)


def decode(data: bytes) -> Segment:
    """Every whole frame; what a killed writer left half-written at the end is counted and left out."""
    frames: list[bytes] = []
    ats: list[int] = []
    position, seal = 0, dict[str, Any]()
    while position < len(data):
        header, body, end = _next(data, position)
        if header is None:
            break
        if "sealed" in header:
            seal, position = header, end
            break
        whole = end <= len(data)
        got = _frames(body, header) if whole else _frames_of_torn(body, header)
        frames += got
        ats += [header["at"]] if got else []
        if not whole:
            break
        position = end
    return Segment(frames, ats[0] if ats else None, ats[-1] if ats else None, seal, len(data) - position)


def batches(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The whole batches of a segment: when each's first frame was received, and its frames."""
    position = 0
    while position < len(data):
        header, body, position = _next(data, position)
        if header is None or "sealed" in header:
            return
        yield header["at"], _frames(body, header)


def content(path: Path) -> bytes:
    """A sealed segment's bytes, unpacked; SegmentError if it is corrupt or missing."""
    try:
        data = path.read_bytes()
        return (
            zstandard.ZstdDecompressor().decompressobj().decompress(data)
            if path.name.endswith(PACKED)
            else data
        )
    except OSError as error:
        raise SegmentError(f"segment {path} cannot be read: {error.strerror}") from error
    except zstandard.ZstdError as error:
        raise SegmentError(
            f"segment {path} is corrupt ({error}); move it away, its trades are fetched by id"
        ) from error


def read(path: Path) -> Segment:
    """A sealed segment; SegmentError if it is corrupt, not whole or missing."""
    found = decode(content(path))
    if not found.seal:
        raise SegmentError(f"segment {path} is not whole; move it away, its trades are fetched by id")
    return found


def seal_line(at_us: int, **more: Any) -> bytes:
    return orjson.dumps({"sealed": at_us, **more}) + b"\n"


def seal(folder: Path, path: Path, packed: bool) -> Path:
    """An open segment durable under its final name; the open one is gone afterwards.

    Killed in between, both exist: sealing again gives the same file, and the ledger loads it once.
    """
    final = folder / SEALED / (path.name.removesuffix(PLAIN) + (PACKED if packed else PLAIN))
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.with_name(f".{final.name}.tmp")
    with path.open("rb") as source, draft.open("wb") as target:
        if packed:
            zstandard.ZstdCompressor(level=3, write_checksum=True).copy_stream(source, target)
        else:
            shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    draft.rename(final)
    _sync_folder(final.parent)
    path.unlink()
    return final


def seal_leftovers(folder: Path, packed: bool = True) -> list[Path]:
    """What a dead collector left open, sealed without its torn end; call it only while holding `owned`."""
    done = []
    for path in sorted((folder / OPEN).glob(f"*{PLAIN}")):
        found = decode(path.read_bytes())
        if found.torn:
            log.warning("segment %s: %d bytes of a torn frame dropped", path.name, found.torn)
        if not found.frames:
            path.unlink()
            continue
        if not found.seal:
            whole = encode(found.first_us or 0, found.frames) + seal_line(found.last_us or 0, recovered=True)
            draft = path.with_suffix(".tmp")
            draft.write_bytes(whole)
            draft.rename(path)
        done.append(seal(folder, path, packed))
    return done


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """The right to write segments here, which one process has at a time; SegmentError if another has it.

    The kernel frees it the moment its holder dies.
    """
    (folder / OPEN).mkdir(parents=True, exist_ok=True)
    with (folder / OPEN / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SegmentError(
                f"another collector writes to {folder}; `tapewatch status` shows it, "
                "`tapewatch stop` ends the collection"
            ) from None
        yield


def is_owned(folder: Path) -> bool:
    """Whether a collector writes here now."""
    try:
        with owned(folder):
            return False
    except SegmentError:
        return True


def pending(folder: Path, source: str) -> list[Sealed]:
    """Sealed segments of a source, oldest first."""
    found = (folder / SEALED).glob(f"{source}-stream-*{PLAIN}*")
    return [Sealed(path) for path in sorted(found)]


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def put_away(folder: Path, segment: Sealed) -> None:
    """A loaded segment out of the way; a second time nothing happens."""
    stamp = segment.batch_id.split("-")[2]
    day = date(int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8]))
    shelf = folder / LOADED / segment.source / f"dt={day}"
    shelf.mkdir(parents=True, exist_ok=True)
    if segment.path.exists():
        segment.path.rename(shelf / segment.path.name)


def expire(folder: Path, keep_days: int, today: date) -> int:
    """Deletes loaded days before `today - keep_days`; returns segments deleted."""
    deleted = 0
    for day in (folder / LOADED).glob("*/dt=*"):
        if date.fromisoformat(day.name[3:]) < today - timedelta(days=keep_days):
            deleted += sum(1 for _ in day.iterdir())
            shutil.rmtree(day)
    return deleted


def _next(data: bytes, position: int) -> tuple[dict[str, Any] | None, bytes, int]:
    """The header at `position`, what is there of its body, and where the next one begins if all is there."""
    line_end = data.find(b"\n", position)
    header = _header(data[position:line_end]) if line_end >= 0 else None
    if header is None or "sealed" in header:
        return header, b"", line_end + 1
    start, end = line_end + 1, line_end + 1 + int(header["length"])
    return header, data[start:end], end + 1


def _header(line: bytes) -> dict[str, Any] | None:
    try:
        header = orjson.loads(line)
    except ValueError:
        return None
    known = isinstance(header, dict) and ("sealed" in header or {"at", "frames", "length"} <= header.keys())
    return header if known else None


def _frames(body: bytes, header: dict[str, Any]) -> list[bytes]:
    if "lengths" not in header:
        return body.split(b"\n")
    frames, start = [], 0
    for length in header["lengths"]:
        frames.append(body[start : start + length])
        start += length + 1
    return frames


def _frames_of_torn(body: bytes, header: dict[str, Any]) -> list[bytes]:
    """The frames that lie whole in what was written of a batch."""
    if "lengths" not in header:
        whole, newline, _ = body.rpartition(b"\n")
        return whole.split(b"\n") if newline else []
    ends = accumulate(header["lengths"], lambda end, length: end + 1 + length)
    written = sum(1 for end in ends if end <= len(body))
    return _frames(body, header)[:written]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
