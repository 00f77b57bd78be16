"""Coverage and gaps of the watched series, from sessions and bars to `coverage` and `gaps`.

A gap is one row: `open` when a run of missing minutes appears, `healing` while a part of them has come, `healed`
when all have, by whichever origin brought the last of them; `lost` when the healer has given it up. Imported
history has no gaps but the minutes whose rows the gate refused, `lost` at once: what else it lacks had no trade
(`no_trade`). So had what a venue that leaves quiet minutes out has
left out again when asked again, and what one that lists them has listed without a value.

What nobody asked for is not expected, and so no hole: a series' minutes count from its first live bar on, and before
that in the spans that a backfill or a file asked for (`core.asked`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import duckdb
import polars as pl

from flows import anomalies
from flows.context import Context
from flows.runs import SAME_CLOCK
from pipelines import coverage
from pipelines.analytics.feed import of_gaps
from pipelines.ingest import FIRST_REACH, LIVE_KINDS
from pipelines.market import MINUTE, naive
from pipelines.sessions import sessions
from pipelines.sources import factory
from pipelines.sources.base import NO_MINUTES, Quiet
from warehouse.asked import asked_spans, joined
from warehouse.clocks import answers
from warehouse.connect import transaction, writer
from warehouse.stage import frame, literal, literals, stage

DAYS = 2
"""Days of each source's market that are looked at: today and yesterday, and those since the oldest open gap."""
FOREVER = datetime(9999, 1, 1)
REACH = timedelta(days=31)
"""How far back gaps are kept in sight."""
A_MONTH = 31
DOUBT = 30 * MINUTE
"""A venue with quiet minutes without a bar is asked again before so short a hole in its series is called a gap."""
REFUSED = "the gate refused its row: it is in quarantine"
"""Why an imported minute is lost."""
LISTED = "listed without a value"
"""Why a minute is held to be without a trade where the venue lists such minutes."""
SEAM = FIRST_REACH
"""Spans no further apart than a new series' first live minute reaches back are one: what lies between is a hole."""

_BARS = "source, symbol, ts, volume, trades, origin, revision, known_at"
_SPAN = {
    "source": pl.String(),
    "symbol": pl.String(),
    "from_ts": pl.Datetime("us"),
    "to_ts": pl.Datetime("us"),
}
_RUN = _SPAN | {"minutes": pl.Int64()}
_NO_EVENTS = pl.DataFrame(schema=_RUN | dict.fromkeys(("state", "origin", "reason"), pl.String()))


@dataclass(frozen=True)
class Covered:
    """What is known about the minutes.

    coverage: rows of `coverage`; events: new rows of `calc.gap_events`; missing: every run of missing minutes
    (source, symbol, from_ts, to_ts, minutes), those that are no gap yet among them.
    """

    coverage: pl.DataFrame
    events: pl.DataFrame
    missing: pl.DataFrame


@dataclass(frozen=True)
class Asked:
    """Who was asked for history: at what market time (naive UTC), whom beside the source, and whether all answered.

    silent: symbol, ts of the minutes that the source listed without a value.
    """

    now: datetime
    others: tuple[str, ...] = ()
    is_answered: bool = True
    silent: pl.DataFrame = field(default_factory=lambda: NO_MINUTES)


def cover(context: Context, con: duckdb.DuckDBPyConnection, days: int = DAYS) -> Covered:
    """Each expected minute of the newest `days` days of every configured series that has bars."""
    watched = {source.name: source.symbols for source in context.settings.sources}
    counted, missing, doubtful = [], [], []
    for source, (clock, seen) in answers(con).items():
        newest = clock - timedelta(days=days - 1)
        first = min(newest, max(_oldest_open(con, source, newest), clock - REACH)).date()
        series = _expected(con, source, first, clock.date(), watched.get(source, ()))
        is_ours = abs(clock - seen) < SAME_CLOCK
        judged = _states(context, con, source, series, clock, first, clock.date(), is_ours)
        if judged is not None:
            counted.append(coverage.coverage(judged))
            runs = coverage.gaps(judged)
            missing.append(runs)
            doubtful.append(_doubtful(source, runs, judged))
    found = pl.concat([pl.DataFrame(schema=_RUN), *missing])
    doubted = pl.concat([pl.DataFrame(schema=_RUN), *doubtful])
    certain = found.join(doubted, on=["source", "symbol", "from_ts"], how="anti")
    return Covered(pl.concat(counted) if counted else pl.DataFrame(), gap_events(con, certain), found)


def cover_loaded(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    source: str,
    first: date,
    last: date,
    asked: Asked | None = None,
) -> Covered:
    """Coverage of the days [first, last] for every series of `source` with bars there, after history was loaded.

    asked: what a venue left out is a gap, or had no trade where it leaves quiet minutes out and has answered in full.
    None for a file: it has no gaps but what the gate refused of it, and nobody can be asked for that.
    """
    told = asked or Asked(datetime(1970, 1, 1))
    counted, missing, quiet, lost = [], [], [], []
    refused = _refused(con, source)
    while first <= last:
        end = min(first + timedelta(days=A_MONTH - 1), last)
        series = _expected(con, source, first, end)
        beyond = datetime.combine(end + timedelta(days=2), datetime.min.time())
        judged = _states(context, con, source, series, beyond, first, end, is_ours=False, silent=told.silent)
        if judged is not None:
            if asked is None:
                judged = _given_up(judged, refused)
            counted.append(coverage.coverage(judged))
            missing.append(coverage.gaps(judged))
            listed = judged.join(told.silent, on=["symbol", "ts"], how="semi")
            quiet.append(coverage.gaps(listed, "no_trade"))
            bad = judged.join(refused, on=["symbol", "ts"], how="semi")
            lost.append(coverage.gaps(bad, "lost"))
        first = end + timedelta(days=1)
    found = pl.concat([pl.DataFrame(schema=_RUN), *missing])
    if asked is None:
        events = _events_of_file(con, pl.concat([pl.DataFrame(schema=_RUN), *lost]))
    else:
        no_trade = pl.concat([pl.DataFrame(schema=_RUN), *quiet]).with_columns(
            state=pl.lit("no_trade"), origin=pl.lit(None, pl.String), reason=pl.lit(LISTED)
        )
        events = pl.concat(
            [_events_of_history(con, source, found, told), no_trade.select(_NO_EVENTS.columns)]
        )
    return Covered(pl.concat(counted) if counted else pl.DataFrame(), events, found)


def _given_up(judged: pl.DataFrame, refused: pl.DataFrame) -> pl.DataFrame:
    """The states with a missing minute lost where a file's row for it was refused: nobody is asked for that."""
    minutes = refused.select("symbol", "ts", bad=pl.lit(True))
    told = judged.join(minutes, on=["symbol", "ts"], how="left", maintain_order="left")
    is_lost = pl.col("bad").is_not_null() & (pl.col("state") == "missing")
    state = pl.when(is_lost).then(pl.lit("lost")).otherwise("state")
    return told.with_columns(state=state).drop("bad")


def _events_of_file(con: duckdb.DuckDBPyConnection, lost: pl.DataFrame) -> pl.DataFrame:
    """The refused minutes of a file as lost gaps, and what its good rows did to the known ones."""
    events = gap_events(con, lost)
    is_new = pl.col("state") == "open"
    return events.with_columns(
        state=pl.when(is_new).then(pl.lit("lost")).otherwise("state"),
        reason=pl.when(is_new).then(pl.lit(REFUSED)).otherwise("reason"),
    )


def _events_of_history(
    con: duckdb.DuckDBPyConnection, source: str, found: pl.DataFrame, asked: Asked
) -> pl.DataFrame:
    """What the holes of a backfill are: open while the healer can see them, later lost; or without a trade."""
    opened = gap_events(con, found)
    if not asked.is_answered:
        return opened if quiet_of(source) == "shown" else opened.filter(pl.col("state") != "open")
    words = "; ".join(f"{venue} answered without them" for venue in (source, *asked.others))
    state = pl.when(pl.col("to_ts") < asked.now - REACH).then(pl.lit("lost")).otherwise(pl.lit("open"))
    if quiet_of(source) == "absent":
        state = pl.lit("no_trade")
    is_new = pl.col("state") == "open"
    waiting = known_gaps(con).filter(
        pl.col("source") == source, pl.col("state") == "open", pl.col("to_ts") < asked.now - REACH
    )
    again = waiting.join(found, on=["source", "symbol", "from_ts"], how="semi")
    given_up = again.select(opened.drop("reason").columns).with_columns(reason=pl.lit(None, pl.String))
    return pl.concat([opened, given_up]).with_columns(
        state=pl.when(is_new).then(state).otherwise("state"),
        reason=pl.when(is_new).then(pl.lit(words)).otherwise("reason"),
    )


def quiet_of(source: str) -> Quiet:
    """How the source's answers tell a minute without a trade; an imported file's are whatever they are: shown."""
    quiet: Quiet = getattr(factory(source), "quiet", "shown")
    return quiet


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


def cover_history(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    source: str,
    first: datetime,
    last: datetime,
    asked: Asked | None = None,
) -> None:
    """Coverage of the days that were loaded; of what a venue left out, gaps."""
    with writer(context.location):
        covered = cover_loaded(context, con, source, first.date(), last.date(), asked)
        store(context, con, covered, run_id, naive(datetime.now(UTC)))


def gap_events(con: duckdb.DuckDBPyConnection, found: pl.DataFrame) -> pl.DataFrame:
    """The events that runs of missing minutes (source, symbol, from_ts, to_ts, minutes) add to the known gaps."""
    known = known_gaps(con)
    key = ["source", "symbol", "from_ts"]
    healed = pl.col("arrived") >= pl.col("minutes")
    moved = known.with_columns(
        now=pl.when(healed)
        .then(pl.lit("healed"))
        .when((pl.col("arrived") > 0) & (pl.col("state") != "lost"))
        .then(pl.lit("healing"))
        .otherwise("state")
    )
    apart = moved.filter(pl.col("now") != pl.col("state")).select(
        *key, "to_ts", "minutes", "origin", state="now"
    )
    fresh, grown = _fresh(found, moved.filter(~healed))
    opened = pl.concat([fresh, grown]).with_columns(origin=pl.lit(None, pl.String))
    events = pl.concat([opened, apart.select(opened.columns)]).unique(key, keep="first", maintain_order=True)
    return events.with_columns(reason=_reason())


def known_gaps(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Gaps that are not healed yet: source, symbol, from_ts, to_ts, minutes, state, arrived, origin.

    arrived: how many of their minutes are there by now; origin: who brought the last of them.
    """
    return frame(
        con,
        """
        SELECT g.source, g.symbol, g.from_ts, g.to_ts, g.minutes::BIGINT AS minutes, g.state,
               count(b.ts) AS arrived, arg_max(b.origin, b.known_at) AS origin
        FROM gaps AS g LEFT JOIN core.bars AS b
          ON b.source = g.source AND b.symbol = g.symbol AND b.ts >= g.from_ts AND b.ts < g.to_ts
        WHERE g.kind = 'minutes' AND g.state IN ('open', 'healing', 'lost') GROUP BY ALL""",
    )


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


def _states(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    source: str,
    series: pl.DataFrame,
    clock: datetime,
    first: date,
    last: date,
    is_ours: bool,
    silent: pl.DataFrame = NO_MINUTES,
) -> pl.DataFrame | None:
    """The states of these series of one source on the days [first, last]; None where there are none.

    silent: symbol, ts of minutes that the source has just listed without a value.
    """
    if series.is_empty():
        return None
    since = datetime.combine(first, datetime.min.time())
    end = datetime.combine(last + timedelta(days=2), datetime.min.time())
    bars = frame(
        con,
        f"SELECT {_BARS} FROM bars WHERE source = {literal(source)} AND ts >= {literal(since)} AND ts < {literal(end)}"
        f" AND symbol IN {literals(series['symbol'])}",
    )
    overrides = context.settings.sessions
    days = [
        sessions(name, first, last + timedelta(days=1), overrides) for name in series["calendar"].unique()
    ]
    grid = coverage.grid(pl.concat(days)).filter(pl.col("day") <= last)
    return coverage.states(
        grid,
        series.select("source", "symbol", "calendar", "since", "until"),
        bars,
        clock,
        absences=pl.concat(
            [
                _absences(con, source),
                _minutes_as_spans(source, silent, "no_trade"),
                _minutes_as_spans(source, _refused(con, source), "refused"),
            ]
        ),
        late_after=coverage.LATE_AFTER if is_ours else None,
    )


def _expected(
    con: duckdb.DuckDBPyConnection,
    source: str,
    first: date,
    last: date,
    watched: tuple[str, ...] | None = None,
) -> pl.DataFrame:
    """source, symbol, calendar, since, until: the spans in which minutes of the series are expected around [first, last].

    Of a watched series, without an end, from its first live bar in sight on; from behind its newest bar, where the
    live feed has not brought any yet. Where nobody says who is watched, from the first live bar to the newest bar.
    Beside it the spans that were asked for, and the gaps on record; none of them before the series' first bar: a
    market may be younger than what was asked for.
    """
    since = datetime.combine(first - timedelta(days=7), datetime.min.time())
    end = datetime.combine(last + timedelta(days=1), datetime.min.time())
    known = frame(
        con,
        f"""
        SELECT s.source, s.symbol, s.calendar, min(b.ts) AS first_ts, max(b.ts) AS last_ts,
               min(b.ts) FILTER (b.origin IN {literals(LIVE_KINDS)}) AS live_ts
        FROM core.series AS s LEFT JOIN core.bars AS b
          ON b.source = s.source AND b.symbol = s.symbol AND b.ts >= {literal(since)} AND b.ts < {literal(end)}
        WHERE s.source = {literal(source)} GROUP BY ALL""",
    )
    behind = pl.col("last_ts") + MINUTE
    live = {"from_ts": pl.col("live_ts"), "to_ts": behind}
    if watched is not None:
        known = known.filter(pl.col("symbol").is_in(watched))
        live = {"from_ts": pl.coalesce("live_ts", behind), "to_ts": pl.lit(FOREVER)}
    followed = known.select("source", "symbol", **live).drop_nulls()
    on_record = known_gaps(con).filter(pl.col("source") == source)
    spans = [followed, *(rows.select(*_SPAN) for rows in (asked_spans(con, source), on_record))]
    return (
        joined(pl.concat(spans).filter(pl.col("from_ts") < end, pl.col("to_ts") > since), SEAM)
        .join(known, on=["source", "symbol"], maintain_order="left")
        .select("source", "symbol", "calendar", since=pl.max_horizontal("from_ts", "first_ts"), until="to_ts")
        .filter(pl.col("since") < pl.col("until"))
    )


def _minutes_as_spans(source: str, minutes: pl.DataFrame, state: str) -> pl.DataFrame:
    """Each minute (symbol, ts) as a span in this state."""
    return minutes.select(
        pl.lit(source).alias("source"),
        "symbol",
        from_ts="ts",
        to_ts=pl.col("ts") + MINUTE,
        state=pl.lit(state),
    )


def _refused(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """symbol, ts of the minutes of which a file's row lies in quarantine."""
    return frame(
        con,
        f"""
        SELECT DISTINCT symbol, time_bucket(INTERVAL 1 MINUTE, ts) AS ts FROM core.quarantine
        WHERE source = {literal(source)} AND starts_with(batch_id, {literal(f"{source}-import-")})
          AND symbol IS NOT NULL AND ts IS NOT NULL""",
    )


def _absences(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """Spans of imported history and quiet minutes, where an absent minute had no trade, and gaps that were given up."""
    imported = asked_spans(con, source).filter(pl.col("kind") == "import")
    settled = frame(
        con,
        f"""
        SELECT source, symbol, from_ts, arg_max(to_ts, seen_at) AS to_ts, arg_max(state, seen_at) AS state
        FROM calc.gap_events WHERE source = {literal(source)} AND coalesce(kind, 'minutes') = 'minutes' GROUP BY ALL
        HAVING arg_max(state, seen_at) IN ('lost', 'no_trade')""",
    )
    return pl.concat(
        [
            imported.select(*_SPAN).with_columns(state=pl.lit("no_trade")),
            settled.cast(dict(_SPAN) | {"state": pl.String()}),  # type: ignore[arg-type]
        ]
    )
