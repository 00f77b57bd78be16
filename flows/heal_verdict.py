"""What becomes of minutes that have been asked for and did not come: without a trade, lost, or open for the next run."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import polars as pl

from flows.covering import Covered
from flows.heal_run import Answers, Healing, minutes_in
from flows.minute_gaps import known_gaps
from pipelines.coverage import silent_runs
from pipelines.ingest import Feed
from pipelines.sources.base import NO_MINUTES
from warehouse.clocks import market_clocks

FILLS_IN = timedelta(minutes=15)
"""How old a minute must be before its row of nulls is believed: Yahoo fills its newest ones in later."""


def settle(run: Healing, feed: Feed, covered: Covered, answers: Answers, give_up_after: timedelta) -> Covered:
    """Minutes that the source has told to be without a trade; then those lost that every way has answered without."""
    name = feed.source.name
    clock = market_clocks(run.con).get(name)
    if clock is None:
        return covered
    holes = _asked_for(covered, name, answers)
    filled = holes.filter(pl.col("to_ts") <= clock - min(give_up_after, FILLS_IN))
    silent = pl.concat([NO_MINUTES, *answers.silent])
    quiet = pl.concat(
        [holes.filter(pl.col("symbol").is_in(list(answers.quiet))), silent_runs(filled, silent)]
    )
    if quiet.height:
        covered = _write(run, covered, _quiet_events(run.con, holes, quiet, answers))
        run.done.no_trade += minutes_in(quiet)
    old = _asked_for(covered, name, answers).filter(
        ~pl.col("symbol").is_in(list(answers.unanswered)), pl.col("to_ts") <= clock - give_up_after
    )
    if old.height:
        covered = _write(run, covered, _lost_events(run.con, old, answers))
        run.done.lost += minutes_in(old)
    return covered


def _asked_for(covered: Covered, source: str, answers: Answers) -> pl.DataFrame:
    return covered.missing.filter(pl.col("source") == source, pl.col("symbol").is_in(list(answers.said)))


def _write(run: Healing, covered: Covered, events: pl.DataFrame) -> Covered:
    """These events into the ledger, and what is missing then."""
    run.store(covered, events)
    return run.look()


def _lost_events(con: duckdb.DuckDBPyConnection, holes: pl.DataFrame, answers: Answers) -> pl.DataFrame:
    """The known gaps that hold these runs, else the runs themselves, as lost; the reason says of how many minutes."""
    inside = _inside_known(con, holes)
    held = inside.group_by("source", "symbol", from_ts="a", to_ts="b", minutes="whole").agg(
        left=pl.col("minutes").sum()
    )
    alone = holes.join(inside, on=["source", "symbol", "from_ts"], how="anti")
    rows = pl.concat([held, alone.with_columns(left="minutes").select(held.columns)])
    words = [
        f"{left} of {minutes} minutes: {'; '.join(answers.said[symbol])}"
        for symbol, left, minutes in rows.select("symbol", "left", "minutes").rows()
    ]
    return as_events(rows, "lost", words)


def _quiet_events(
    con: duckdb.DuckDBPyConnection, holes: pl.DataFrame, quiet: pl.DataFrame, answers: Answers
) -> pl.DataFrame:
    """The quiet runs as minutes without a trade; a gap that misses nothing but them is healed with that."""
    words = ["; ".join(answers.said[symbol]) for symbol in quiet["symbol"]]
    gap = ["source", "symbol", "a", "b", "whole", "origin"]
    missed = _inside_known(con, holes).group_by(gap).agg(missed=pl.col("minutes").sum())
    told = _inside_known(con, quiet).filter(pl.col("from_ts") != pl.col("a")).group_by(gap)
    both = told.agg(told=pl.col("minutes").sum()).join(missed, on=gap, nulls_equal=True)
    rest = both.filter(pl.col("told") == pl.col("missed"))
    rest = rest.select("source", "symbol", "origin", from_ts="a", to_ts="b", minutes="whole")
    healed = as_events(rest, "healed", ["the others had no trade"] * rest.height)
    return pl.concat([as_events(quiet, "no_trade", words), healed])


def _inside_known(con: duckdb.DuckDBPyConnection, holes: pl.DataFrame) -> pl.DataFrame:
    """The runs that lie in a known gap, with its from_ts as a, to_ts as b, minutes as whole, and its origin."""
    known = known_gaps(con).select("source", "symbol", "origin", a="from_ts", b="to_ts", whole="minutes")
    return holes.join(known, on=["source", "symbol"]).filter(
        (pl.col("from_ts") >= pl.col("a")) & (pl.col("to_ts") <= pl.col("b"))
    )


def as_events(rows: pl.DataFrame, state: str, reasons: list[str]) -> pl.DataFrame:
    """Runs of minutes (source, symbol, from_ts, to_ts, minutes, perhaps origin) as events of one state, each with its reason."""
    origin = pl.col("origin") if "origin" in rows.columns else pl.lit(None, pl.String).alias("origin")
    return rows.select("source", "symbol", "from_ts", "to_ts", "minutes", origin).with_columns(
        state=pl.lit(state), reason=pl.Series(reasons, dtype=pl.String)
    )
