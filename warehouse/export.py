"""The warehouse for others: one view as a file, or a plain DuckDB file of all of them.

The plain file is for tools that cannot load an extension: a bounded copy, replaced as a whole, never half there.
"""

from __future__ import annotations

import difflib
import os
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from warehouse.connect import LAKE, Location, connect
from warehouse.durable import sync
from warehouse.errors import WarehouseError
from warehouse.stage import literal, scalar

FORMATS = {
    "csv": "FORMAT csv, HEADER",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "json": "FORMAT json, ARRAY true",
}
BARS_KEPT = timedelta(days=30)
TRADES_KEPT = timedelta(days=2)

_TIMES = (
    "ts", "timestamp", "window_start", "fitted_at", "made_at", "as_of", "from_ts", "day", "session", "seen_at",
    "started_at", "checked_at", "created_at", "loaded_at", "recorded_at", "known_at", "first_seen",
)  # fmt: skip
_LEGS = ("symbol", "symbol_y", "symbol_x", "symbol_a", "symbol_b")
_ON_VIEWS = {
    "ohlc": "ohlcv",
    "aggregated_data": "ohlcv",
    "analytics": "indicators",
    "indicators_latest": "indicators",
    "technical_indicators": "indicators",
    "ticks": "trades",
    "tick_data": "trades",
}
"""Views for people from other systems; in the plain file they stay views, on the table they are made of."""


def public_views(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of schema `main`."""
    return [
        name
        for (name,) in con.execute(
            f"SELECT view_name FROM duckdb_views() WHERE database_name = {literal(LAKE)} "
            "AND schema_name = 'main' AND NOT internal ORDER BY view_name"
        ).fetchall()
    ]


def export_view(
    con: duckdb.DuckDBPyConnection,
    view: str,
    symbol: str | None,
    start: datetime | None,
    end: datetime | None,
    form: str,
    path: Path,
) -> int:
    """Writes a public view's rows of [start, end) to `path` and returns how many; the file appears when complete.

    symbol: SYMBOL or source:SYMBOL, also of either leg of a pair. Times count in the view's own time column (`ts`,
    else the first it has). Raises WarehouseError for an unknown view or format, and for a filter the view cannot
    answer.
    """
    if form not in FORMATS:
        raise WarehouseError(f"no format {form!r}: write one of {', '.join(FORMATS)}")
    name = _known_view(con, view)
    columns = [row[0] for row in con.execute(f"DESCRIBE {name}").fetchall()]
    conditions = _of_symbol(name, columns, symbol) + _between(name, columns, start, end)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = [column for column in ("source", "symbol", "pair", "interval", *_TIMES) if column in columns]
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written = con.execute(
            f"COPY (FROM {name}{where} ORDER BY {', '.join(order) or 'ALL'}) TO {literal(str(draft))} ({FORMATS[form]})"
        ).fetchall()
        draft.replace(path)
    except (OSError, duckdb.IOException) as error:
        raise WarehouseError(
            f"export to {path} failed: {error}; check that the folder is there and writable"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return int(written[0][0])


def export_plain(location: Location, path: Path) -> dict[str, int]:
    """Writes the bounded plain copy of the public views to `path` and returns table -> rows.

    Reads one snapshot on its own read-only connection, so that no writer waits. Bars (and what is as fine: `1m`
    and `1s` rows) reach BARS_KEPT back from each source's newest, trades TRADES_KEPT; the rest is whole.
    """
    draft = path.with_name(f".{path.name}.tmp")
    _remove(draft)
    con = connect(location, read_only=True)
    try:
        con.execute(f"ATTACH {literal(str(draft))} AS plain")
        con.execute("BEGIN")
        rows = {name: _copy(con, name) for name in public_views(con) if name not in _ON_VIEWS}
        con.execute("COMMIT")
        texts = {name: _text(con, name).replace(f"core.{base}", base) for name, base in _ON_VIEWS.items()}
        con.execute("USE plain.main")
        for name, text in texts.items():
            con.execute(f"CREATE VIEW {name} AS {text}")
        con.execute(f"USE {LAKE}.main")
        con.execute("DETACH plain")
    finally:
        con.close()
    _settle(draft, path)
    return rows


def _copy(con: duckdb.DuckDBPyConnection, name: str) -> int:
    con.execute(f"CREATE TABLE plain.main.{name} AS {_bounded(con, name)}")
    return int(str(scalar(con, f"SELECT count(*) FROM plain.main.{name}")))


def _bounded(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """The SELECT of a view, short where it holds minutes or trades; bounds are by source, as literals."""
    bars, trades = (
        _since(con, table, kept) for table, kept in (("bars", BARS_KEPT), ("trades", TRADES_KEPT))
    )
    whole = f"FROM {LAKE}.main.{name} AS v"
    match name:
        case "bars" | "bar_revisions":
            return f"{whole} WHERE {bars}"
        case "trades":
            return f"{whole} WHERE {trades}"
        case "indicators":
            return f"{whole} WHERE v.interval <> '1m' OR ({bars})"
        case "ohlcv":
            # Its returns are between neighbours, so no bound on the outside would keep it from reading everything.
            text = (
                _text(con, name).replace("core.bars", "recent_bars").replace("core.trades", "recent_trades")
            )
            return (
                f"WITH recent_bars AS (FROM {LAKE}.core.bars AS v WHERE {bars}), "
                f"recent_trades AS (FROM {LAKE}.core.trades AS v WHERE {trades}) FROM ({text})"
            )
    return whole


def _since(con: duckdb.DuckDBPyConnection, table: str, kept: timedelta) -> str:
    newest = con.execute(f"SELECT source, max(ts) FROM core.{table} GROUP BY source").fetchall()
    parts = [f"(v.source = {literal(source)} AND v.ts >= {literal(ts - kept)})" for source, ts in newest]
    return " OR ".join(parts) or "false"


def _text(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """The query of a public view."""
    sql = str(
        scalar(
            con,
            f"SELECT sql FROM duckdb_views() WHERE database_name = {literal(LAKE)} AND schema_name = 'main' "
            f"AND view_name = {literal(name)}",
        )
    )
    return sql.split(" AS ", 1)[1].rstrip().rstrip(";")


def _known_view(con: duckdb.DuckDBPyConnection, view: str) -> str:
    known = public_views(con)
    if view in known:
        return view
    close = difflib.get_close_matches(view.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known)}"
    raise WarehouseError(f"no view is called {view!r}; {hint}")


def _of_symbol(view: str, columns: list[str], symbol: str | None) -> list[str]:
    legs = [leg for leg in _LEGS if leg in columns]
    if symbol is None:
        return []
    if not legs:
        raise WarehouseError(f"view {view} has no symbols; leave --symbol out")
    wanted = literal(symbol.upper())
    tests = []
    for leg in legs:
        tests.append(f"upper({leg}) = {wanted}")
        source = leg.replace("symbol", "source")
        if source in columns:
            tests.append(f"upper({source} || ':' || {leg}) = {wanted}")
    return [f"({' OR '.join(tests)})"]


def _between(view: str, columns: list[str], start: datetime | None, end: datetime | None) -> list[str]:
    if start is None and end is None:
        return []
    column = next((time for time in _TIMES if time in columns), None)
    if column is None:
        raise WarehouseError(f"view {view} has no time of its own; leave --start and --end out")
    lower = [f"{column} >= {literal(start)}"] if start else []
    return lower + ([f"{column} < {literal(end)}"] if end else [])


def _settle(draft: Path, path: Path) -> None:
    """The finished draft in place of the former file; a reader that has that one open keeps it."""
    sync(draft)
    draft.replace(path)
    Path(f"{draft}.wal").unlink(missing_ok=True)


def _remove(draft: Path) -> None:
    for leftover in (draft, Path(f"{draft}.wal")):
        leftover.unlink(missing_ok=True)
