"""Anomalies of a feed recomputed: a slow landing, a silence, a gap."""

from __future__ import annotations

from datetime import timedelta

from flows.cli.explanation import Check, Explanation
from flows.cli.lake import Connection, Row, rows
from flows.context import Context
from flows.runs import LANDED, stage_of
from pipelines.market import CONTINUOUS
from warehouse.stage import literal

_GONE = "What it was measured from is not in the warehouse any more, so it cannot be recomputed."


def explain_latency(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    """The stored 99th percentile of the run's replies."""
    told.sql = f"""
SELECT stage, n, p50_ms, p99_ms, max_ms FROM latency
WHERE run_id = {literal(row["run_id"])} AND stage = {literal(stage_of(LANDED, row["source"]))};"""
    told.sample_name, told.sample = "The run's replies, received to landed", rows(con, told.sql)
    if not told.sample:
        told.notes.append(_GONE)
        return
    (found,), limit = told.sample, context.plan.thresholds.latency_ms
    told.formulas = [
        f"99 % quantile of {found['n']} replies = {found['p99_ms']:g} ms > {limit:g} ms: abnormal"
    ]
    told.checks = _checks(row, found["p99_ms"], limit)


def explain_stale(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    """From the newest bar known then, or the session's open, to the market's clock of that run."""
    source, run = literal(row["source"]), literal(row["run_id"])
    told.sql = f"""
SELECT (SELECT coalesce(max(market_now), (SELECT max(scheduled_for) FROM runs WHERE run_id = {run}))
        FROM core.source_states WHERE source = {source} AND run_id = {run}) AS market_now,
       (SELECT max(ts) FROM bar_revisions
        WHERE source = {source} AND (known_at <= {literal(row["known_at"])} OR run_id = {run})) AS newest_bar,
       (SELECT max(open_ts) FROM sessions
        WHERE calendar IN (SELECT calendar FROM series WHERE source = {source})
          AND open_ts <= {literal(row["ts"])}) AS opened;"""
    (found,) = rows(con, told.sql)
    told.sample_name, told.sample = "The clock, the newest bar and the session's open then", [found]
    ends = [found["newest_bar"] + timedelta(minutes=1)] if found["newest_bar"] else []
    since = max([*ends, *([found["opened"]] if found["opened"] else [])], default=None)
    if since is None or found["market_now"] is None:
        told.notes.append(_GONE)
        return
    seconds, limit = (found["market_now"] - since).total_seconds(), context.plan.thresholds.stale_s
    told.formulas = [
        f"clock - first missing bar = {found['market_now']:%H:%M:%S} - {since:%H:%M:%S} UTC = {seconds:g} s > {limit:g} s: "
        "abnormal"
    ]
    told.checks = _checks(row, seconds, limit)


def explain_gap(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    """The minutes the exchange was open, less those whose bars were known then."""
    key = f"source = {literal(row['source'])} AND symbol = {literal(row['symbol'])}"
    start, known = literal(row["ts"]), literal(row["known_at"])
    told.sql = f"""
WITH gap AS (
    SELECT from_ts, arg_max(to_ts, seen_at) AS to_ts FROM calc.gap_events
    WHERE {key} AND from_ts = {start} AND seen_at <= {known} GROUP BY from_ts
),
due AS (
    SELECT unnest(generate_series(from_ts, to_ts - INTERVAL 1 MINUTE, INTERVAL 1 MINUTE)) AS ts FROM gap
),
open AS (
    SELECT ts FROM due, (SELECT calendar FROM series WHERE {key}) AS c
    WHERE calendar = '{CONTINUOUS}' OR EXISTS (
        SELECT 1 FROM sessions AS s WHERE s.calendar = c.calendar AND due.ts >= s.open_ts AND due.ts < s.close_ts)
)
SELECT (SELECT to_ts FROM gap) AS to_ts, count(*) AS due,
       count(*) FILTER (ts IN (SELECT ts FROM bar_revisions WHERE {key} AND known_at <= {known})) AS there
FROM open;"""
    (found,) = rows(con, told.sql)
    if found["to_ts"] is None:
        told.notes.append(_GONE)
        return
    told.sample_name, told.sample = "The gap as it was known then", [{"from_ts": row["ts"], **found}]
    missing = found["due"] - found["there"]
    told.formulas = [f"minutes due - minutes there = {found['due']} - {found['there']} = {missing}"]
    told.checks = _checks(row, float(missing), context.plan.thresholds.gap_minutes)


def _checks(row: Row, value: float, limit: float) -> list[Check]:
    return [
        Check("value", row["value"], value),
        Check("baseline", row["baseline"], limit),
        Check("ratio", row["ratio"], value / limit if limit else None),
    ]
