"""Files dropped into `inbox/` below the data folder: imported once, then moved to `done` or, with a reason, to `failed`.

    inbox/kraken/XBTUSD.csv            source kraken; the symbol is the file's own column, else its name
    inbox/kraken/XBTUSD/2024-03.csv    source kraken, symbol XBTUSD
    inbox/BTCUSDT-1m-2024-03-01.zip    Binance's bulk files say by their names what they are

A file that is still growing is left for the next look. A run that dies before the move imports the file again,
which changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import duckdb

from flows.brought import Brought
from flows.context import Context
from flows.user_files import import_file
from pipelines.sources.files_columns import bulk_name
from pipelines.sources.files_rows import NamelessError
from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)

DONE, FAILED = "done", "failed"
CHECKSUM = ".CHECKSUM"
UNFINISHED = (".part", ".tmp", ".crdownload", ".partial")
SETTLED_S = 5.0
"""A file that changed within so many seconds may still be written."""


@dataclass
class Taken:
    """Files of one look: imported ones with what they brought, failed ones with why."""

    done: dict[str, Brought] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def take_in(con: duckdb.DuckDBPyConnection, context: Context, now_s: float | None = None) -> Taken:
    """Imports every file that lies in the inbox, each as a run of its own in `runs`; one that fails stops no other.

    now_s: the epoch second against which a file's age is told; None is now.
    """
    inbox = folder(context)
    for name in (DONE, FAILED):
        (inbox / name).mkdir(parents=True, exist_ok=True)
    taken = Taken()
    for path in waiting(inbox, time.time() if now_s is None else now_s):
        shown, run_id = str(path.relative_to(inbox)), str(uuid4())
        try:
            brought = _import(con, context, run_id, inbox, path)
        except (TapewatchError, OSError) as error:
            taken.failed[shown] = str(error)
        else:
            if brought.rows_good or not brought.rows_in:
                taken.done[shown] = brought
            else:
                taken.failed[shown] = (
                    f"not one of {brought.rows_in} rows was good; see quarantine, run {run_id}"
                )
        _move(inbox, path, taken.failed.get(shown))
    return taken


def folder(context: Context) -> Path:
    return context.settings.data_dir / "inbox"


def waiting(inbox: Path, now_s: float) -> Iterator[Path]:
    """The files to take in, oldest first; none that is hidden, unfinished or still growing."""
    found = [path for path in inbox.rglob("*") if path.is_file() and _is_wanted(path.relative_to(inbox))]
    settled = [path for path in found if now_s - path.stat().st_mtime >= SETTLED_S]
    return iter(sorted(settled, key=lambda path: (path.stat().st_mtime, path)))


def _is_wanted(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return (
        not hidden and path.parts[0] not in (DONE, FAILED) and not path.name.endswith((CHECKSUM, *UNFINISHED))
    )


def _import(
    con: duckdb.DuckDBPyConnection, context: Context, run_id: str, inbox: Path, path: Path
) -> Brought:
    *folders, _ = path.relative_to(inbox).parts
    symbol = folders[1] if len(folders) > 1 else None
    source = folders[0] if folders else "binance" if bulk_name(path) else None
    if source is None:
        raise TapewatchError(
            f"{path.name}: whose prices are these? Put it into a folder named after its source, such as "
            f"inbox/kraken/{path.name}"
        )
    try:
        return import_file(con, context, run_id, path, source, symbol)
    except NamelessError:
        return import_file(con, context, run_id, path, source, path.name.partition(".")[0])


def _move(inbox: Path, path: Path, problem: str | None) -> None:
    """Out of the inbox, with the checksum beside it; a name that is there already gets a number."""
    target = inbox / (FAILED if problem else DONE) / path.relative_to(inbox)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{path.stem}.{number}{path.suffix}")
    checksum = path.with_name(path.name + CHECKSUM)
    path.rename(target)
    if checksum.exists():
        checksum.rename(target.with_name(target.name + CHECKSUM))
    if problem:
        target.with_name(target.name + ".reason.txt").write_text(problem + "\n", encoding="utf-8")
        log.warning("inbox: %s: %s", path.name, problem)
