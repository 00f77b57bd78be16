"""What is kept how long. Bars go to a monthly Parquet archive before they go; imported history never goes.

Facts of a market (bars, trades, pair fits) age by their source's own clock, what the platform did and said by the
wall clock. Each table is purged in its own short transaction; a run that dies goes on at the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import duckdb

from warehouse.connect import Location, transaction, writer
from warehouse.durable import sync
from warehouse.stage import literal, literals, scalar


class Days(Protocol):
    """How many days of each are kept; `pipelines.settings_sections.Retention` has them."""

    @property
    def trades_days(self) -> int: ...
    @property
    def bars_days(self) -> int: ...
    @property
    def quarantine_days(self) -> int: ...
    @property
    def quality_days(self) -> int: ...
    @property
    def runs_days(self) -> int: ...


def purge(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    archive: Path,
    clocks: Mapping[str, datetime],
    now: datetime,
    days: Days,
) -> dict[str, int]:
    """Deletes what is past its days and returns table -> rows deleted, tables with none left out.

    archive: folder of `bars/YYYY-MM.parquet` and `bar_revisions/YYYY-MM.parquet`, written before anything goes.
    clocks: source -> its market time (naive UTC); a source without one keeps its facts. now: wall clock, naive.
    """
    gone: dict[str, int] = {}
    for source, clock in clocks.items():
        midnight = clock.replace(hour=0, minute=0, second=0, microsecond=0)
        for table, rows in _purge_bars(
            con, location, archive, source, midnight - timedelta(days=days.bars_days)
        ):
            gone[table] = gone.get(table, 0) + rows
    for table, condition in [*_by_market(clocks, days), *_by_wall(now, days)]:
        gone[table] = gone.get(table, 0) + _delete(con, location, table, condition)
    gone["core.ledger"] = _purge_ledger(con, location, now - timedelta(days=days.runs_days))
    return {table: rows for table, rows in gone.items() if rows}


def _by_market(clocks: Mapping[str, datetime], days: Days) -> Iterator[tuple[str, str]]:
    for source, clock in clocks.items():
        of = f"= {literal(source)}"
        trades, fits = clock - timedelta(days=days.trades_days), clock - timedelta(days=days.runs_days)
        bars = clock - timedelta(days=days.bars_days)
        # Whoever asks for it again shall have it again.
        yield "core.asked", f"source {of} AND to_ts < {literal(bars)} AND kind <> 'import'"
        yield "core.trades", f"source {of} AND ts < {literal(trades)} AND origin <> 'import'"
        newest = "SELECT pair, interval, max(fitted_at) FROM calc.pair_stats GROUP BY ALL"
        yield (
            "calc.pair_stats",
            f"source_y {of} AND fitted_at < {literal(fits)} AND (pair, interval, fitted_at) NOT IN ({newest})",
        )


def _by_wall(now: datetime, days: Days) -> Iterator[tuple[str, str]]:
    """Table and condition of everything that ages by the wall clock; what is still open stays."""
    runs, bars = (literal(now - timedelta(days=count)) for count in (days.runs_days, days.bars_days))
    quarantine, quality = (
        literal(now - timedelta(days=count)) for count in (days.quarantine_days, days.quality_days)
    )
    yield "core.quarantine", f"seen_at < {quarantine}"
    yield "core.releases", f"released_at < {quarantine} AND id NOT IN (SELECT id FROM core.quarantine)"
    yield "ops.quality", f"checked_at < {quality}"
    yield "ops.runs", f"finished_at < {runs}"
    yield "ops.latency", f"seen_at < {runs}"
    newest = "SELECT source, max(seen_at) FROM {} GROUP BY source"
    states, reached = newest.format("core.source_states"), newest.format("core.progress")
    yield "core.source_states", f"seen_at < {runs} AND (source, seen_at) NOT IN ({states})"
    yield (
        "core.derived",
        f"until_ts IS NOT NULL AND derived_at < {runs} AND (source, derived_at) NOT IN ({reached})",
    )
    yield "ops.digests", f"recorded_at < {runs} AND id <> (SELECT arg_max(id, until_ts) FROM ops.digests)"
    yield "ops.outbox", f"id IN ({_ended('ops.outbox', ('sent', 'dead'), runs)})"
    yield "ops.alert_events", f"id IN ({_ended('ops.alert_events', ('resolved',), bars)})"
    yield "ops.alert_acks", f"acked_at < {bars} AND id NOT IN (SELECT id FROM ops.alert_events)"


def _ended(table: str, states: tuple[str, ...], before: str) -> str:
    """Ids whose last event is in one of `states` and older than `before`."""
    return (
        f"SELECT id FROM {table} GROUP BY id "
        f"HAVING max(recorded_at) < {before} AND arg_max(state, recorded_at) IN {literals(states)}"
    )


def _delete(con: duckdb.DuckDBPyConnection, location: Location, table: str, condition: str) -> int:
    """Counts first: a transaction that deletes nothing would still be a snapshot."""
    with writer(location):
        rows = int(str(scalar(con, f"SELECT count(*) FROM {table} WHERE {condition}")))
        if rows:
            with transaction(con, location):
                con.execute(f"DELETE FROM {table} WHERE {condition}")
    return rows


def _purge_ledger(con: duckdb.DuckDBPyConnection, location: Location, before: datetime) -> int:
    """Old batches whose facts are derived; their landed payloads are gone long since. Imports stay known."""
    old = f"loaded_at < {literal(before)} AND kind NOT IN ('import', 'backfill')"
    chosen = f"SELECT batch_id FROM core.ledger SEMI JOIN core.derived USING (batch_id) WHERE {old}"
    with writer(location):
        con.execute(f"CREATE OR REPLACE TEMP TABLE old_batches AS {chosen}")
        rows = int(str(scalar(con, "SELECT count(*) FROM old_batches")))
        if rows:
            with transaction(con, location):
                for table in ("core.ledger", "core.derived"):
                    con.execute(
                        f"DELETE FROM {table} AS t USING old_batches AS o WHERE t.batch_id = o.batch_id"
                    )
    return rows


def _purge_bars(
    con: duckdb.DuckDBPyConnection, location: Location, archive: Path, source: str, before: datetime
) -> Iterator[tuple[str, int]]:
    """Bars of whole days before `before` with their revisions and one-minute indicators, month by month."""
    old = f"source = {literal(source)} AND ts < {literal(before)} AND origin <> 'import'"
    months = con.execute(
        f"SELECT DISTINCT date_trunc('month', ts)::TIMESTAMP FROM core.bars WHERE {old} "
        f"UNION SELECT date_trunc('month', ts)::TIMESTAMP FROM core.bar_revisions WHERE {old} ORDER BY 1"
    ).fetchall()
    for (month,) in months:
        until = min((month + timedelta(days=32)).replace(day=1), before)
        span = f"{old} AND ts >= {literal(month)} AND ts < {literal(until)}"
        archived = _content(con, span)
        for table in ("bars", "bar_revisions"):
            append(con, archive / table / f"{month:%Y-%m}.parquet", table, span)
        yield from _drop_month(con, location, span, archived)


def _content(con: duckdb.DuckDBPyConnection, span: str) -> list[tuple[int, datetime | None]]:
    """How many bars and revisions there are and the newest of each: tells whether any came or changed."""
    return con.execute(
        f"SELECT count(*), max(known_at) FROM core.bars WHERE {span} "
        f"UNION ALL SELECT count(*), max(replaced_at) FROM core.bar_revisions WHERE {span}"
    ).fetchall()


def append(con: duckdb.DuckDBPyConnection, path: Path, table: str, condition: str) -> int:
    """Adds rows of a core table to a month's archive and returns how many; one archived before is replaced.

    The file is on the disk under its name, or as it was before: never half of it.
    """
    rows = int(str(scalar(con, f"SELECT count(*) FROM core.{table} WHERE {condition}")))
    if not rows:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = f"SELECT * FROM core.{table} WHERE {condition}"
    both = fresh
    if path.exists():
        key = "source, symbol, ts" + (", revision" if table == "bar_revisions" else "")
        kept = f"SELECT * FROM read_parquet({literal(str(path))}) ANTI JOIN ({fresh}) USING ({key})"
        both = f"{fresh} UNION ALL BY NAME {kept}"
    draft = path.with_name(f".{path.name}.tmp")
    con.execute(
        f"COPY (FROM ({both}) ORDER BY source, symbol, ts) TO {literal(str(draft))} (FORMAT parquet, COMPRESSION zstd)"
    )
    _settle(draft, path)
    return rows


def _drop_month(
    con: duckdb.DuckDBPyConnection, location: Location, span: str, archived: list[tuple[int, datetime | None]]
) -> Iterator[tuple[str, int]]:
    """Deletes what was archived, in one transaction; if something came meanwhile, the next run does it."""
    with writer(location):
        if _content(con, span) != archived:
            return
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE old_bars AS SELECT source, symbol, ts FROM core.bars WHERE {span}"
        )
        with transaction(con, location):
            for table in ("core.bars", "core.bar_revisions"):
                con.execute(f"DELETE FROM {table} WHERE {span}")
            con.execute("""
                DELETE FROM calc.indicators USING old_bars AS o
                WHERE calc.indicators.source = o.source AND calc.indicators.symbol = o.symbol
                  AND calc.indicators.ts = o.ts AND interval = '1m'""")
    yield from zip(("core.bars", "core.bar_revisions"), (rows for rows, _ in archived), strict=True)


def _settle(draft: Path, path: Path) -> None:
    """The draft durable under its final name."""
    sync(draft)
    draft.replace(path)
    sync(path.parent)
