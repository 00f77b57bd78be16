"""Coverage and gaps of the watched series, from sessions and bars to `coverage` and `gaps`.

A gap is one row: `open` when a run of missing minutes appears, `healing` while a part of them has come, `healed`
when all have; whoever gives up on one writes `lost`. Imported history has no gaps: what it lacks had no trade.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import polars as pl

from flows.context import Context
from flows.runs import SAME_CLOCK
from pipelines import coverage
from pipelines.market import MINUTE
from pipelines.sessions import sessions
from warehouse.clocks import answers
from warehouse.connect import transaction, writer
from warehouse.stage import frame, literal, stage

DAYS = 2
"""Days of each source's market that are looked at: today and yesterday."""
ORIGIN = "feed"

_BARS = "source, symbol, ts, volume, trades, origin, revision, known_at"
_SPAN = {
    "source": pl.String(),
    "symbol": pl.String(),
    "from_ts": pl.Datetime("us"),
    "to_ts": pl.Datetime("us"),
}


@dataclass(frozen=True)
class Covered:
    """What is known about the minutes: rows of `coverage`, and new rows of `calc.gap_events`."""

    coverage: pl.DataFrame
    events: pl.DataFrame


def cover(context: Context, con: duckdb.DuckDBPyConnection, days: int = DAYS) -> Covered:
    """Each expected minute of the newest `days` days of every configured series that has bars."""
    counted, missing = [], []
    for source, (clock, seen) in answers(con).items():
        first = (clock - timedelta(days=days - 1)).date()
        judged = _states(context, con, source, clock, first, is_ours=abs(clock - seen) < SAME_CLOCK)
        if judged is not None:
            counted.append(coverage.coverage(judged))
            missing.append(coverage.gaps(judged))
    empty = pl.DataFrame(schema=_SPAN | {"minutes": pl.Int64()})
    found = pl.concat([empty, *missing])
    return Covered(pl.concat(counted) if counted else pl.DataFrame(), gap_events(con, found))


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


def run_covering(context: Context, con: duckdb.DuckDBPyConnection, run_id: str, now: datetime) -> Covered:
    """Coverage and gaps as they are now, written; nothing comes between the look and the write."""
    with writer(context.location):
        covered = cover(context, con)
        store(context, con, covered, run_id, now)
    return covered


def gap_events(con: duckdb.DuckDBPyConnection, found: pl.DataFrame) -> pl.DataFrame:
    """The events that runs of missing minutes (source, symbol, from_ts, to_ts, minutes) add to the known gaps."""
    known = frame(
        con,
        """
        SELECT g.source, g.symbol, g.from_ts, g.to_ts, g.minutes::BIGINT AS minutes, g.state, count(b.ts) AS arrived
        FROM gaps AS g LEFT JOIN core.bars AS b
          ON b.source = g.source AND b.symbol = g.symbol AND b.ts >= g.from_ts AND b.ts < g.to_ts
        WHERE g.state IN ('open', 'healing') GROUP BY ALL""",
    )
    key = ["source", "symbol", "from_ts"]
    healed = pl.col("arrived") >= pl.col("minutes")
    moved = known.with_columns(
        now=pl.when(healed)
        .then(pl.lit("healed"))
        .when(pl.col("arrived") > 0)
        .then(pl.lit("healing"))
        .otherwise("state")
    )
    apart = moved.filter(pl.col("now") != pl.col("state")).select(*key, "to_ts", "minutes", state="now")
    fresh, grown = _fresh(found, moved.filter(~healed))
    events = pl.concat([fresh, grown, apart]).unique(key, keep="first", maintain_order=True)
    return events.with_columns(origin=pl.lit(ORIGIN), reason=_reason())


def _fresh(found: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Runs that no known gap holds, and known gaps whose run has grown beyond their end."""
    columns = ["source", "symbol", "from_ts", "to_ts", "minutes", "state"]
    both = found.join(
        known.select("source", "symbol", a="from_ts", b="to_ts"), on=["source", "symbol"], how="left"
    ).filter((pl.col("from_ts") < pl.col("b")) & (pl.col("to_ts") > pl.col("a")))
    fresh = found.join(both, on=["source", "symbol", "from_ts"], how="anti").with_columns(
        state=pl.lit("open")
    )
    grown = both.filter((pl.col("to_ts") > pl.col("b")) & (pl.col("from_ts") == pl.col("a")))
    return fresh.select(columns), grown.with_columns(state=pl.lit("open")).select(columns)


def _reason() -> pl.Expr:
    said = {"open": "no bar came", "healing": "a part has come", "healed": "all minutes have come"}
    return pl.col("state").replace_strict(said, default=None, return_dtype=pl.String)


def _states(
    context: Context, con: duckdb.DuckDBPyConnection, source: str, clock: datetime, first: date, is_ours: bool
) -> pl.DataFrame | None:
    """The states of one source's configured series since the day `first`; None where it has none with bars."""
    watched = {s.name: s.symbols for s in context.settings.sources}.get(source, ())
    since = datetime.combine(first, datetime.min.time())
    bars = frame(con, f"SELECT {_BARS} FROM bars WHERE source = {literal(source)} AND ts >= {literal(since)}")
    series = _series(con, source, watched, since)
    if series.is_empty():
        return None
    calendars = series["calendar"].unique()
    overrides = context.settings.sessions
    last = clock.date() + timedelta(days=1)
    days = pl.concat([sessions(name, first, last, overrides) for name in calendars])
    return coverage.states(
        coverage.grid(days),
        series,
        bars,
        clock,
        absences=_absences(con, source, bars),
        late_after=coverage.LATE_AFTER if is_ours else None,
    )


def _series(
    con: duckdb.DuckDBPyConnection, source: str, watched: tuple[str, ...], since: datetime
) -> pl.DataFrame:
    """source, symbol, calendar, since, until: a series is expected from its first bar on, as long as it is watched."""
    known = frame(
        con,
        f"""
        SELECT s.source, s.symbol, s.calendar, min(b.ts) AS since
        FROM core.series AS s LEFT JOIN core.bars AS b
          ON b.source = s.source AND b.symbol = s.symbol AND b.ts >= {literal(since - timedelta(days=7))}
        WHERE s.source = {literal(source)} GROUP BY ALL""",
    )
    watching = known.filter(pl.col("symbol").is_in(watched), pl.col("since").is_not_null())
    return watching.with_columns(until=pl.lit(None, dtype=pl.Datetime("us")))


def _absences(con: duckdb.DuckDBPyConnection, source: str, bars: pl.DataFrame) -> pl.DataFrame:
    """Spans of imported history, where an absent minute had no trade, and gaps that were given up."""
    imported = bars.filter(pl.col("origin") == "import").group_by("source", "symbol")
    spans = imported.agg(from_ts=pl.col("ts").min(), to_ts=pl.col("ts").max() + MINUTE)
    lost = frame(
        con,
        f"SELECT source, symbol, from_ts, to_ts FROM gaps WHERE state = 'lost' AND source = {literal(source)}",
    )
    return pl.concat(
        [
            spans.cast(dict(_SPAN)).with_columns(state=pl.lit("no_trade")),  # type: ignore[arg-type]
            lost.cast(dict(_SPAN)).with_columns(state=pl.lit("lost")),  # type: ignore[arg-type]
        ]
    )
