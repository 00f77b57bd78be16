"""The minute's checks of whole tables, and the row that every check writes to the `quality` table."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from pipelines.market import naive
from pipelines.quality.rules import Severity

MINUTE_SUITE = "minute"

QUALITY_SCHEMA: dict[str, pl.DataType] = {
    "suite": pl.String(),
    "check_name": pl.String(),
    "table_name": pl.String(),
    "severity": pl.String(),
    "passed": pl.Boolean(),
    "observed": pl.String(),
    "threshold": pl.String(),
    "failing_rows": pl.Int64(),
    "checked_at": pl.Datetime("us"),
}


class Check(NamedTuple):
    """One judgement, with what was seen and what was allowed in words; `name` is unique within a run."""

    name: str
    table: str
    severity: Severity
    passed: bool
    observed: str
    threshold: str
    failing_rows: int | None = None


def quality_frame(checks: Iterable[Check], checked_at: datetime, suite: str = MINUTE_SUITE) -> pl.DataFrame:
    """The checks as rows of the `quality` table; the loader adds `run_id`."""
    rows = [(suite, *check, naive(checked_at)) for check in checks]
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row")


def rows_loaded(table: str, source: str, loaded: int, due: int) -> Check:
    """Something arrived when something was due; a closed market asks for nothing."""
    return Check(
        f"{table} {source}: rows loaded", table, "warning", loaded > 0 or due == 0,
        f"{loaded} rows", "at least 1 row" if due else "nothing due",
    )  # fmt: skip


def quarantined_share(
    table: str, source: str, rows_in: int, quarantined: pl.DataFrame, limit: float = 0.01
) -> Check:
    """Not more than `limit` of a batch was put aside; tells the three most frequent reasons.

    quarantined: the gate's rows, with `reason`
    """
    share = quarantined.height / rows_in if rows_in else 0.0
    reasons = quarantined.group_by("reason").len().sort("len", "reason", descending=[True, False]).head(3)
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons.iter_rows())
    return Check(
        f"{table} {source}: quarantined", table, "critical" if share > 0.5 else "warning", share <= limit,
        f"{quarantined.height} of {rows_in} rows" + (f": {told}" if told else ""), f"at most {limit:.2%}",
        quarantined.height,
    )  # fmt: skip


def duplicate_keys(table: str, duplicates: int) -> Check:
    """No key is in the table twice; `duplicates` counts the rows beyond the first of each key."""
    return Check(
        f"{table}: key unique", table, "critical", duplicates == 0, f"{duplicates} rows", "0 rows", duplicates
    )


def freshness(
    table: str,
    source: str,
    newest: datetime | None,
    due: datetime | None,
    limit: timedelta = timedelta(minutes=3),
) -> Check:
    """The newest bar is not more than `limit` behind the newest minute that is due.

    newest: open of the newest bar, None for an empty table
    due:    open of the newest closed minute of the source's own sessions, None when there was none yet
    """
    if due is None:
        passed, observed = True, "no minute due yet"
    elif newest is None:
        passed, observed = False, "no row at all"
    else:
        lag = max(naive(due) - naive(newest), timedelta(0))
        passed, observed = lag <= limit, f"{lag.total_seconds():.0f} s behind"
    allowed = f"at most {limit.total_seconds():.0f} s behind"
    return Check(f"{table} {source}: fresh", table, "critical", passed, observed, allowed)


def coverage_share(table: str, source: str, coverage: pl.DataFrame, limit: float = 0.99) -> Check:
    """At least `limit` of the source's expected minutes are there or known to be without a trade.

    coverage: rows of the `coverage` table of this source: expected, missing, lost
    """
    expected = int(coverage["expected"].sum())
    absent = int(coverage["missing"].sum()) + int(coverage["lost"].sum())
    share = 1 - absent / expected if expected else 1.0
    return Check(
        f"{table} {source}: covered", table, "warning", share >= limit,
        f"{expected - absent} of {expected} minutes ({share:.2%})", f"at least {limit:.2%}", absent,
    )  # fmt: skip


def venues_agree(source: str, venue: str, apart_bps: pl.Series, limit_bps: float = 50.0) -> Check:
    """The closes of a source and of a venue that can stand in for it, in minutes that both have, are near.

    apart_bps: how far each pair of closes is apart, in hundredths of a percent of the source's; not empty
    """
    median = float(str(apart_bps.median()))
    return Check(
        f"bars {source}: agrees with {venue}", "bars", "warning", median <= limit_bps,
        f"median {median:.2f} bps apart in {len(apart_bps)} minutes", f"at most {limit_bps:g} bps",
        int((apart_bps > limit_bps).sum()),
    )  # fmt: skip
