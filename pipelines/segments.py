"""Websocket frames as received: segments that are appended to, sealed by rename each minute, and loaded once.

    streams/open/<id>.jsonl            being written by the one collector that holds `open/.lock`
    streams/sealed/<id>.jsonl[.zst]    complete and on the disk, waiting to be loaded
    streams/loaded/<source>/dt=YYYY-MM-DD/<id>..   in the ledger; kept for as many days as the landing zone

`pipelines.segment_format` says what is in them. `folder` is the `streams` folder throughout.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import zstandard

from pipelines.landing import batch_id
from pipelines.market import utc
from pipelines.segment_format import Segment, decode, encode, seal_line
from warehouse.durable import sync
from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)

OPEN, SEALED, LOADED = "open", "sealed", "loaded"
PACKED = ".jsonl.zst"
PLAIN = ".jsonl"


class SegmentError(TapewatchError):
    """Another collector writes here, or a segment cannot be read; the message says what to do."""


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
    sync(final.parent)
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
