"""Connections to the lake: extensions, attach, the writer's lock and the transaction that survives a power cut.

The lake is DuckLake: DuckDB is the engine, Parquet the storage, SQLite (or PostgreSQL) the catalog.
Rules that hold for every writer, each with a measured reason:
inlining is off before the first table exists (flushing inlined rows breaks attached readers);
every write transaction holds one exclusive file lock (SQLite's own busy handling lost commits);
Parquet written by the transaction is fsynced before COMMIT (DuckLake syncs its catalog only).
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from warehouse.durable import sync
from warehouse.errors import WarehouseError

LAKE = "lake"
EXTENSIONS = ("ducklake", "sqlite_scanner")
ONE_SCAN = "SET GLOBAL sqlite_disable_multithreaded_scans = true"
"""Without it a scan of the catalog stops at the highest rowid that its transaction saw first: a reader in an open
transaction would silently find no rows in files that were merged meanwhile (6 rows became 0)."""

THREADS = "RESET threads"
"""What an open connection works with: as many threads as there are cores."""

DISK_FULL = ("No space left on device", "database or disk is full", "disk I/O error", "quota exceeded")


@dataclass(frozen=True)
class Location:
    """Where a lake lives: its folder on this host, and the two URIs that may lie elsewhere."""

    home: Path
    catalog: str = ""
    storage: str = ""

    @property
    def catalog_uri(self) -> str:
        return self.catalog or f"sqlite:{self.home / 'catalog.sqlite'}"

    @property
    def storage_uri(self) -> str:
        return self.storage or str(self.home / "data")

    @property
    def is_embedded(self) -> bool:
        return self.catalog_uri.startswith("sqlite:")

    @property
    def exists(self) -> bool:
        """Whether the embedded catalog has been made; a remote one is asked when attached."""
        return not self.is_embedded or Path(self.catalog_uri.removeprefix("sqlite:")).exists()


def connect(location: Location, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A connection with the lake attached and its schema `main` selected.

    A reader never blocks a writer nor is blocked by one. Raises WarehouseError where there is no lake
    to read or an extension cannot be loaded.
    """
    if read_only and not location.exists:
        raise WarehouseError(
            f"no warehouse at {location.home}: nothing was loaded yet; start with `tapewatch demo`, "
            "`tapewatch backfill` or `tapewatch import`"
        )
    location.home.mkdir(parents=True, exist_ok=True)
    con = _with_extensions()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(ONE_SCAN)
    options = [f"DATA_PATH '{location.storage_uri}'"] if not read_only else ["READ_ONLY"]
    if location.is_embedded:
        options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 30000"]
        if not read_only:
            Path(location.storage_uri).mkdir(parents=True, exist_ok=True)
    attach = f"ATTACH 'ducklake:{location.catalog_uri}' AS {LAKE} ({', '.join(options)})"
    if read_only or location.exists:
        con.execute(attach)
    else:
        with writer(location):
            con.execute(attach)
    con.execute(f"USE {LAKE}.main")  # reads the whole catalog: by a single thread at half the cost
    con.execute(THREADS)
    return con


def _with_extensions() -> duckdb.DuckDBPyConnection:
    """A connection with the extensions from their wheels, else from DuckDB's own installation, else by INSTALL.

    To check the signatures of the wheels' files DuckDB would read all 70 MB of them, a quarter of a second at every
    connection; pip has checked them once. After that nothing unsigned can be loaded, as ever.
    """
    shipped = {name: shipped_extension(name) for name in EXTENSIONS}
    con = duckdb.connect(config={"allow_unsigned_extensions": all(shipped.values()), "threads": 1})
    for name, path in shipped.items():
        if path is None:
            _load_or_install(con, name)
        else:
            con.load_extension(str(path))
    con.execute("SET allow_unsigned_extensions = false")
    return con


def shipped_extension(name: str) -> Path | None:
    """The extension's file in its installed wheel; None where it was not installed as one."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"


def _load_or_install(con: duckdb.DuckDBPyConnection, name: str) -> None:
    try:
        con.execute(f"LOAD {name}")
    except duckdb.Error:
        try:
            con.execute(f"INSTALL {name}")
            con.execute(f"LOAD {name}")
        except duckdb.Error as error:
            package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
            raise WarehouseError(
                f"DuckDB's extension {name} is missing and cannot be downloaded: "
                f"run `pip install {package}` (or `make setup`)"
            ) from error


@contextmanager
def snapshot(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Reads inside see one state of the lake and fetch its catalog once, not at each statement.

    Only temporary tables may be written inside; they stay, unless an error ends it.
    """
    con.execute("BEGIN")
    try:
        yield
        con.execute("COMMIT")
    except BaseException as error:
        _rollback(con)
        raise _told(error) from error


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection, location: Location) -> Iterator[None]:
    """One write transaction: the writer's lock, BEGIN, fsync of new Parquet, COMMIT; rolled back on an error.

    The kernel frees the lock the moment its holder dies, so a killed writer leaves nothing to repair.
    Temporary tables may be made inside; nothing of another attached database may be written.
    """
    with writer(location):
        con.execute("BEGIN")
        try:
            started_ms = time.time_ns() // 1_000_000
            yield
            if location.is_embedded:
                _sync_new_files(Path(location.storage_uri), started_ms)
            con.execute("COMMIT")
        except BaseException as error:
            _rollback(con)
            raise _told(error, location.home) from error


def _told(error: BaseException, home: Path | None = None) -> BaseException:
    """A full disk in plain words, whichever of DuckDB, SQLite and the kernel has met it; other errors as they are.

    SQLite says no more than `disk I/O error` where the disk has no room for its shared memory.
    """
    if not isinstance(error, duckdb.Error | OSError) or not any(words in str(error) for words in DISK_FULL):
        return error
    where = f" below {home}" if home else ""
    return WarehouseError(
        f"the warehouse's disk is full{where}: {' '.join(str(error).split())}. Nothing was written by halves; free "
        "space or lower [retention], the next run catches up by itself"
    )


def _rollback(con: duckdb.DuckDBPyConnection) -> None:
    try:
        con.execute("ROLLBACK")
    except duckdb.Error:  # a failed COMMIT has rolled back already
        return


@contextmanager
def writer(location: Location) -> Iterator[None]:
    """Holds the writer's lock; what is read inside stays true until the transaction that follows it inside.

    Entering it again in the same thread is free, so that `transaction` can stand inside or alone.
    """
    held: set[Path] = _held.__dict__.setdefault("paths", set())
    path = location.home / "writer.lock"
    if path in held:
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        held.add(path)
        yield
    finally:
        held.discard(path)
        os.close(handle)


_held = threading.local()


def _sync_new_files(storage: Path, since_ms: int) -> None:
    """fsync of the Parquet files (and their folders) that were written since `since_ms`.

    DuckLake names files by UUIDv7, whose first 48 bits are the milliseconds of their making, so no file
    has to be looked at twice.
    """
    oldest, grown = f"{max(since_ms - 1000, 0):012x}", set()
    for folder, names in _changed_folders(str(storage), since_ms / 1000 - 1):
        fresh = [name for name in names if _made_at(name) >= oldest]
        for name in fresh:
            sync(os.path.join(folder, name))
        # A folder above has a new name in it, and so must reach the disk, only where it was changed as well.
        while fresh and folder.startswith(str(storage)) and os.stat(folder).st_mtime >= since_ms / 1000 - 1:
            grown.add(folder)
            folder = os.path.dirname(folder)
    for folder in grown:
        sync(folder)


def _changed_folders(folder: str, since: float) -> Iterator[tuple[str, list[str]]]:
    """Each folder below with its file names; a day's partition untouched since then is not listed."""
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                files.append(entry.name)
            elif not entry.name.startswith("day=") or entry.stat().st_mtime >= since:
                yield from _changed_folders(entry.path, since)
    if files:
        yield folder, files


def _made_at(name: str) -> str:
    """The 12 hexadecimal digits of a UUIDv7's time out of `ducklake-<uuid>[-delete].parquet`; '' for other files."""
    return name[9:17] + name[18:22] if name.startswith("ducklake-") else ""
