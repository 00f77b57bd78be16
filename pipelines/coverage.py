"""Which minutes a series should have, and what became of each: one state a minute, and the gaps they make.

The states of an expected minute, the first that fits:

    healed    there, and brought by the healer or another venue (origin heal, fallback)
    late      there, but its live feed (rest, stream) brought it more than `late_after` after it closed; of what closed
              before the series was first seen, after that
    no_trade  there with no volume and no trade; or absent where the venue or an imported file says so, and no row of
              it was refused
    ok        there
    lost      absent, and the healer has given it up
    missing   absent

A minute is expected when it lies in the series' sessions and is either there or closed for longer than
`grace`; nothing later than the market's clock is expected.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from pipelines.market import MINUTE, naive

STATES = ("ok", "no_trade", "missing", "healed", "lost", "late")
HEALING = ("heal", "fallback")
LIVE = ("rest", "stream")
GRACE = 2 * MINUTE
LATE_AFTER = 3 * MINUTE

_KEY = ("source", "symbol")


def grid(sessions: pl.DataFrame) -> pl.DataFrame:
    """The minutes of the sessions: calendar, day, ts, number; `number` counts on from session to session.

    sessions: calendar, session, open_ts, close_ts (excluded), and `break_start`, `break_end` where the
    calendar has a midday break; for 24/7 each UTC day is one session.
    """
    minutes = (
        sessions.sort("calendar", "open_ts")
        .with_columns(pl.datetime_ranges("open_ts", "close_ts", MINUTE, closed="left").alias("ts"))
        .explode("ts")
        .filter(pl.col("ts").is_not_null(), ~_in_break(sessions))
    )
    number = pl.int_range(pl.len()).over("calendar").alias("number")
    return minutes.select("calendar", pl.col("session").alias("day"), "ts", number)


def _in_break(sessions: pl.DataFrame) -> pl.Expr:
    if "break_start" not in sessions.columns:
        return pl.lit(False)
    return pl.col("ts").is_between("break_start", "break_end", closed="left").fill_null(False)


def states(
    minutes: pl.DataFrame,
    series: pl.DataFrame,
    bars: pl.DataFrame,
    market_now: datetime,
    absences: pl.DataFrame | None = None,
    grace: timedelta = GRACE,
    late_after: timedelta | None = LATE_AFTER,
) -> pl.DataFrame:
    """Each expected minute of each series once: source, symbol, day, number, ts, state; sorted.

    minutes:    of `grid`
    series:     source, symbol, calendar, since, until: expected in [since, until), null for no end
    bars:       source, symbol, ts, volume, trades, origin, revision, known_at, first_seen (of its series); one
                row a key
    market_now: the clock of the series' source
    absences:   source, symbol, from_ts, to_ts (excluded), state: where an absent minute is known to be
                `no_trade` (imported history, a venue that leaves out or nulls quiet minutes), `lost`, or
                `refused`: a row came and is in quarantine, so it is not without a trade; spans may overlap
    late_after: None where the source's clock is not ours (a replica playing 2023): `known_at` is

    Only a first revision can be late: a corrected bar's `known_at` is that of its correction.
    """
    now = naive(market_now)
    there = bars.select(*_KEY, "ts", _state_of_bar(late_after).alias("state"))
    closed = minutes.filter(pl.col("ts") <= now - MINUTE)
    expected = (
        series.sort(_KEY)
        .join(closed, on="calendar", maintain_order="left_right")
        .filter(
            (pl.col("ts") >= pl.col("since")).fill_null(True),
            (pl.col("ts") < pl.col("until")).fill_null(True),
        )
        .join(there, on=[*_KEY, "ts"], how="left", maintain_order="left")
        .filter(pl.col("state").is_not_null() | (pl.col("ts") <= now - MINUTE - grace))
        .select(*_KEY, "day", "number", "ts", "state")
    )
    return _with_absences(expected, absences)


def _state_of_bar(late_after: timedelta | None) -> pl.Expr:
    quiet = (pl.col("volume") == 0) & (pl.col("trades").fill_null(0) == 0)
    present = pl.when(quiet).then(pl.lit("no_trade")).otherwise(pl.lit("ok"))
    if late_after is not None:
        due = pl.max_horizontal(pl.col("ts") + MINUTE, "first_seen")
        arrived_late = pl.col("known_at") - due > late_after
        is_late = pl.col("origin").is_in(LIVE) & (pl.col("revision") == 1) & arrived_late
        present = pl.when(is_late).then(pl.lit("late")).otherwise(present)
    return pl.when(pl.col("origin").is_in(HEALING)).then(pl.lit("healed")).otherwise(present)


def _with_absences(expected: pl.DataFrame, absences: pl.DataFrame | None) -> pl.DataFrame:
    """Absent minutes told apart; the frame comes and goes in the order of its keys."""
    if absences is None or absences.is_empty():
        return expected.with_columns(pl.col("state").fill_null("missing"))
    absent = expected.filter(pl.col("state").is_null()).drop("state").sort("ts")
    no_trade, lost, refused = (_inside(absent, absences, state) for state in ("no_trade", "lost", "refused"))
    state = (
        pl.when(no_trade & ~refused)
        .then(pl.lit("no_trade"))
        .when(lost)
        .then(pl.lit("lost"))
        .otherwise(pl.lit("missing"))
    )
    told = pl.concat([expected.drop_nulls("state"), absent.with_columns(state.alias("state"))])
    return told.sort(*_KEY, "ts")


def _inside(absent: pl.DataFrame, absences: pl.DataFrame, state: str) -> pl.Series:
    """For each absent minute (sorted by ts) whether a span of this state holds it."""
    spans = (
        absences.filter(pl.col("state") == state)
        .sort("from_ts")
        # The furthest end so far: a later, shorter span must not hide a longer one that it lies in.
        .select(*_KEY, "from_ts", pl.col("to_ts").cum_max().over(_KEY).alias("to_ts"))
    )
    held = absent.join_asof(
        spans, left_on="ts", right_on="from_ts", by=list(_KEY), strategy="backward", check_sortedness=False
    )
    return held.select((pl.col("ts") < pl.col("to_ts")).fill_null(False)).to_series()


def coverage(states: pl.DataFrame) -> pl.DataFrame:
    """The `coverage` table's rows: source, symbol, day, expected, and the states' minutes, which sum to it.

    A day on which nothing was expected has no row.
    """
    counted = [(pl.col("state") == state).sum().cast(pl.Int64).alias(state) for state in STATES]
    days = states.group_by(*_KEY, "day").agg(pl.len().cast(pl.Int64).alias("expected"), *counted)
    return days.sort(*_KEY, "day")


def silent_runs(runs: pl.DataFrame, silent: pl.DataFrame) -> pl.DataFrame:
    """Of runs of missing minutes the parts that a venue listed without a value, as runs of their own.

    runs: as `gaps` gives them. silent: symbol, ts; a minute may be listed twice.
    """
    key = (*_KEY, "from_ts")
    inside = runs.join(silent.unique(), on="symbol").filter(
        (pl.col("ts") >= pl.col("from_ts")) & (pl.col("ts") < pl.col("to_ts"))
    )
    part = pl.col("ts") - MINUTE * pl.int_range(pl.len()).over(key)
    found = (
        inside.sort(*key, "ts")
        .group_by(*key, part.alias("part"))
        .agg(first=pl.col("ts").min(), last=pl.col("ts").max(), count=pl.len().cast(pl.Int64))
    )
    return found.select(*_KEY, from_ts="first", to_ts=pl.col("last") + MINUTE, minutes="count").sort(*key)


def gaps(states: pl.DataFrame, state: str = "missing") -> pl.DataFrame:
    """Runs of minutes in this state: source, symbol, from_ts, to_ts, minutes.

    `from_ts` is the first minute's open, `to_ts` the last one's close: a feed without the minutes 10:00 to
    10:17 gives 10:00, 10:18 and 18 minutes. A run goes on over the hours between two sessions, which count
    no minutes. A run that began before the grid starts where the grid does.
    """
    absent = states.filter(pl.col("state") == state).sort(*_KEY, "number")
    run = (pl.col("number") - pl.int_range(pl.len())).alias("run")
    return (
        absent.group_by(*_KEY, run)
        .agg(
            pl.col("ts").min().alias("from_ts"),
            (pl.col("ts").max() + MINUTE).alias("to_ts"),
            pl.len().cast(pl.Int64).alias("minutes"),
        )
        .drop("run")
        .sort(*_KEY, "from_ts")
    )
