"""What happened since the last digest, to every channel that wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from flows import alerting
from flows.context import Context, assemble, writing
from flows.delivery import deliver_due
from flows.run_names import run_name
from flows.runs import market_now, recorded
from flows.scheduled import scheduled_start
from pipelines.alerts.grouping import message_id
from pipelines.alerts.history import read_alerts
from pipelines.market import CONTINUOUS, MINUTE, Series, naive, utc
from reports.digest import NEVER_ASKED
from reports.digest import digest as rendered
from reports.digest_facts import History, digest_facts
from reports.notify.message import Site
from warehouse import outbox
from warehouse.calendars import sessions_between, source_calendars
from warehouse.clocks import answers
from warehouse.connect import transaction, writer
from warehouse.stage import frame, literal, literals, scalar

FIRST_REACH = timedelta(days=1)
"""How far back the first digest looks."""
FILE = "file"
GROUP = "digest"
SPARK_BARS = 40


@dataclass(frozen=True)
class DigestRun:
    """What was told: the facts, the digest's id, to how many channels, and how many messages went out."""

    id: str
    facts: dict[str, Any]
    channels: int
    sent: int


def run_digest(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    now: datetime | None = None,
    scheduled: datetime | None = None,
) -> DigestRun:
    """Gathers what became known since the last digest, puts it into the outbox and sends it.

    now: the wall clock (aware UTC). History that was loaded meanwhile is part of it, however old: one line, and the
    gravest that it holds.
    """
    at = utc(now or datetime.now(UTC))
    with recorded(con, context, run_id, "digest", scheduled) as tally:
        with writer(context.location):
            last = last_digest(con)
            since = last or at - FIRST_REACH
            facts = gather(context, con, since, at, alerting.CATCH_UP if last else timedelta())
            identity = message_id(GROUP, "", at, {})
            messages = _messages(context, facts, at)
            items = facts["episodes_total"] + len(facts["alerts"]) + facts["pairs_total"]
            items += 1 if facts["history"] else 0
            row = (identity, naive(since), naive(at), items, naive(datetime.now(UTC)), run_id)
            with transaction(con, context.location):
                con.execute(f"INSERT INTO ops.digests VALUES {literals(row)}")
                outbox.enqueue(con, messages, at, run_id)
        sent = deliver_due(con, context, run_id)
        tally.rows_in, tally.rows_loaded = items, len(messages)
        tally.detail = (
            f"{items} items since {since:%Y-%m-%d %H:%M} to {len(messages)} channels, {sent} messages sent"
        )
    return DigestRun(identity, facts, len(messages), sent)


def last_digest(con: duckdb.DuckDBPyConnection) -> datetime | None:
    """The wall time up to which everything was told."""
    until = scalar(con, "SELECT max(until_ts) FROM ops.digests")
    return utc(until) if isinstance(until, datetime) else None


def is_due(con: duckdb.DuckDBPyConnection, every: timedelta, now: datetime) -> bool:
    """Whether `every` has passed since the last digest, give or take a schedule's slip."""
    last = last_digest(con)
    return last is None or now - last >= every - timedelta(minutes=5)


def gather(
    context: Context, con: duckdb.DuckDBPyConnection, since: datetime, until: datetime, late: timedelta
) -> dict[str, Any]:
    """The facts of [since, until) on the wall clock; told in the market's time where that is another.

    late: how long before `since` a bar may have been and yet be told as it came late; older ones are history.
    """
    shift = market_now(con, until) - until
    known = f"known_at >= {literal(since)} AND known_at < {literal(until)}"
    found = frame(con, f"SELECT * EXCLUDE (run_id, known_at) FROM anomalies WHERE {known}")
    before = since + shift - late
    is_old = pl.col("ts") < naive(before)
    anomalies = found.filter(~is_old)
    return digest_facts(
        since + shift,
        until + shift,
        anomalies=anomalies,
        history=_history(con, since, until, before, found.filter(is_old)),
        alerts=read_alerts(con, since + shift),
        silences=[one for one in alerting.orders_of(con, context).silences if one.is_in_force(until)],
        pairs=_pairs(con),
        quality=_quality(con, until),
        gaps=_gaps(con, since),
        sources=_sources(context, con, until),
        runs=frame(
            con,
            f"SELECT * FROM runs WHERE finished_at >= {literal(since)} AND finished_at < {literal(until)} "
            "ORDER BY finished_at DESC",
        ),
        closes=_closes(con, anomalies, until + shift),
        simulated=context.is_simulated,
    )


def _history(
    con: duckdb.DuckDBPyConnection,
    since: datetime,
    until: datetime,
    before: datetime,
    anomalies: pl.DataFrame,
) -> History | None:
    """The bars older than `before` (market's time) that were loaded in [since, until); None where there are none."""
    loaded = f"known_at >= {literal(since)} AND known_at < {literal(until)} AND ts < {literal(before)}"
    span = con.execute(
        f"SELECT min(from_ts) FROM ledger WHERE kind IN ('backfill', 'import') "
        f"AND loaded_at >= {literal(since)} AND loaded_at < {literal(until)}"
    ).fetchall()[0][0]
    if span is None and anomalies.is_empty():
        return None
    oldest = f"ts >= {literal(span)}" if span else "false"
    bars, series, first, last = con.execute(
        "SELECT count(*), count(DISTINCT (source, symbol)), min(ts), max(ts) FROM ("
        f"SELECT source, symbol, ts FROM core.bars WHERE {loaded} AND {oldest} UNION ALL "
        f"SELECT source, symbol, ts FROM core.interval_bars WHERE {loaded})"
    ).fetchall()[0]
    if not bars and anomalies.is_empty():
        return None
    return History(
        bars,
        series,
        first or _time(anomalies["ts"].min()),
        last or _time(anomalies["ts"].max()),
        anomalies,
    )


def _time(found: object) -> datetime | None:
    return found if isinstance(found, datetime) else None


def channels(context: Context) -> list[str]:
    """`file` always; the enabled channels that take digests, or those the settings name."""
    named = context.settings.digest.channels
    wanted = [
        channel.name
        for channel in context.settings.channels
        if channel.enabled and channel.kind != FILE and (channel.name in named if named else channel.digest)
    ]
    return [FILE, *wanted]


def _messages(context: Context, facts: Mapping[str, Any], at: datetime) -> list[dict[str, Any]]:
    return [
        {
            "id": message_id(GROUP, channel, at, {}),
            "channel": channel,
            "group_key": GROUP,
            "facts": dict(facts),
        }
        for channel in channels(context)
    ]


def _pairs(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The newest fit of each pair; stretched ones with the tail of their spread as `spark`."""
    fits = alerting.newest_pairs(con)
    far = fits.filter(pl.col("is_cointegrated") & (pl.col("zscore").abs() > 2))["pair"].to_list()
    if not far:
        return fits
    tails = frame(
        con,
        f"SELECT pair, interval, list(spread ORDER BY ts) AS spark FROM (SELECT * FROM pair_series "
        f"WHERE pair IN {literals(far)} AND spread IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY pair, interval ORDER BY ts DESC) <= {SPARK_BARS}) GROUP BY ALL",
    )
    return fits.join(tails, on=["pair", "interval"], how="left")


def _quality(con: duckdb.DuckDBPyConnection, until: datetime) -> pl.DataFrame:
    day = literal(until - timedelta(days=1))
    return frame(
        con,
        f"SELECT * EXCLUDE (run_id) FROM quality WHERE checked_at >= {day} "
        "QUALIFY row_number() OVER (PARTITION BY suite, check_name ORDER BY checked_at DESC) = 1 ORDER BY severity, check_name",
    )


def _gaps(con: duckdb.DuckDBPyConnection, since: datetime) -> pl.DataFrame:
    at = literal(since)
    return frame(
        con,
        f"SELECT * FROM gaps WHERE state IN ('open', 'healing') OR detected_at >= {at} OR healed_at >= {at} "
        "ORDER BY state DESC, from_ts DESC",
    )


def _sources(context: Context, con: duckdb.DuckDBPyConnection, until: datetime) -> pl.DataFrame:
    """source, lag_s, state of each configured source; no lag while its exchange is shut or it never answered."""
    states = dict(con.execute("SELECT source, state FROM source_states").fetchall())
    known, clocks = source_calendars(con), answers(con)
    rows = []
    for name, calendar in context.calendars.items():
        clock = clocks.get(name, (None, None))[0]
        lag = _lag_s(con, name, known.get(name, calendar), clock) if clock else None
        state = states.get(name, NEVER_ASKED)
        rows.append((name, lag, "closed" if state == "idle" else state))
    schema = {"source": pl.String(), "lag_s": pl.Float64(), "state": pl.String()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _lag_s(con: duckdb.DuckDBPyConnection, source: str, calendar: str, clock: datetime) -> float | None:
    if calendar != CONTINUOUS and sessions_between(con, calendar, clock, clock + MINUTE).is_empty():
        return None
    day = literal(clock - timedelta(days=1))
    newest = scalar(con, f"SELECT max(ts) FROM bars WHERE source = {literal(source)} AND ts >= {day}")
    return max((clock - newest - MINUTE).total_seconds(), 0.0) if isinstance(newest, datetime) else None


def _closes(
    con: duckdb.DuckDBPyConnection, anomalies: pl.DataFrame, until: datetime
) -> dict[Series, Sequence[float | None]]:
    """Quarter-hour closes of the ten hours before `until`, of the series that were abnormal."""
    named = anomalies.select("source", "symbol").drop_nulls().unique().head(200)
    if named.is_empty():
        return {}
    wanted = " OR ".join(f"(source = {literal(s)} AND symbol = {literal(x)})" for s, x in named.iter_rows())
    rows = con.execute(
        "SELECT source, symbol, list(close ORDER BY ts) FROM (SELECT source, symbol, "
        "time_bucket(INTERVAL 15 MINUTE, ts) AS quarter, max(ts) AS ts, arg_max(close, ts) AS close FROM bars "
        f"WHERE ts >= {literal(until - timedelta(hours=10))} AND ts < {literal(until)} AND ({wanted}) GROUP BY ALL) "
        "GROUP BY ALL"
    ).fetchall()
    return {Series(source, symbol): closes for source, symbol, closes in rows}


@task(name="tell")
def tell(now: datetime | None, only_if_due: bool) -> dict[str, Any]:
    """Facts since the last digest into the outbox, and out to the channels."""
    context = assemble()
    at = utc(now or datetime.now(UTC))
    with writing(context) as con:
        if only_if_due and not is_due(con, context.settings.digest.every, at):
            return {"skipped": True}
        done = run_digest(context, con, str(flow_run.id or uuid4()), at, scheduled_start())
    create_markdown_artifact(
        key="digest",
        markdown="```\n" + rendered(done.facts, Site()).text + "\n```",
        description="What was told",
    )
    return {"channels": done.channels, "sent": done.sent, "episodes": done.facts["episodes_total"]}


@flow(name="digest", timeout_seconds=240, log_prints=False, flow_run_name=run_name)
def digest(now: datetime | None = None, only_if_due: bool = True) -> dict[str, Any]:
    """What happened since the last digest, to every channel that wants it.

    Args:
        now: The wall clock (UTC) up to which is told. Leave empty for now.
        only_if_due: Do nothing before `[digest] every` has passed; switch it off to send one at once.
    """
    numbers: dict[str, Any] = tell(utc(now) if now else None, only_if_due)
    get_run_logger().info("digest: %s", numbers)
    return numbers
