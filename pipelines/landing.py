"""Payloads as received, on disk before anyone reads them: one zstd file a batch, sealed by rename.

`landing/<source>/<kind>/dt=YYYY-MM-DD/<batch_id>.zst` holds, for each reply, one line of JSON (what was
asked, when it came, its `length` in bytes), then the body byte for byte and a newline; `zstdcat` shows it.
A file that has its final name is complete and on the disk. `folder` is the `landing` folder throughout.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import zstandard

from pipelines.market import slug, utc
from pipelines.sources.base import Reply
from warehouse.durable import sync
from warehouse.errors import TapewatchError

_NAME = re.compile(r"[a-z0-9_]+")
_BATCH = re.compile(r"(?P<source>[a-z0-9_]+)-(?P<kind>[a-z0-9_]+)-(?P<day>\d{8})T\d{4}(-[A-Za-z0-9._-]+)?")


class LandingError(TapewatchError):
    """A batch cannot be written or read; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A sealed batch: `sha256` and `bytes` are of the compressed file, `replies` is how many it holds."""

    path: Path
    batch_id: str
    sha256: str
    bytes: int
    replies: int


def batch_id(source: str, kind: str, at: datetime, part: str = "") -> str:
    """`binance-rest-20261121T0241[-part]`: the same window gives the same id, so a retry re-delivers it.

    `source` and `kind` are lower case letters, digits and _; `part` tells batches of one minute apart.
    """
    for name in (source, kind):
        if not _NAME.fullmatch(name):
            raise ValueError(f"batch id: {name!r} may hold only lower case letters, digits and _")
    return f"{source}-{kind}-{utc(at):%Y%m%dT%H%M}" + (f"-{slug(part)}" if part else "")


def batch_path(folder: Path, batch_id: str) -> Path:
    """Where the batch is kept; ValueError if the id is not one of `batch_id`'s."""
    match = _BATCH.fullmatch(batch_id)
    if not match:
        raise ValueError(f"not a batch id: {batch_id!r}; expected source-kind-YYYYmmddTHHMM[-part]")
    day = datetime.strptime(match["day"], "%Y%m%d").date()  # noqa: DTZ007
    return folder / match["source"] / match["kind"] / f"dt={day}" / f"{batch_id}.zst"


def write(folder: Path, batch_id: str, replies: Sequence[Reply]) -> Landed:
    """The batch sealed and on the disk; one that exists already is returned untouched.

    Raises LandingError when the disk is full or not writable; nothing half-written stays behind.
    """
    path = batch_path(folder, batch_id)
    if path.exists():
        return _landed(path)
    data = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(_encode(replies))
    temporary = path.with_name(f".{batch_id}.{os.getpid()}.tmp")
    try:
        _make_folders(path.parent)
        _seal(temporary, path, data)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise LandingError(_write_problem(path, error, len(data))) from error
    return Landed(path, batch_id, sha256(data).hexdigest(), len(data), len(replies))


def read(path: Path) -> list[Reply]:
    """The replies exactly as they were written; LandingError if the file is torn, corrupt or missing."""
    try:
        content = zstandard.ZstdDecompressor().decompress(path.read_bytes(), allow_extra_data=False)
        return _decode(content)
    except OSError as error:
        raise LandingError(f"landing batch {path} cannot be read: {error.strerror}") from error
    except (zstandard.ZstdError, ValueError, KeyError) as error:
        raise LandingError(
            f"landing batch {path} is torn or corrupt ({error}); move it away and backfill its window"
        ) from error


def pending(folder: Path, known: Set[str], source: str = "*") -> list[Landed]:
    """Sealed batches (of one source) whose id is not in `known` (the ledger's), oldest first; unfinished ones are unseen."""
    # Names, not paths: a week of minutes is ten thousand files a source, looked at every minute.
    paths = [
        day / name
        for day in folder.glob(f"{source}/*/dt=*")
        for name in os.listdir(day)
        if name.endswith(".zst") and name[0] != "." and name[:-4] not in known
    ]
    return [
        _landed(path) for path in sorted(paths, key=lambda path: (path.parent.name, _minute(path), path.stem))
    ]


def expire(folder: Path, keep_days: int, today: date) -> int:
    """Deletes days before `today - keep_days`, and what dead writers left behind; returns batches deleted."""
    deleted = 0
    for day in folder.glob("*/*/dt=*"):
        dated = date.fromisoformat(day.name[3:])
        if dated < today - timedelta(days=keep_days):
            deleted += sum(1 for _ in day.glob("[!.]*.zst"))
            shutil.rmtree(day)
        elif dated < today:
            for leftover in day.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
    return deleted


def _encode(replies: Sequence[Reply]) -> bytes:
    parts: list[bytes] = []
    for reply in replies:
        parts += (orjson.dumps(_header(reply, len(replies))), b"\n", reply.body, b"\n")
    return b"".join(parts)


def _header(reply: Reply, of: int) -> dict[str, Any]:
    return {
        "source": reply.source,
        "symbol": reply.symbol,
        "path": reply.path,
        "params": dict(reply.params),
        "status": reply.status,
        "received_at": reply.received_at.isoformat(),
        "latency_ms": reply.latency_ms,
        "server_time": reply.server_time and reply.server_time.isoformat(),
        "retry_after_s": reply.retry_after_s,
        "since": reply.since and reply.since.isoformat(),
        "until": reply.until and reply.until.isoformat(),
        "of": of,
        "length": len(reply.body),
    }


def _decode(content: bytes) -> list[Reply]:
    replies: list[Reply] = []
    start, expected = 0, 0
    while start < len(content):
        end_of_header = content.index(b"\n", start)
        header = orjson.loads(content[start:end_of_header])
        body = content[end_of_header + 1 : end_of_header + 1 + header["length"]]
        replies.append(_reply(header, body))
        start, expected = end_of_header + 2 + header["length"], header["of"]
    if len(replies) != expected:
        raise ValueError(f"{len(replies)} replies of {expected}")
    return replies


def _reply(header: dict[str, Any], body: bytes) -> Reply:
    return Reply(
        source=header["source"],
        symbol=header["symbol"],
        path=header["path"],
        params=header["params"],
        status=header["status"],
        body=body,
        received_at=datetime.fromisoformat(header["received_at"]),
        latency_ms=header["latency_ms"],
        server_time=_time(header["server_time"]),
        retry_after_s=header["retry_after_s"],
        since=_time(header["since"]),
        until=_time(header.get("until")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _make_folders(folder: Path) -> None:
    """Creates the folder, each new name in its parents durable, or a power cut could lose the day."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync(created.parent)


def _seal(temporary: Path, path: Path, data: bytes) -> None:
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync(path.parent)


def _write_problem(path: Path, error: OSError, size: int) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"landing batch {path} cannot be written: {error.strerror}; check the folder's owner and rights"
        )
    existing = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    return (
        f"disk full: landing batch {path} needs {size:,} bytes and {free:,} are free; nothing was loaded. "
        "Free space or lower [retention], the next run catches up by itself"
    )


def _landed(path: Path) -> Landed:
    data = path.read_bytes()
    return Landed(path, path.stem, sha256(data).hexdigest(), len(data), _count(data))


def _count(data: bytes) -> int:
    """How many replies the batch says it holds; 0 where that cannot be read, which `read` then explains."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            header, newline, _ = reader.read(65536).partition(b"\n")
        return int(orjson.loads(header)["of"]) if newline else 0
    except (zstandard.ZstdError, ValueError, KeyError):
        return 0


def _minute(path: Path) -> str:
    match = re.search(r"\d{8}T\d{4}", path.stem)
    return match[0] if match else ""
