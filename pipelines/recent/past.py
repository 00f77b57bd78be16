"""What the minute knows of the past without asking the lake: the newest bars, their indicators' state, the calendars.

It stands for one state of the lake (`mark`). Between two runs it lies in a folder beside the lake, one file a
matrix and `head.json`, which names them and is replaced last; the folder may be deleted at any time. A kill leaves
the former head in force; a power cut can tear a file, so what was written before this boot of the machine is not
read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl

from pipelines.recent.matrices import Matrices
from warehouse.changes import Mark

BOOT = Path("/proc/sys/kernel/random/boot_id")
HEAD = "head.json"


@dataclass(frozen=True)
class Past:
    """The state of the lake at `mark`, as far as a minute needs it.

    series:   source, symbol, calendar, sorted; a series' row number is its number in every matrix
    sessions: calendar, open_ts, close_ts, sorted by open_ts; of the calendars that have any
    progress: source -> market time up to which its windows are closed
    newest:   source -> the greatest id of its batches of kind `rest`
    bars:     interval -> ts, high, low, close, volume, ret_log and more (see `pipelines.recent.reading`)
    state:    interval -> ts and the carried indicator columns of the newest bars
    baseline: interval, source, symbol, session, bucket and the values bars are judged by, of the coming buckets
    reach:    interval, source, session in force, first and last bucket in `baseline`
    digest:   of the indicators' periods and the intervals
    """

    mark: Mark
    digest: str
    series: pl.DataFrame
    sessions: pl.DataFrame
    progress: Mapping[str, datetime]
    newest: Mapping[str, str]
    bars: Mapping[str, Matrices]
    state: Mapping[str, Matrices]
    baseline: pl.DataFrame
    reach: pl.DataFrame

    def marked(self, mark: Mark) -> Past:
        return replace(self, mark=mark)


def recall(folder: Path, digest: str) -> Past | None:
    """What was remembered there under these periods; None if nothing was, or it cannot be read."""
    try:
        head = json.loads((folder / HEAD).read_text())
        if head["boot"] != BOOT.read_text() or head["digest"] != digest:
            return None
        return _past(folder, head)
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
        return None


def remember(folder: Path, past: Past, before: Past | None = None) -> None:
    """Keeps it for the next run; what is the same as in `before`, which lies there, is not written again.

    A full disk costs the next run its short cut and nothing more.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        files = _files_of(folder) if before else {}
        known = _parts(before) if before else {}
        for name, part in _parts(past).items():
            if name not in files or known.get(name) is not part:
                files[name] = f"{name}-{uuid4().hex[:12]}"
                _write(folder / files[name], part)
        head = {
            "boot": BOOT.read_text(),
            "digest": past.digest,
            "mark": [past.mark.snapshot, past.mark.made_at.isoformat(), dict(past.mark.tables)],
            "progress": {source: at.isoformat() for source, at in past.progress.items()},
            "newest": dict(past.newest),
            "columns": {
                name: list(part.names) for name, part in _parts(past).items() if isinstance(part, Matrices)
            },
            "files": files,
        }
        draft = folder / f"{HEAD}.tmp"
        draft.write_text(json.dumps(head))
        draft.replace(folder / HEAD)
        for path in folder.iterdir():
            if path.name != HEAD and path.name not in files.values():
                path.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Nothing is remembered any more."""
    with suppress(OSError):
        (folder / HEAD).unlink(missing_ok=True)


FRAMES = ("series", "sessions", "baseline", "reach")


def _parts(past: Past) -> dict[str, Matrices | pl.DataFrame]:
    parts: dict[str, Matrices | pl.DataFrame] = {name: getattr(past, name) for name in FRAMES}
    for kind in ("bars", "state"):
        parts |= {f"{kind}-{interval}": part for interval, part in getattr(past, kind).items()}
    return parts


def _files_of(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / HEAD).read_text())["files"])
    except (OSError, ValueError, KeyError):
        return {}


def _write(path: Path, part: Matrices | pl.DataFrame) -> None:
    if isinstance(part, Matrices):
        with path.open("wb") as file:
            np.save(file, part.data, allow_pickle=False)
    else:
        part.write_ipc(path, compression="uncompressed")


def _past(folder: Path, head: dict[str, Any]) -> Past:
    files, columns = head["files"], head["columns"]
    frames = {name: pl.read_ipc(folder / files[name]) for name in FRAMES}
    matrices = {
        name: Matrices(tuple(columns[name]), np.load(folder / files[name], mmap_mode="r", allow_pickle=False))
        for name in columns
    }
    snapshot, made_at, tables = head["mark"]
    return Past(
        mark=Mark(snapshot, datetime.fromisoformat(made_at), tables),
        digest=head["digest"],
        progress={source: datetime.fromisoformat(at) for source, at in head["progress"].items()},
        newest=head["newest"],
        bars=_of_kind("bars", matrices),
        state=_of_kind("state", matrices),
        **frames,
    )


def _of_kind(kind: str, matrices: Mapping[str, Matrices]) -> dict[str, Matrices]:
    """Interval -> its matrices."""
    return {
        name.removeprefix(f"{kind}-"): part for name, part in matrices.items() if name.startswith(f"{kind}-")
    }
