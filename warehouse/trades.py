"""Streamed and refetched trades into the lake: several deliveries in one transaction, each known by its ledger id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import duckdb
import polars as pl

from warehouse.connect import Location, snapshot, transaction, writer
from warehouse.load import QUARANTINE_COLUMNS, Batch, Loaded
from warehouse.render import render
from warehouse.stage import frame, literal, literals, scalar, stage

SAME_MOMENT = timedelta(seconds=1)


def load_trade_batches(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    batches: Sequence[Batch],
    trades: pl.DataFrame,
    quarantined: pl.DataFrame,
    calendars: Mapping[str, str],
) -> list[Loaded]:
    """Accepted trades (TRADE_SCHEMA and `batch_id`, unique by key) of one source's batches; what each changed.

    A batch that the ledger knows and a trade that is there already change nothing: the same trade has the same
    time, so only the days of these trades are searched. The ledger's rows carry no from_ts and to_ts, since no
    window waits for trades; their time is in `trades.batch_id`.
    """
    stage(con, "stage_trades", trades)
    stage(con, "stage_refused", quarantined.select(QUARANTINE_COLUMNS.split(", ")))
    ids = literals(batch.batch_id for batch in batches)
    with writer(location):
        with snapshot(con):
            known = {
                i
                for (i,) in con.execute(
                    f"SELECT batch_id FROM core.ledger WHERE batch_id IN {ids}"
                ).fetchall()
            }
            fresh = [batch for batch in batches if batch.batch_id not in known]
            if not fresh:
                return [Loaded(already=True) for _ in batches]
            loading = literals(batch.batch_id for batch in fresh)
            _stage_fresh(con, trades, loading)
            _stage_refused(con, loading, quarantined.height)
            _stage_series(con, calendars, fresh[0])
        new, refused = _counts(con, "fresh_trades"), _counts(con, "fresh_refused")
        with transaction(con, location):
            if new:
                con.execute(f"""
                    INSERT INTO core.trades
                    SELECT source, symbol, trade_id, ts, price, qty, side, fills, {literal(fresh[0].kind)},
                           {literal(fresh[0].known_at)}, {literal(fresh[0].run_id)}, batch_id,
                           date_trunc('second', ts), date_trunc('minute', ts)
                    FROM fresh_trades ORDER BY source, symbol, trade_id""")
            if refused:
                con.execute(f"INSERT INTO core.quarantine SELECT {QUARANTINE_COLUMNS} FROM fresh_refused")
            if scalar(con, "SELECT count(*) FROM fresh_series"):
                con.execute("INSERT INTO core.series FROM fresh_series")
            rows = ", ".join(
                _ledger_row(b, new.get(b.batch_id, 0), refused.get(b.batch_id, 0)) for b in fresh
            )
            con.execute(f"INSERT INTO core.ledger VALUES {rows}")
    return [
        Loaded(already=True)
        if batch.batch_id in known
        else Loaded(new.get(batch.batch_id, 0), 0, refused.get(batch.batch_id, 0))
        for batch in batches
    ]


def newest_trades(
    con: duckdb.DuckDBPyConnection, source: str, since: datetime
) -> dict[str, tuple[int, datetime]]:
    """Symbol -> id and time (naive UTC) of its newest trade at or after `since`."""
    rows = con.execute(
        "SELECT symbol, arg_max(trade_id, trade_id), arg_max(ts, trade_id) FROM core.trades "
        f"WHERE source = {literal(source)} AND ts >= {literal(since)} GROUP BY symbol"
    ).fetchall()
    return {symbol: (trade_id, ts) for symbol, trade_id, ts in rows}


def stored_ids(
    con: duckdb.DuckDBPyConnection, source: str, spans: pl.DataFrame, since: datetime, until: datetime
) -> pl.DataFrame:
    """symbol, trade_id of the trades in [since, until] that lie in `spans` (symbol, from_id, to_id, ends included)."""
    stage(con, "wanted_ids", spans)
    return frame(
        con,
        "SELECT DISTINCT t.symbol, t.trade_id FROM core.trades AS t JOIN wanted_ids AS w "
        "ON t.symbol = w.symbol AND t.trade_id BETWEEN w.from_id AND w.to_id "
        f"WHERE t.source = {literal(source)} AND t.ts BETWEEN {literal(since)} AND {literal(until)}",
    )


def id_jumps(con: duckdb.DuckDBPyConnection, source: str, since: datetime, until: datetime) -> pl.DataFrame:
    """Where the ids of stored trades in [since, until) do not follow each other: symbol, ts (of the trade after), missing."""
    return frame(
        con,
        f"""
        SELECT symbol, ts, trade_id - before - 1 AS missing FROM (
            SELECT symbol, ts, trade_id, lag(trade_id) OVER (PARTITION BY symbol ORDER BY trade_id) AS before
            FROM core.trades
            WHERE source = {literal(source)} AND ts >= {literal(since)} AND ts < {literal(until)}
        ) WHERE trade_id > before + 1 ORDER BY ts, symbol""",
    )


def minutes_compared(
    con: duckdb.DuckDBPyConnection, source: str, since: datetime, until: datetime
) -> pl.DataFrame:
    """Minutes in [since, until) with the venue's own bar and trades: symbol, ts, state.

    state: `equal` (open, high, low, close, volume and fills), `incomplete` (the trades are fewer fills than the
    bar's) or `different`. Bars that were made of trades say nothing and are left out.
    """
    span = f"source = {literal(source)} AND ts >= {literal(since)} AND ts < {literal(until + timedelta(minutes=1))}"
    return frame(
        con,
        f"""
        SELECT symbol, ts, CASE
            WHEN t.fills < b.trades THEN 'incomplete'
            WHEN t.open = b.open AND t.high = b.high AND t.low = b.low AND t.close = b.close AND t.fills = b.trades
                 AND abs(t.volume - b.volume) <= 1e-9 * greatest(b.volume, 1) THEN 'equal'
            ELSE 'different' END AS state
        FROM (
            SELECT symbol, date_trunc('minute', ts) AS ts, arg_min(price, trade_id) AS open, max(price) AS high,
                   min(price) AS low, arg_max(price, trade_id) AS close, sum(qty) AS volume, sum(fills) AS fills
            FROM core.trades WHERE {span} GROUP BY ALL
        ) AS t JOIN (
            SELECT symbol, ts, open, high, low, close, volume, trades FROM core.bars
            WHERE {span} AND origin <> 'stream' AND venue = source AND trades IS NOT NULL
        ) AS b USING (symbol, ts) WHERE ts < {literal(until)} ORDER BY ts, symbol""",
    )


def trade_minutes(
    con: duckdb.DuckDBPyConnection, source: str, since: datetime, until: datetime, own: str
) -> pl.DataFrame:
    """One-minute bars (BAR_SCHEMA) of a source's trades in [since, until), where no other batch than one ending in
    `own` brought a bar."""
    return frame(con, render("trade_minutes", source=source, since=since, until=until, own=own))


def _stage_fresh(con: duckdb.DuckDBPyConnection, trades: pl.DataFrame, loading: str) -> None:
    low, high = trades["ts"].min(), trades["ts"].max()
    seen = "SELECT source, symbol, trade_id FROM core.trades WHERE false"
    if isinstance(low, datetime) and isinstance(high, datetime):
        source = literal(trades["source"][0])
        seen = (
            f"SELECT source, symbol, trade_id FROM core.trades WHERE source = {source} "
            # A venue may tell its stream and its answers the same moment in other digits.
            f"AND ts BETWEEN {literal(low - SAME_MOMENT)} AND {literal(high + SAME_MOMENT)}"
        )
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE fresh_trades AS
        SELECT s.* FROM stage_trades AS s ANTI JOIN ({seen}) AS t USING (source, symbol, trade_id)
        WHERE s.batch_id IN {loading}
        QUALIFY row_number() OVER (PARTITION BY source, symbol, trade_id ORDER BY batch_id) = 1""")


def _stage_refused(con: duckdb.DuckDBPyConnection, loading: str, rows: int) -> None:
    there = "core.quarantine" if rows else "(SELECT NULL::VARCHAR AS id)"
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE fresh_refused AS
        SELECT * FROM stage_refused ANTI JOIN {there} USING (id) WHERE batch_id IN {loading}
        QUALIFY row_number() OVER (PARTITION BY id) = 1""")


def _stage_series(con: duckdb.DuckDBPyConnection, calendars: Mapping[str, str], batch: Batch) -> None:
    calendar = calendars.get(batch.source, "24/7")
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE fresh_series AS
        SELECT DISTINCT source, symbol, {literal(calendar)} AS calendar, {literal(batch.kind)} AS origin,
               {literal(batch.known_at)} AS first_seen
        FROM fresh_trades ANTI JOIN core.series USING (source, symbol)""")


def _counts(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    return dict(con.execute(f"SELECT batch_id, count(*) FROM {table} GROUP BY batch_id").fetchall())


def _ledger_row(batch: Batch, loaded: int, refused: int) -> str:
    return literals(
        (
            batch.batch_id, batch.source, batch.kind, None, None, batch.rows_in, loaded, 0, refused,
            batch.sha256, batch.path, batch.run_id, batch.known_at,
        )
    )  # fmt: skip
