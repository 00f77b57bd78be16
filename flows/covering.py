"""Coverage and gaps of the watched series as they are now, from sessions and bars to `coverage` and `gaps`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import polars as pl

from flows import anomalies
from flows.context import Context
from flows.minute_gaps import REACH, RUN, gap_events
from flows.minute_states import expected_spans, minute_states, quiet_of
from flows.runs import SAME_CLOCK
from pipelines import coverage
from pipelines.analytics.feed import of_gaps
from pipelines.market import MINUTE
from warehouse.asked import refused_minutes
from warehouse.clocks import answers
from warehouse.connect import transaction, writer
from warehouse.stage import literal, stage

DAYS = 2
"""Days of each source's market that are looked at: today and yesterday, and those since the oldest open gap."""
DOUBT = 30 * MINUTE
"""A venue with quiet minutes without a bar is asked again before so short a hole in its series is called a gap."""


@dataclass(frozen=True)
class Covered:
    """What is known about the minutes.

    coverage: rows of `coverage`; events: new rows of `calc.gap_events`; missing: every run of missing minutes
    (source, symbol, from_ts, to_ts, minutes), those that are no gap yet among them.
    """

    coverage: pl.DataFrame
    events: pl.DataFrame
    missing: pl.DataFrame


def cover(context: Context, con: duckdb.DuckDBPyConnection, days: int = DAYS) -> Covered:
    """Each expected minute of the newest `days` days of every configured series that has bars."""
    watched = {source.name: source.symbols for source in context.settings.sources}
    counted, missing, doubtful = [], [], []
    for source, (clock, seen) in answers(con).items():
        newest = clock - timedelta(days=days - 1)
        first = min(newest, max(_oldest_open(con, source, newest), clock - REACH)).date()
        series = expected_spans(con, source, first, clock.date(), watched.get(source, ()))
        is_ours = abs(clock - seen) < SAME_CLOCK
        refused = refused_minutes(con, source)
        judged = minute_states(context, con, source, series, clock, first, clock.date(), refused, is_ours)
        if judged is not None:
            counted.append(coverage.coverage(judged))
            runs = coverage.gaps(judged)
            missing.append(runs)
            doubtful.append(_doubtful(source, runs, judged))
    found = pl.concat([pl.DataFrame(schema=RUN), *missing])
    doubted = pl.concat([pl.DataFrame(schema=RUN), *doubtful])
    certain = found.join(doubted, on=["source", "symbol", "from_ts"], how="anti")
    return Covered(pl.concat(counted) if counted else pl.DataFrame(), gap_events(con, certain), found)


def store(
    context: Context, con: duckdb.DuckDBPyConnection, covered: Covered, run_id: str, now: datetime
) -> None:
    """Writes both in one transaction; now: wall clock, naive UTC."""
    run = pl.lit(run_id).alias("run_id")
    stage(con, "new_coverage", covered.coverage.with_columns(run))
    stage(con, "new_gaps", covered.events.with_columns(run, pl.lit(now).alias("seen_at")))
    if not covered.coverage.height and not covered.events.height:
        return
    with transaction(con, context.location):
        if covered.coverage.height:
            con.execute(
                "DELETE FROM calc.coverage AS t USING new_coverage AS s "
                "WHERE t.source = s.source AND t.symbol = s.symbol AND t.day = s.day"
            )
            con.execute("INSERT INTO calc.coverage BY NAME SELECT * FROM new_coverage")
        if covered.events.height:
            con.execute("INSERT INTO calc.gap_events BY NAME SELECT * FROM new_gaps")
            opened = covered.events.filter(pl.col("state") == "open")
            anomalies.write(con, of_gaps(opened, context.plan.thresholds), run_id, now)


def run_covering(
    context: Context, con: duckdb.DuckDBPyConnection, run_id: str, now: datetime, days: int = DAYS
) -> Covered:
    """Coverage and gaps as they are now, written; nothing comes between the look and the write."""
    with writer(context.location):
        covered = cover(context, con, days)
        store(context, con, covered, run_id, now)
    return covered


def _doubtful(source: str, runs: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Of a venue that gives no bar for a quiet minute: short holes between bars, which may be just that."""
    if quiet_of(source) == "shown":
        return runs.clear()
    newest = (
        judged.filter(pl.col("state") != "missing")
        .group_by("source", "symbol")
        .agg(newest=pl.col("ts").max())
    )
    between = (pl.col("to_ts") <= pl.col("newest")) & (pl.col("minutes") <= DOUBT // MINUTE)
    return runs.join(newest, on=["source", "symbol"]).filter(between).select(runs.columns)


def _oldest_open(con: duckdb.DuckDBPyConnection, source: str, otherwise: datetime) -> datetime:
    row = con.execute(
        f"SELECT min(from_ts) FROM gaps WHERE source = {literal(source)} AND kind = 'minutes' "
        "AND state IN ('open', 'healing')"
    ).fetchall()
    return row[0][0] or otherwise
