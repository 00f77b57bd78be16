"""What is to be derived: batches that wait, the bars they brought, and the windows these call for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import duckdb
import polars as pl

from warehouse.asked import told_by_files
from warehouse.facts import IN_LAKE, Facts, among, anchored_bars
from warehouse.render import Sql, render
from warehouse.stage import frame, literal, literals, stage

KEY = ("source", "symbol", "interval", "ts")


def pending_batches(con: duckdb.DuckDBPyConnection, without: Collection[str] = ()) -> pl.DataFrame:
    """Loaded batches whose windows, indicators and anomalies are still to be derived: batch_id, source, kind, from_ts, to_ts.

    without: kinds that are left to somebody else.
    """
    others = f"WHERE kind NOT IN {literals(without)} " if without else ""
    return frame(
        con,
        "SELECT batch_id, source, kind, from_ts, to_ts FROM core.ledger ANTI JOIN core.derived USING (batch_id) "
        f"{others}ORDER BY loaded_at",
    )


def progress(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Source -> market time up to which its windows are closed."""
    return dict(con.execute("SELECT source, max(until_ts) FROM core.progress GROUP BY source").fetchall())


def waiting_rows(con: duckdb.DuckDBPyConnection, batches: pl.DataFrame) -> pl.DataFrame:
    """source, symbol, rows: how many bars of each series these batches brought, in the order of the series."""
    since, until = batches["from_ts"].min(), batches["to_ts"].max()
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        return pl.DataFrame(schema={"source": pl.String, "symbol": pl.String, "rows": pl.Int64})
    return frame(
        con,
        f"""
        SELECT source, symbol, count(*) AS rows FROM core.bars
        WHERE ts >= {literal(since)} AND ts <= {literal(until)} AND batch_id IN {literals(batches["batch_id"])}
        GROUP BY ALL ORDER BY ALL""",
    )


def touch(
    con: duckdb.DuckDBPyConnection,
    batches: pl.DataFrame,
    series: Collection[tuple[str, str]] | None = None,
    facts: Facts = IN_LAKE,
) -> int:
    """Temporary table `touched`: the anchored bars that these batches brought (of these series); returns how many.

    They are at hand in `brought` where this connection loaded them all: a bar of a pending batch can only have
    been changed since by another pending one. Otherwise `facts` are asked.
    """
    since, until = batches["from_ts"].min(), batches["to_ts"].max()
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        since = until = datetime(1970, 1, 1)
    only = f"bars.batch_id IN {literals(batches['batch_id'])}"
    only += among(series, "bars")
    table, wanted = facts.bars, set(batches.filter(pl.col("from_ts").is_not_null())["batch_id"])
    if wanted and facts == IN_LAKE and wanted <= _at_hand(con):
        table = "(FROM brought QUALIFY row_number() OVER (PARTITION BY source, symbol, ts ORDER BY revision DESC) = 1)"
    rows = anchored_bars(since, until + timedelta(minutes=1), only, table)
    touched = con.execute(f"CREATE OR REPLACE TEMP TABLE touched AS {rows}").fetchall()[0][0]
    con.execute("DROP TABLE IF EXISTS temp.brought")
    return int(touched)


def _at_hand(con: duckdb.DuckDBPyConnection) -> set[str]:
    try:
        return {
            batch_id for (batch_id,) in con.execute("SELECT DISTINCT batch_id FROM temp.brought").fetchall()
        }
    except duckdb.CatalogException:
        return set()


def stage_clocks(con: duckdb.DuckDBPyConnection, clocks: dict[str, datetime], closing: pl.DataFrame) -> None:
    """Temporary tables `clocks` (source, until_ts) and `closing` (calendar, source, seconds, ts, end_ts)."""
    table = pl.DataFrame(
        {"source": list(clocks), "until_ts": list(clocks.values())},
        schema={"source": pl.String, "until_ts": pl.Datetime("us")},
    )
    stage(con, "clocks", table)
    stage(con, "closing", closing)


def plan_windows(con: duckdb.DuckDBPyConnection, widths: Sequence[int]) -> set[int]:
    """Temporary table `planned`: the closed windows that `touched` and `closing` call for; returns their widths.

    widths: in seconds, those of the configured intervals.
    """
    listed = Sql(", ".join(f"({width})" for width in widths) or "(NULL)")
    con.execute(f"CREATE OR REPLACE TEMP TABLE planned AS {render('todo', widths=listed)}")
    return {seconds for (seconds,) in con.execute("SELECT DISTINCT seconds FROM planned").fetchall()}


def due_windows(
    con: duckdb.DuckDBPyConnection, interval: str, seconds: int, facts: Facts = IN_LAKE
) -> pl.DataFrame:
    """The windows of one interval in `planned`, and the stored ones right after them, whose return starts there:
    source, symbol, ts, end_ts.
    """
    con.execute(
        "CREATE OR REPLACE TEMP TABLE todo AS "
        f"SELECT source, symbol, ts, end_ts FROM planned WHERE seconds = {seconds}"
    )
    since, until = con.execute("SELECT min(ts), max(end_ts) FROM todo").fetchall()[0]
    reach_days = 5 if seconds >= 86400 else 0
    after = render(
        "following", seconds=seconds, interval=interval, reach_days=reach_days,
        since=since, until=until + timedelta(days=reach_days), table=Sql(facts.windows),
    )  # fmt: skip
    con.execute(f"INSERT INTO todo SELECT * FROM ({after}) ANTI JOIN todo USING (source, symbol, ts)")
    return frame(con, "FROM todo")


def minutes_of_planned(
    con: duckdb.DuckDBPyConnection, since: datetime, until: datetime, facts: Facts = IN_LAKE
) -> pl.DataFrame:
    """The bars in [since, until) of the series in `planned`, sorted by series and time, with their sessions.

    Columns: source, symbol, ts, OHLCV, turnover, trades, lent, anchor and closes of the session; where some are out of
    files, told_since and told_until (see `told_by_files`).
    """
    sources = [name for (name,) in con.execute("SELECT DISTINCT source FROM planned").fetchall()]
    of_planned = "(bars.source, bars.symbol) IN (SELECT source, symbol FROM planned)"
    rows = anchored_bars(since, until, f"bars.source IN {literals(sources)} AND {of_planned}", facts.bars)
    bars = frame(
        con,
        "SELECT source, symbol, ts, open, high, low, close, volume, turnover, trades, origin = 'import' AS imported, "
        f"origin = 'fallback' AS lent, anchor, closes FROM ({rows}) ORDER BY source, symbol, ts",
    )
    return told_by_files(con, bars)


def fronts_1m(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Each series with touched minutes: source, symbol, first_new, rows."""
    return frame(
        con,
        "SELECT source, symbol, min(ts) AS first_new, count(*) AS rows FROM touched GROUP BY source, symbol",
    )


def rows_under(con: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """What is stored under the keys (KEY) of the rows."""
    stage(con, "keys_to_find", rows.select(KEY))
    return frame(
        con,
        f"SELECT t.* FROM {table} AS t SEMI JOIN keys_to_find AS s USING ({', '.join(KEY)}) "
        f"WHERE t.ts BETWEEN {literal(rows['ts'].min())} AND {literal(rows['ts'].max())}",
    )


def delete_keys(con: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame) -> None:
    """Inside a transaction: deletes what is stored under the keys (KEY) of the rows."""
    stage(con, "keys_to_delete", rows.select(KEY))
    same = " AND ".join(f"t.{name} = s.{name}" for name in KEY)
    con.execute(
        f"DELETE FROM {table} AS t USING keys_to_delete AS s "
        f"WHERE {same} AND t.ts BETWEEN {literal(rows['ts'].min())} AND {literal(rows['ts'].max())}"
    )
