"""The tails of the run before, on disk: what most minutes need of the past without asking the lake for it.

A file's name stands for everything its content follows from: which batches have been derived and by which runs,
how far the clocks had come, the indicators' periods, and this boot of the machine (a power cut can tear a file, a
kill cannot). Where there is no file of that name, or it cannot be read, the lake is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import polars as pl

BOOT = Path("/proc/sys/kernel/random/boot_id")
PARTS = ("bars", "state")


class Kept(NamedTuple):
    """Each series' last bars (those that indicators look back on) and its newest stored indicator row.

    bars: source, symbol, ts, high, low, close, volume, ret_log; sorted. state: source, symbol, ts, the carried columns
    """

    bars: pl.DataFrame
    state: pl.DataFrame


def name_of(derived: tuple[int, int], progress: Mapping[str, datetime], digest: str) -> str | None:
    """What files of this state of the lake are called; None where the machine cannot say which boot this is.

    derived: how many batches, and their hash. digest: of the indicators' periods
    """
    try:
        boot = BOOT.read_text()
    except OSError:
        return None
    return blake2b(
        repr((boot, derived, sorted(progress.items()), digest)).encode(), digest_size=12
    ).hexdigest()


def load(folder: Path, interval: str, name: str) -> Kept | None:
    """What was kept under the name, None if nothing was or it cannot be read."""
    try:
        return Kept(*(pl.read_ipc(_path(folder, interval, name, part)) for part in PARTS))
    except (OSError, pl.exceptions.PolarsError):
        return None


def save(
    folder: Path, before: str | None, name: str, changed: Mapping[str, Kept], intervals: Iterable[str]
) -> None:
    """Keeps the changed tails under the name and renames the others; nothing else stays.

    A full disk costs the next run its short cut and nothing more.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for interval in intervals:
            for part in PARTS:
                path = _path(folder, interval, name, part)
                if interval in changed:
                    draft = path.with_suffix(".tmp")
                    getattr(changed[interval], part).write_ipc(draft, compression="uncompressed")
                    draft.replace(path)
                elif before:
                    with suppress(FileNotFoundError):
                        _path(folder, interval, before, part).replace(path)
        for path in folder.iterdir():
            if name not in path.name:
                path.unlink(missing_ok=True)


def _path(folder: Path, interval: str, name: str, part: str) -> Path:
    return folder / f"{interval}-{name}.{part}"
