"""Facts into the lake: bars with revisions, trades, quarantine and the ledger, one transaction a batch.

A batch is known by its id: loading it again does nothing. Within and across batches a bar is known by
(source, symbol, ts): the same values again change nothing, other values become the next revision and the
former row moves to `core.bar_revisions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import polars as pl

from warehouse.connect import Location, snapshot, transaction, writer
from warehouse.spreads import drop_spreads
from warehouse.stage import frame, insert, literal, literals, scalar, stage

VALUES = ("open", "high", "low", "close", "volume", "turnover", "trades")
AT_HAND = 20_000
"""Rows of a batch up to which its bars stay at hand until they are derived."""
QUARANTINE_COLUMNS = "id, source, symbol, ts, reason, detail, payload, file, line, run_id, batch_id, seen_at"


@dataclass(frozen=True)
class Batch:
    """What one delivery is known by; `known_at` is when we learned of it, naive UTC."""

    batch_id: str
    source: str
    kind: str
    run_id: str
    known_at: datetime
    rows_in: int = 0
    sha256: str = ""
    path: str = ""


@dataclass(frozen=True)
class Loaded:
    """What a batch changed; all zero if it had been loaded before."""

    rows_new: int = 0
    rows_revised: int = 0
    rows_quarantined: int = 0
    from_ts: datetime | None = None
    to_ts: datetime | None = None
    already: bool = False


@dataclass(frozen=True)
class Delivery:
    """A batch that passed the gate: accepted closed bars (BAR_SCHEMA, unique by key) and quarantined rows."""

    batch: Batch
    bars: pl.DataFrame
    quarantined: pl.DataFrame


@dataclass(frozen=True)
class Change:
    """What a delivery changes, as was found without asking the lake: its new bars, and corrected ones with `revision`."""

    delivery: Delivery
    fresh: pl.DataFrame
    changed: pl.DataFrame

    @property
    def loaded(self) -> Loaded:
        bounds = _bounds(self.delivery.bars)
        return Loaded(self.fresh.height, self.changed.height, self.delivery.quarantined.height, *bounds)


def load_bars(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    batch: Batch,
    bars: pl.DataFrame,
    quarantined: pl.DataFrame,
    calendars: dict[str, str],
) -> Loaded:
    """Accepted closed one-minute bars (BAR_SCHEMA, unique by key) and quarantined rows of one batch.

    calendars: source -> trading calendar, `source:SYMBOL` -> one of its own, for series the warehouse has not met.
    """
    with writer(location):
        with snapshot(con):
            if is_loaded(con, batch.batch_id):
                return Loaded(already=True)
            stage(con, "stage_bars", bars)
            bounds = _bounds(bars)
            fresh, changed = _split_bars(con, bounds)
            refused = _fresh_quarantine(con, quarantined)
            new_series = _new_series(con, calendars, batch)
            loaded = Loaded(fresh, changed, refused, *bounds)
            _keep_at_hand(con, batch, loaded)
        with transaction(con, location):
            if loaded.rows_new:
                _insert_bars(con, "fresh_bars", "1", batch)
            if loaded.rows_revised:
                _revise_bars(con, bounds, batch)
            _insert_quarantine(con, loaded.rows_quarantined)
            if new_series:
                con.execute("INSERT INTO core.series FROM new_series")
            _record(con, batch, loaded)
    return loaded


def write_changes(con: duckdb.DuckDBPyConnection, changes: Sequence[Change]) -> list[Loaded]:
    """Inside a transaction: the changes' rows and their batches in the ledger, one INSERT a table; what they changed.

    Their batches have not been loaded and their series are known; whoever found the changes has seen to that.
    """
    fresh = [_stamped(change.fresh, change.delivery.batch) for change in changes if change.fresh.height]
    if fresh:
        insert(con, "core.bars", pl.concat(fresh).sort("source", "symbol", "ts"))
    loads = [_write_rest(con, change) for change in changes]
    rows = [_ledger_row(change.delivery.batch, loaded) for change, loaded in zip(changes, loads, strict=True)]
    if rows:
        con.execute(f"INSERT INTO core.ledger VALUES {', '.join(rows)}")
    return loads


def _write_rest(con: duckdb.DuckDBPyConnection, change: Change) -> Loaded:
    """Corrections and quarantined rows: most minutes have none."""
    loaded = change.loaded
    if loaded.rows_revised:
        stage(con, "changed_bars", change.changed)
        _revise_bars(con, (loaded.from_ts, loaded.to_ts), change.delivery.batch)
    refused = _fresh_quarantine(con, change.delivery.quarantined)
    _insert_quarantine(con, refused)
    return replace(loaded, rows_quarantined=refused)


def _stamped(bars: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    """New bars with the columns of core.bars that say where they come from."""
    return bars.drop("is_closed").with_columns(
        vwap=pl.when(pl.col("volume") != 0).then(pl.col("turnover") / pl.col("volume")),
        revision=pl.lit(1, pl.Int32),
        known_at=pl.lit(batch.known_at),
        run_id=pl.lit(batch.run_id),
        origin=pl.lit(batch.kind),
        batch_id=pl.lit(batch.batch_id),
    )


def load_trades(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    batch: Batch,
    trades: pl.DataFrame,
    quarantined: pl.DataFrame,
    calendars: dict[str, str],
) -> Loaded:
    """Accepted trades (TRADE_SCHEMA) of one batch; an id that is there already is left alone."""
    stage(con, "stage_trades", trades)
    stage(con, "stage_bars", trades.select("source", "symbol"))
    with writer(location):
        if is_loaded(con, batch.batch_id):
            return Loaded(already=True)
        bounds = _bounds(trades)
        con.execute(f"""
            CREATE OR REPLACE TEMP TABLE fresh_trades AS
            SELECT s.* FROM stage_trades AS s
            ANTI JOIN (SELECT * FROM core.trades WHERE {_between(bounds)}) AS t USING (source, symbol, trade_id)
            QUALIFY row_number() OVER (PARTITION BY source, symbol, trade_id ORDER BY ts) = 1""")
        refused = _fresh_quarantine(con, quarantined)
        new_series = _new_series(con, calendars, batch)
        loaded = Loaded(_count(con, "fresh_trades"), 0, refused, *bounds)
        with transaction(con, location):
            if loaded.rows_new:
                con.execute(f"""
                    INSERT INTO core.trades
                    SELECT source, symbol, trade_id, ts, price, qty, side, fills, {literal(batch.kind)},
                           {literal(batch.known_at)}, {literal(batch.run_id)}, {literal(batch.batch_id)},
                           date_trunc('second', ts), date_trunc('minute', ts)
                    FROM fresh_trades ORDER BY source, symbol, trade_id""")
            _insert_quarantine(con, loaded.rows_quarantined)
            if new_series:
                con.execute("INSERT INTO core.series FROM new_series")
            _record(con, batch, loaded)
    return loaded


def load_interval_bars(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    batch: Batch,
    interval: str,
    bars: pl.DataFrame,
    quarantined: pl.DataFrame,
    calendars: dict[str, str],
) -> Loaded:
    """Bars of another width than a minute, kept as given for `ohlcv`; a later file replaces what it repeats."""
    stage(con, "stage_bars", bars)
    with writer(location):
        if is_loaded(con, batch.batch_id):
            return Loaded(already=True)
        bounds = _bounds(bars)
        same = " AND ".join(f"t.{c} IS NOT DISTINCT FROM s.{c}" for c in VALUES)
        con.execute(f"""
            CREATE OR REPLACE TEMP TABLE fresh_bars AS
            SELECT s.* FROM stage_bars AS s
            WHERE NOT EXISTS (
                SELECT 1 FROM core.interval_bars AS t
                WHERE t.interval = {literal(interval)} AND t.source = s.source AND t.symbol = s.symbol
                  AND t.ts = s.ts AND {same})""")
        refused = _fresh_quarantine(con, quarantined)
        new_series = _new_series(con, calendars, batch)
        loaded = Loaded(_count(con, "fresh_bars"), 0, refused, *bounds)
        with transaction(con, location):
            con.execute(f"""
                DELETE FROM core.interval_bars AS t USING fresh_bars AS s
                WHERE t.source = s.source AND t.symbol = s.symbol AND t.ts = s.ts AND t.interval = {literal(interval)}""")
            con.execute(f"""
                INSERT INTO core.interval_bars
                SELECT source, symbol, {literal(interval)}, ts, open, high, low, close, volume,
                       turnover / nullif(volume, 0), turnover, trades, venue, {literal(batch.known_at)},
                       {literal(batch.run_id)}, {literal(batch.kind)}, {literal(batch.batch_id)}
                FROM fresh_bars ORDER BY source, symbol, ts""")
            _insert_quarantine(con, loaded.rows_quarantined)
            if new_series:
                con.execute("INSERT INTO core.series FROM new_series")
            _record(con, batch, loaded)
    return loaded


def is_loaded(con: duckdb.DuckDBPyConnection, batch_id: str) -> bool:
    return bool(scalar(con, f"SELECT count(*) FROM core.ledger WHERE batch_id = {literal(batch_id)}"))


def loaded_batches(con: duckdb.DuckDBPyConnection, source: str) -> set[str]:
    """Ids of the batches of a source that the ledger knows."""
    rows = con.execute(f"SELECT batch_id FROM core.ledger WHERE source = {literal(source)}").fetchall()
    return {batch_id for (batch_id,) in rows}


def _split_bars(
    con: duckdb.DuckDBPyConnection, bounds: tuple[datetime | None, datetime | None]
) -> tuple[int, int]:
    """Temporary tables fresh_bars (new keys) and changed_bars (known keys, other values); their rows."""
    _create(
        con,
        "known_bars",
        f"""
        SELECT source, symbol, ts, revision, {", ".join(VALUES)}
        FROM core.bars SEMI JOIN stage_bars USING (source, symbol, ts) WHERE {_between(bounds)}""",
    )
    fresh = _create(
        con,
        "fresh_bars",
        """
        SELECT * FROM stage_bars ANTI JOIN known_bars USING (source, symbol, ts)
        QUALIFY row_number() OVER (PARTITION BY source, symbol, ts) = 1""",
    )
    other = " OR ".join(f"s.{c} IS DISTINCT FROM k.{c}" for c in VALUES)
    changed = _create(
        con,
        "changed_bars",
        f"""
        SELECT s.*, k.revision + 1 AS revision
        FROM stage_bars AS s JOIN known_bars AS k USING (source, symbol, ts) WHERE {other}
        QUALIFY row_number() OVER (PARTITION BY source, symbol, ts) = 1""",
    )
    return fresh, changed


def _fresh_quarantine(con: duckdb.DuckDBPyConnection, quarantined: pl.DataFrame) -> int:
    """Temporary table fresh_quarantine, only if there is anything: rows whose id is not known yet; how many."""
    if quarantined.is_empty():
        return 0
    stage(con, "stage_quarantine", quarantined.select(QUARANTINE_COLUMNS.split(", ")))
    return _create(
        con,
        "fresh_quarantine",
        """
        SELECT * FROM stage_quarantine ANTI JOIN core.quarantine USING (id)
        QUALIFY row_number() OVER (PARTITION BY id) = 1""",
    )


def _insert_bars(con: duckdb.DuckDBPyConnection, table: str, revision: str, batch: Batch) -> None:
    con.execute(f"""
        INSERT INTO core.bars
        SELECT source, symbol, ts, open, high, low, close, volume, turnover / nullif(volume, 0), turnover, trades,
               venue, {revision}, {literal(batch.known_at)}, {literal(batch.run_id)}, {literal(batch.kind)},
               {literal(batch.batch_id)}
        FROM {table} ORDER BY source, symbol, ts""")


def _revise_bars(
    con: duckdb.DuckDBPyConnection, bounds: tuple[datetime | None, datetime | None], batch: Batch
) -> None:
    first, last = bounds
    if first is not None and last is not None:
        drop_spreads(con, first, last)
    con.execute(f"""
        INSERT INTO core.bar_revisions
        SELECT t.*, {literal(batch.known_at)} FROM core.bars AS t SEMI JOIN changed_bars USING (source, symbol, ts)
        WHERE {_between(bounds, "t.ts")}""")
    con.execute(f"""
        DELETE FROM core.bars AS t USING changed_bars AS s
        WHERE t.source = s.source AND t.symbol = s.symbol AND t.ts = s.ts AND {_between(bounds, "t.ts")}""")
    _insert_bars(con, "changed_bars", "revision", batch)


def _keep_at_hand(con: duckdb.DuckDBPyConnection, batch: Batch, loaded: Loaded) -> None:
    """Temporary table `brought`: the rows of small batches, so that `build.touch` need not look for them in the lake."""
    if loaded.rows_new + loaded.rows_revised > AT_HAND:
        return
    columns = "source, symbol, ts, open, high, low, close, volume, turnover, trades"
    rows = (
        f"SELECT {columns}, {literal(batch.kind)} AS origin, {literal(batch.batch_id)} AS batch_id, revision "
        f"FROM (SELECT {columns}, 1 AS revision FROM fresh_bars UNION ALL SELECT {columns}, revision FROM changed_bars)"
    )
    con.execute(f"CREATE TEMP TABLE IF NOT EXISTS brought AS {rows} LIMIT 0")
    con.execute(f"INSERT INTO brought {rows}")


def _insert_quarantine(con: duckdb.DuckDBPyConnection, rows: int) -> None:
    if rows:
        con.execute(f"INSERT INTO core.quarantine SELECT {QUARANTINE_COLUMNS} FROM fresh_quarantine")


def _new_series(con: duckdb.DuckDBPyConnection, calendars: dict[str, str], batch: Batch) -> int:
    known = ", ".join(f"({literal(s)}, {literal(c)})" for s, c in calendars.items()) or "(NULL, NULL)"
    return _create(
        con,
        "new_series",
        f"""
        SELECT DISTINCT s.source, s.symbol, coalesce(own.calendar, usual.calendar, '24/7') AS calendar,
               {literal(batch.kind)} AS origin, {literal(batch.known_at)} AS first_seen
        FROM stage_bars AS s
        ANTI JOIN core.series AS k USING (source, symbol)
        LEFT JOIN (VALUES {known}) AS own(name, calendar) ON own.name = s.source || ':' || s.symbol
        LEFT JOIN (VALUES {known}) AS usual(name, calendar) ON usual.name = s.source""",
    )


def _create(con: duckdb.DuckDBPyConnection, name: str, select: str) -> int:
    """Makes a temporary table and returns its rows."""
    return int(con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}").fetchall()[0][0])


def _record(con: duckdb.DuckDBPyConnection, batch: Batch, loaded: Loaded) -> None:
    con.execute(f"INSERT INTO core.ledger VALUES {_ledger_row(batch, loaded)}")


def _ledger_row(batch: Batch, loaded: Loaded) -> str:
    return literals((
        batch.batch_id, batch.source, batch.kind, loaded.from_ts, loaded.to_ts, batch.rows_in, loaded.rows_new,
        loaded.rows_revised, loaded.rows_quarantined, batch.sha256, batch.path, batch.run_id, batch.known_at,
    ))  # fmt: skip


def _bounds(rows: pl.DataFrame) -> tuple[datetime | None, datetime | None]:
    low, high = rows["ts"].min(), rows["ts"].max()
    return (low, high) if isinstance(low, datetime) and isinstance(high, datetime) else (None, None)


def _between(bounds: tuple[datetime | None, datetime | None], column: str = "ts") -> str:
    low, high = bounds
    return "false" if low is None else f"{column} BETWEEN {literal(low)} AND {literal(high)}"


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(str(scalar(con, f"SELECT count(*) FROM {table}")))


def watermarks(con: duckdb.DuckDBPyConnection, source: str, since: datetime) -> dict[str, datetime]:
    """Symbol -> open time (naive UTC) of its newest bar at or after `since`; symbols without one are absent."""
    rows = frame(
        con,
        f"SELECT symbol, max(ts) AS ts FROM core.bars WHERE source = {literal(source)} AND ts >= {literal(since)} "
        "GROUP BY symbol",
    )
    return dict(zip(rows["symbol"].to_list(), rows["ts"].to_list(), strict=True))
