"""Brings a lake's schema to this version: numbered DDL once, configured columns, the public views.

Safe to run at every start and by several processes: everything happens under the writer's lock, and what is
already there is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import duckdb

from warehouse.changes import CATALOG
from warehouse.connect import (
    EXTENSIONS,
    LAKE,
    ONE_SCAN,
    Location,
    shipped_extension,
    snapshot,
    transaction,
    writer,
)
from warehouse.errors import WarehouseError
from warehouse.stage import literals

INDICATOR_KEY = {"source": "VARCHAR", "symbol": "VARCHAR", "interval": "VARCHAR", "ts": "TIMESTAMP"}


def migrate(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    indicators: Mapping[str, str],
    hidden: frozenset[str] = frozenset(),
    intervals: Mapping[str, int] | None = None,
) -> list[str]:
    """Applies what is missing and returns its names; nothing if the lake is up to date.

    indicators: column -> DuckDB type of `indicators` beyond its key; `hidden` ones carry state and stay out of
    the public view. intervals: name -> seconds of the configured windows.
    Raises WarehouseError where a migration that was applied has another text today.
    """
    applied: list[str] = []
    if not _columns(con, "ops.migrations"):
        con.execute(f"CALL {LAKE}.set_option('data_inlining_row_limit', 0)")
        with transaction(con, location):
            if not _columns(con, "ops.migrations"):
                applied += _first(con)
    known = _known(con)
    applied += _pending(con, location, known)
    applied += _indicator_columns(con, location, indicators)
    applied += _intervals(con, location, intervals or {})
    applied += _statistics(con, location, known)
    applied += _views(con, location, hidden, known)
    return applied


def write_open_sql(location: Location) -> Path:
    """`open.sql` beside the catalog: `duckdb -init open.sql` gives a read-only SQL shell."""
    loads = []
    for name in EXTENSIONS:
        binary = shipped_extension(name)
        loads.append(f"LOAD '{binary}';" if binary else f"INSTALL {name}; LOAD {name};")
    text = "\n".join(
        [
            f"-- Opens the warehouse read-only in DuckDB's shell {duckdb.__version__}.",
            *loads,
            f"{ONE_SCAN};",
            f"ATTACH 'ducklake:{location.catalog_uri}' AS tapewatch (READ_ONLY);",
            "USE tapewatch.main;",
            "",
        ]
    )
    path = location.home / "open.sql"
    if not path.exists() or path.read_text() != text:
        draft = path.with_suffix(".tmp")
        draft.write_text(text)
        draft.replace(path)
    return path


def _first(con: duckdb.DuckDBPyConnection) -> list[str]:
    names = []
    statements = _ddl()
    for name, text in statements:
        for statement in _statements(text):
            con.execute(statement)
        names.append(name)
    columns = ", ".join(f"{name} {kind}" for name, kind in {**INDICATOR_KEY, "run_id": "VARCHAR"}.items())
    con.execute(f"CREATE TABLE calc.indicators ({columns})")
    con.execute("ALTER TABLE calc.indicators SET PARTITIONED BY (interval, year(ts), month(ts))")
    con.execute("CREATE TABLE ops.migrations (name VARCHAR, sha256 VARCHAR, applied_at TIMESTAMP)")
    _record(con, statements)
    return names


def _known(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Name -> digest of what was applied, the newest of each."""
    found = con.execute("SELECT name, arg_max(sha256, applied_at) FROM ops.migrations GROUP BY name")
    return dict(found.fetchall())


def _pending(con: duckdb.DuckDBPyConnection, location: Location, known: Mapping[str, str]) -> list[str]:
    names = []
    for name, text in _ddl():
        if name in known:
            if known[name] != _digest(text):
                raise WarehouseError(
                    f"migration {name} was applied to {location.home} with another text: "
                    "migrations are never edited, add a new one"
                )
            continue
        with transaction(con, location):
            for statement in _statements(text):
                con.execute(statement)
            _record(con, [(name, text)])
        names.append(name)
    return names


def _indicator_columns(
    con: duckdb.DuckDBPyConnection, location: Location, wanted: Mapping[str, str]
) -> list[str]:
    present = _columns(con, "calc.indicators")
    missing = {name: kind for name, kind in wanted.items() if name not in present}
    if not missing:
        return []
    with transaction(con, location):
        for name, kind in missing.items():
            con.execute(f'ALTER TABLE calc.indicators ADD COLUMN IF NOT EXISTS "{name}" {kind}')
    return [f"indicators.{name}" for name in missing]


def _intervals(con: duckdb.DuckDBPyConnection, location: Location, wanted: Mapping[str, int]) -> list[str]:
    present = dict(con.execute("SELECT interval, seconds FROM core.intervals").fetchall())
    if not wanted or present == dict(wanted):
        return []
    with transaction(con, location):
        con.execute("DELETE FROM core.intervals")
        con.executemany("INSERT INTO core.intervals VALUES (?, ?)", [list(item) for item in wanted.items()])
    return ["intervals"]


def _statistics(con: duckdb.DuckDBPyConnection, location: Location, known: Mapping[str, str]) -> list[str]:
    """Writes down that the tables without a row have none; DuckLake keeps it from there on.

    It makes a table's statistics with its first row and until then asks the catalog for them anew for each column of
    each query: `SELECT * FROM core.bars` took 28 ms, and 4 ms with them.
    """
    name, text = "statistics", " ".join(name for name, _ in _ddl())
    if known.get(name) == _digest(text):
        return []
    without = (
        f"end_snapshot IS NULL AND table_id NOT IN (SELECT table_id FROM {CATALOG}.ducklake_table_stats)"
    )
    with writer(location):
        with snapshot(
            con
        ):  # not of the lake: its catalog is another database, and a transaction writes to one
            con.execute(
                f"INSERT INTO {CATALOG}.ducklake_table_column_stats (table_id, column_id, contains_null, contains_nan) "
                "SELECT table_id, column_id, true, CASE WHEN column_type LIKE 'float%' THEN false END "
                f"FROM {CATALOG}.ducklake_column WHERE {without}"
            )
            con.execute(
                f"INSERT INTO {CATALOG}.ducklake_table_stats (table_id, record_count, next_row_id, file_size_bytes) "
                f"SELECT table_id, 0, 0, 0 FROM {CATALOG}.ducklake_table WHERE {without}"
            )
        with transaction(con, location):
            _record(con, [(name, text)])
    return [name]


def _views(
    con: duckdb.DuckDBPyConnection, location: Location, hidden: frozenset[str], known: Mapping[str, str]
) -> list[str]:
    """Creates the views and macros whose text is new. Digests are in ops.migrations, as `view:NAME`, `macro:NAME`."""
    texts = {
        path.name.removesuffix(".sql").removeprefix("zz_"): path.read_text() for path in _folder("views")
    }
    public = [c for c in _columns(con, "calc.indicators") if c not in hidden and c != "run_id"]
    listed = ", ".join(f'"{name}"' for name in public)
    texts = {"indicators": f"SELECT {listed} FROM calc.indicators", **texts}
    macros = {f"macro:{path.name.removesuffix('.sql')}": path.read_text() for path in _folder("macros")}
    wanted = {f"view:{name}": text for name, text in texts.items()} | macros
    # A view on a view keeps the columns it saw when it was made, so one new text renews all.
    if all(known.get(name) == _digest(text) for name, text in wanted.items()):
        return []
    with transaction(con, location):
        for name, text in texts.items():
            con.execute(f"CREATE OR REPLACE VIEW {name} AS {text}")
        for text in macros.values():
            con.execute(text)
        _record(con, [(name, text) for name, text in wanted.items() if known.get(name) != _digest(text)])
    return list(wanted)


def _record(con: duckdb.DuckDBPyConnection, applied: Iterable[tuple[str, str]]) -> None:
    """By one statement: each makes a file, and every start reads them all."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = ", ".join(literals((name, _digest(text), now)) for name, text in applied)
    con.execute(f"INSERT INTO ops.migrations VALUES {rows}")


def _ddl() -> list[tuple[str, str]]:
    return [(path.name.removesuffix(".sql"), path.read_text()) for path in _folder("ddl")]


def _folder(name: str) -> list[Path]:
    folder = Path(str(files("warehouse") / name))
    return sorted(path for path in folder.iterdir() if path.suffix == ".sql")


def _statements(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Its columns in their order; none where there is no such table. DuckDB's list of all columns costs ten times as much."""
    try:
        return [name for name, *_ in con.execute(f"SELECT * FROM {table} LIMIT 0").description or ()]
    except duckdb.CatalogException:
        return []
