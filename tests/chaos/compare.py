"""The warehouse held against what the replica says is true: bars, windows, indicators, ledger and landing zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isclose
from typing import Any

import duckdb
import numpy as np
import polars as pl

from flows.context import Context
from pipelines import landing
from pipelines.analytics import indicators
from pipelines.analytics.params import VOLUME_COLUMNS, columns
from pipelines.calendars import bars_per_year
from pipelines.market import Interval, naive
from tests.chaos import holes
from tests.chaos.processes import ReplicaProcess
from warehouse.stage import frame, literal

VALUES = ("open", "high", "low", "close", "volume")
KEYS = {
    "core.bars": "source, symbol, ts",
    "core.trades": "source, symbol, trade_id",
    "core.ledger": "batch_id",
    "core.derived": "coalesce(batch_id, concat(source, until_ts, run_id))",
    "core.quarantine": "id",
    "core.series": "source, symbol",
    "calc.windows": "source, symbol, interval, ts",
    "calc.indicators": "source, symbol, interval, ts",
    "calc.anomalies": "id",
    "calc.volume_baseline": "source, symbol, interval, bucket",
    "core.bar_revisions": "source, symbol, ts, revision",
}


def differences(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    replica: ReplicaProcess,
    acknowledged: dict[str, int],
    never: Mapping[tuple[str, str], set[int]] | None = None,
) -> list[str]:
    """Everything that is not as it must be, in words; empty if the warehouse equals what the replica served.

    never: venue and symbol -> the minutes (epoch s) that nobody gives.
    """
    return [
        *_bars(con, context, replica, never or {}),
        *_trades(con, context, replica),
        *holes.unsettled(con),
        *_duplicates(con),
        *_windows(con, context),
        *_indicators(con, context),
        *_books(con, context, acknowledged),
    ]


def _bars(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    replica: ReplicaProcess,
    never: Mapping[tuple[str, str], set[int]],
) -> Iterator[str]:
    """Each series from its first bar to the newest closed minute, value by value; what nobody gives is named lost."""
    for source in context.settings.sources:
        exact = (*VALUES, "turnover", "trades") if source.name == "binance" else VALUES
        for symbol in source.symbols:
            who = f"{source.name}:{symbol}"
            rows = con.execute(
                f"SELECT epoch(ts)::BIGINT, {', '.join(exact)} FROM bars "
                f"WHERE source = {literal(source.name)} AND symbol = {literal(symbol)} ORDER BY ts"
            ).fetchall()
            if not rows:
                yield f"{who}: no bar at all"
                continue
            said = replica.ask(
                "truth", venue=source.name, symbol=symbol, **{"from": rows[0][0], "to": 4_000_000_000}
            )
            keep = [said["columns"].index(name) for name in exact]
            true = {row[said["columns"].index("ts")]: tuple(row[at] for at in keep) for row in said["rows"]}
            ours = {row[0]: row[1:] for row in rows}
            absent = never.get((source.name, symbol), set()) & true.keys() - ours.keys()
            yield from holes.minutes(con, source.name, symbol, absent)
            yield from _unequal(who, ours, {ts: row for ts, row in true.items() if ts not in absent}, exact)


def _trades(con: duckdb.DuckDBPyConnection, context: Context, replica: ReplicaProcess) -> Iterator[str]:
    """Each streamed series from its first trade to its last, id by id, price by price."""
    for source in context.settings.sources:
        for symbol in source.symbols if source.stream else ():
            who = f"trades of {source.name}:{symbol}"
            rows = con.execute(
                "SELECT trade_id, price, qty, epoch_us(ts) FROM trades "
                f"WHERE source = {literal(source.name)} AND symbol = {literal(symbol)} ORDER BY ALL"
            ).fetchall()
            if not rows:
                yield f"{who}: none at all"
                continue
            first = min(row[3] for row in rows) // 60_000_000 * 60
            said = replica.ask("trades", venue=source.name, symbol=symbol, **{"from": first})
            at = [said["columns"].index(name) for name in ("id", "price", "qty")]
            lost = {row[at[0]] for row in said["rows"] if row[-1] and rows[0][0] < row[at[0]] < rows[-1][0]}
            true = {row[at[0]]: tuple(row[n] for n in at[1:]) for row in said["rows"] if not row[-1]}
            yield from holes.trades(con, source.name, symbol, lost)
            ours = {row[0]: row[1:3] for row in rows}
            if len(ours) < len(rows):
                yield f"{who}: {len(rows) - len(ours)} rows too many"
            for number in sorted(true.keys() | ours.keys()):
                if number >= rows[0][0] and true.get(number) != ours.get(number):
                    yield f"{who} {number}: {ours.get(number)} for {true.get(number)}"


def _unequal(
    who: str, ours: dict[int, tuple[Any, ...]], true: dict[int, tuple[Any, ...]], names: tuple[str, ...]
) -> Iterator[str]:
    for ts in sorted(true.keys() | ours.keys()):
        when = f"{who} {datetime.fromtimestamp(ts, UTC):%m-%d %H:%M}"
        if ts not in ours:
            yield f"{when}: lost"
        elif ts not in true:
            yield f"{when}: in the warehouse, not in the market"
        elif ours[ts] != true[ts]:
            told = [f"{n} {a} for {b}" for n, a, b in zip(names, ours[ts], true[ts], strict=True) if a != b]
            yield f"{when}: {', '.join(told)}"


def _duplicates(con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    for table, key in KEYS.items():
        doubled = con.execute(
            f"SELECT count(*) - count(DISTINCT ({key},)) FROM {table}".replace(",)", ")")
        ).fetchall()
        if doubled[0][0]:
            yield f"{table}: {doubled[0][0]} rows too many"


def _windows(con: duckdb.DuckDBPyConnection, context: Context) -> Iterator[str]:
    """Every window that a clock has closed, made again from its bars in polars."""
    bars = _anchored(con)
    closed = dict(con.execute("SELECT source, max(until_ts) FROM core.progress GROUP BY source").fetchall())
    for interval in context.plan.intervals:
        width = pl.duration(seconds=interval.seconds)
        steps = (pl.col("ts") - pl.col("anchor")).dt.total_seconds() // interval.seconds
        ts = pl.col("anchor") + pl.duration(seconds=steps * interval.seconds)
        made = (
            bars.with_columns(window=ts)
            .group_by("source", "symbol", "window")
            .agg(
                pl.col("open").sort_by("ts").first(), pl.col("high").max(), pl.col("low").min(),
                pl.col("close").sort_by("ts").last(), pl.col("volume").sum(),
                end=pl.min_horizontal(pl.col("window") + width, "closes").first(), minutes=pl.len(),
            )
            .filter(pl.col("end") <= pl.col("source").replace_strict(closed, default=None))
        )  # fmt: skip
        stored = frame(
            con, f"SELECT source, symbol, ts AS window, {', '.join(VALUES)}, minutes FROM calc.windows "
            f"WHERE interval = {literal(str(interval))}",
        )  # fmt: skip
        names = (*VALUES, "minutes")
        yield from _rounded(
            f"window {interval}", _by_key(stored, "window", names), _by_key(made, "window", names)
        )


def _anchored(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Bars with the start and end of their session; the UTC day around the clock."""
    bars = frame(
        con,
        f"SELECT source, symbol, ts, {', '.join(VALUES)}, calendar FROM core.bars JOIN core.series USING (source, symbol)",
    )
    sessions = frame(con, "SELECT calendar, open_ts, close_ts FROM calc.sessions ORDER BY open_ts")
    placed = bars.sort("ts").join_asof(
        sessions, left_on="ts", right_on="open_ts", by="calendar", check_sortedness=False
    )
    day = pl.col("ts").dt.truncate("1d")
    inside = (pl.col("ts") < pl.col("close_ts")).fill_null(False)
    return placed.with_columns(
        anchor=pl.when(inside).then("open_ts").otherwise(day),
        closes=pl.when(inside).then("close_ts").otherwise(day + pl.duration(days=1)),
    )


def _indicators(con: duckdb.DuckDBPyConnection, context: Context) -> Iterator[str]:
    """What was carried on bar by bar, against a computation from the first bar."""
    plan = context.plan
    names = tuple(name for name in columns(plan.params) if name not in VOLUME_COLUMNS)
    for interval in (Interval(60), *plan.intervals):
        year = bars_per_year(context.calendars, interval, plan.session_minutes)
        rows = frame(con, _WITH_RETURNS if interval.seconds == 60 else _STORED.format(interval=interval))
        if rows.is_empty():
            continue
        stored = frame(
            con,
            f"SELECT source, symbol, ts, {', '.join(names)} FROM calc.indicators WHERE interval = '{interval}'",
        )
        whole = indicators.full(rows, plan.params, year)
        yield from _rounded(
            f"indicators {interval}", _by_key(stored, "ts", names), _by_key(whole, "ts", names)
        )


def _books(con: duckdb.DuckDBPyConnection, context: Context, acknowledged: dict[str, int]) -> Iterator[str]:
    """Ledger, what is derived and the landing zone say the same, and nothing acknowledged is missing."""
    ledger = {row[0] for row in con.execute("SELECT batch_id FROM core.ledger").fetchall()}
    derived = {
        row[0] for row in con.execute("SELECT batch_id FROM core.derived WHERE until_ts IS NULL").fetchall()
    }
    yield from (f"batch {name}: loaded, never derived" for name in sorted(ledger - derived))
    yield from (f"batch {name}: derived, not in the ledger" for name in sorted(derived - ledger))
    yield from (
        f"batch {name}: acknowledged, not in the ledger" for name in sorted(acknowledged.keys() - ledger)
    )
    yield from (
        f"batch {one.batch_id}: landed, never loaded" for one in landing.pending(context.landing, ledger)
    )
    counted = con.execute("SELECT sum(rows_loaded)::BIGINT FROM core.ledger").fetchall()[0][0]
    bars, trades = con.execute(
        "SELECT (SELECT count(*) FROM core.bars), (SELECT count(*) FROM core.trades)"
    ).fetchall()[0]
    if counted != bars + trades:
        yield f"the ledger counts {counted} new rows, the warehouse holds {bars} bars and {trades} trades"
    revised = con.execute("SELECT sum(rows_revised)::BIGINT FROM core.ledger").fetchall()[0][0]
    former = con.execute("SELECT count(*) FROM core.bar_revisions").fetchall()[0][0]
    numbers = con.execute("SELECT sum(revision - 1)::BIGINT FROM core.bars").fetchall()[0][0]
    if not revised == former == numbers:
        yield f"revisions: {revised} in the ledger, {former} former rows, {numbers} by number"


def _by_key(rows: pl.DataFrame, ts: str, names: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {row[:3]: row[3:] for row in rows.select("source", "symbol", ts, *names).iter_rows()}


def _rounded(what: str, ours: dict[Any, Any], true: dict[Any, Any]) -> Iterator[str]:
    for key in sorted(true.keys() | ours.keys()):
        when = f"{what} {key[0]}:{key[1]} {naive(key[2]):%m-%d %H:%M}"
        if key not in ours or key not in true:
            yield f"{when}: {'missing' if key not in ours else 'should not be there'}"
        elif not all(_close(a, b) for a, b in zip(ours[key], true[key], strict=True)):
            yield f"{when}: {ours[key]} for {true[key]}"


def _close(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) or (np.isnan(a) and np.isnan(b))


_WITH_RETURNS = """
    SELECT *, CASE WHEN lag(ts) OVER one = ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END AS ret_log
    FROM core.bars WINDOW one AS (PARTITION BY source, symbol ORDER BY ts) ORDER BY source, symbol, ts
"""
_STORED = "SELECT * FROM calc.windows WHERE interval = '{interval}' ORDER BY source, symbol, ts"
