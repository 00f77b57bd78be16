"""Coverage and gaps of the days for which history was loaded, from a venue or a file.

A file has no gaps but the minutes whose rows the gate refused, `lost` at once: what else it lacks had no trade
(`no_trade`). So had what a venue that leaves quiet minutes out has left out again when asked again, and what one that
lists them has listed without a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import duckdb
import polars as pl

from flows.context import Context
from flows.covering import Covered, store
from flows.minute_gaps import REACH, RUN, gap_events, known_gaps
from flows.minute_states import expected_spans, minute_states, quiet_of
from pipelines import coverage
from pipelines.market import naive
from pipelines.sources.base import NO_MINUTES
from warehouse.asked import refused_minutes
from warehouse.connect import writer

A_MONTH = 31
REFUSED = "the gate refused its row: it is in quarantine"
"""Why an imported minute is lost."""
LISTED = "listed without a value"
"""Why a minute is held to be without a trade where the venue lists such minutes."""
_EVENT = (*RUN, "state", "origin", "reason")


@dataclass(frozen=True)
class Asked:
    """Who was asked for history: at what market time (naive UTC), whom beside the source, and whether all answered.

    silent: symbol, ts of the minutes that the source listed without a value.
    """

    now: datetime
    others: tuple[str, ...] = ()
    is_answered: bool = True
    silent: pl.DataFrame = field(default_factory=lambda: NO_MINUTES)


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
    refused = refused_minutes(con, source)
    while first <= last:
        end = min(first + timedelta(days=A_MONTH - 1), last)
        series = expected_spans(con, source, first, end)
        beyond = datetime.combine(end + timedelta(days=2), datetime.min.time())
        judged = minute_states(
            context, con, source, series, beyond, first, end, refused, is_ours=False, silent=told.silent
        )
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
    found = pl.concat([pl.DataFrame(schema=RUN), *missing])
    if asked is None:
        events = _events_of_file(con, pl.concat([pl.DataFrame(schema=RUN), *lost]))
    else:
        no_trade = pl.concat([pl.DataFrame(schema=RUN), *quiet]).with_columns(
            state=pl.lit("no_trade"), origin=pl.lit(None, pl.String), reason=pl.lit(LISTED)
        )
        events = pl.concat([_events_of_history(con, source, found, told), no_trade.select(_EVENT)])
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
