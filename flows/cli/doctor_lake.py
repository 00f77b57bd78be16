"""What the warehouse holds and owes: it opens, keys are unique, nothing waits, nothing lags, nothing is dead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from flows.cli.finding import Finding, fail, ok, warn
from flows.cli.lake import Connection, feed_lags, rows
from flows.context import Context, reading
from flows.times import ago
from pipelines import landing
from warehouse.errors import TapewatchError
from warehouse.stage import scalar

LAGGING_S, STALE_S = 180.0, 900.0
KEYS = {
    "bars": "source, symbol, ts",
    "trades": "source, symbol, trade_id",
    "quarantine": "id",
    "anomalies": "id",
    "ledger": "batch_id",
    "indicators": "source, symbol, interval, ts",
}
"""View -> what one row of it is known by."""


def lake_findings(context: Context, running: dict[str, Any]) -> Iterator[Finding]:
    """Everything that needs the warehouse; one line where there is none."""
    if not context.location.exists:
        yield warn(
            "warehouse",
            "nothing was loaded yet",
            "`tapewatch demo`, `tapewatch backfill` or `tapewatch import`",
        )
        return
    try:
        with reading(context) as con:
            yield from _integrity(con, context)
            yield from _lags(con, context, bool(running["running"]))
            yield from _holes(con)
            yield from run_findings(con)
            yield from message_findings(con)
            yield from _landing(con, context)
    except (TapewatchError, duckdb.Error, OSError) as error:
        yield fail("warehouse", f"{context.location.home}: {error}",
                   "if its Parquet or catalog was moved or edited, put it back from a copy; see the message")  # fmt: skip


def _integrity(con: Connection, context: Context) -> Iterator[Finding]:
    counted = {view: int(str(scalar(con, f"SELECT count(*) FROM {view}"))) for view in ("bars", "trades")}
    yield ok(
        "warehouse", f"{context.location.home} opens: {counted['bars']:,} bars, {counted['trades']:,} trades"
    )
    doubled = {view: _doubled(con, view, key) for view, key in KEYS.items()}
    if broken := [f"{count} of {view}" for view, count in doubled.items() if count]:
        yield fail("keys", f"keys that stand there more than once: {', '.join(broken)}",
                   "please report it; a rebuilt warehouse (import or backfill into a new data_dir) is clean")  # fmt: skip
    else:
        yield ok("keys", f"unique in {', '.join(KEYS)}")
    waiting = rows(
        con,
        "SELECT count(*) AS n, min(loaded_at) AS since FROM ledger ANTI JOIN core.derived USING (batch_id)",
    )[0]
    if waiting["n"]:
        yield warn("derived", f"{waiting['n']} batches wait for their windows and anomalies since {waiting['since']:%Y-%m-%d %H:%M}",
                   "`tapewatch run heal` derives history, as does the next import or backfill; `tapewatch run minute` the rest")  # fmt: skip
    else:
        yield ok("derived", "every loaded batch has its windows, indicators and anomalies")


def _doubled(con: Connection, view: str, key: str) -> int:
    return int(
        str(scalar(con, f"SELECT count(*) FROM (SELECT 1 FROM {view} GROUP BY {key} HAVING count(*) > 1)"))
    )


def _lags(con: Connection, context: Context, is_running: bool) -> Iterator[Finding]:
    found = {row["source"]: row for row in feed_lags(con, datetime.now(UTC))}
    for source in context.settings.sources:
        row = found.get(source.name)
        if row is None:
            start = "the next minute asks it" if is_running else "`tapewatch up`, or `tapewatch run minute`"
            yield warn("lag", f"{source.name}: no minute has asked it yet", start)
        else:
            yield lag_finding(row, is_running)


def lag_finding(row: dict[str, Any], is_running: bool) -> Finding:
    """How one source is; row: as `feed_lags` gives it."""
    name, lag = row["source"], row["lag_s"]
    asked = f"asked {ago(row['asked_s_ago'])} ago: {row['state']}" + (
        f" ({row['reason']})" if row["reason"] else ""
    )
    if lag is None:
        return warn(
            "lag",
            f"{name}: no bar yet; {asked}",
            "see the reason; `tapewatch sources list` shows the source's settings",
        )
    told = f"{name}: newest bar {row['newest_bar']:%Y-%m-%d %H:%M} UTC, {ago(lag)} behind the market; {asked}"
    if row["is_open"] is False:
        return ok("lag", f"{told}; the market is closed")
    if lag <= LAGGING_S and row["state"] == "partial":
        return warn("lag", told, "see the reason: the symbols that it names bring nothing")
    if lag <= LAGGING_S:
        return ok("lag", told)
    if not is_running:
        return warn("lag", told, "nothing runs: `tapewatch up` catches up from there")
    mend = (
        "see the reason and the runs (`tapewatch status`); a silent venue shows in `tapewatch sources list`"
    )
    return fail("lag", told, mend) if lag > STALE_S else warn("lag", told, mend)


def _holes(con: Connection) -> Iterator[Finding]:
    found = rows(
        con,
        "SELECT source, symbol, count(*) AS gaps, sum(minutes) AS minutes, min(from_ts) AS since FROM gaps "
        "WHERE state IN ('open', 'healing') AND kind = 'minutes' GROUP BY ALL ORDER BY minutes DESC",
    )
    if not found:
        yield ok("gaps", "none is open")
    for row in found[:5]:
        yield warn("gaps", f"{row['source']}:{row['symbol']}: {row['minutes']:.0f} minutes in {row['gaps']} gaps since {row['since']:%Y-%m-%d %H:%M}",
                   f"`tapewatch backfill --source {row['source']} --symbol {row['symbol']} --start {row['since']:%Y-%m-%dT%H:%M}`")  # fmt: skip
    if len(found) > 5:
        yield warn(
            "gaps", f"and {len(found) - 5} more series", "`tapewatch sql \"FROM gaps WHERE state = 'open'\"`"
        )


def run_findings(con: Connection) -> Iterator[Finding]:
    """Flows whose newest runs of the last day ended badly: how many in a row, since when and of what."""
    found = rows(
        con,
        """
        WITH recent AS (
            SELECT flow, state, detail, started_at, row_number() OVER (PARTITION BY flow ORDER BY started_at DESC) AS back
            FROM runs WHERE started_at > now()::TIMESTAMP - INTERVAL 1 DAY
        ), fine AS (SELECT flow, min(back) AS back FROM recent WHERE state = 'Completed' GROUP BY flow)
        SELECT flow, count(*) AS n, min(started_at) AS since, arg_min(state, recent.back) AS state,
               arg_min_null(detail, recent.back) AS why
        FROM recent LEFT JOIN fine USING (flow)
        WHERE state IN ('Failed', 'Crashed', 'TimedOut') AND recent.back < coalesce(fine.back, recent.back + 1)
        GROUP BY flow ORDER BY flow""",
    )
    for row in found:
        many = f"the last {row['n']} runs" if row["n"] > 1 else "the last run"
        told = f"{row['flow']}: {many} ended badly, since {row['since']:%Y-%m-%d %H:%M}: {row['state']}"
        told += f": {row['why'].splitlines()[0]}" if row["why"] else ""
        mend = 'its log is in the Prefect UI, and the reason in `tapewatch sql "FROM runs ORDER BY started_at DESC"`'
        yield fail("runs", told, mend) if row["n"] > 1 else warn("runs", told, mend)
    if not found:
        yield ok("runs", "no flow's last run ended badly")


def message_findings(con: Connection) -> Iterator[Finding]:
    """Messages that are dead, stuck or wait after a failed try."""
    dead = rows(
        con, "SELECT id, channel, last_error FROM deliveries WHERE state = 'dead' ORDER BY created_at DESC"
    )
    for row in dead[:5]:
        yield warn(
            "messages",
            f"{row['id']} to {row['channel']} is dead: {row['last_error']}",
            f"mend the channel, then `tapewatch alerts resend {row['id']}`",
        )
    late = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    stuck = scalar(
        con,
        f"SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending') AND created_at < TIMESTAMP '{late}'",
    )
    if stuck:
        yield warn(
            "messages",
            f"{stuck} wait for more than an hour",
            "`tapewatch run minute` sends what is due; deliveries.last_error says why not",
        )
    failing = rows(
        con,
        "SELECT channel, count(*) AS n, arg_max_null(last_error, created_at) AS last_error FROM deliveries "
        "WHERE state IN ('queued', 'sending') AND last_error IS NOT NULL GROUP BY channel ORDER BY ALL",
    )
    for row in failing:
        yield warn(
            "messages",
            f"{row['n']} to {row['channel']} wait after a failed try: {row['last_error']}",
            "mend the channel: they are tried again by themselves",
        )
    if not dead and not stuck and not failing:
        yield ok("messages", "none is dead, stuck or failing")
    if len(dead) > 5:
        yield warn(
            "messages",
            f"and {len(dead) - 5} more are dead",
            "`tapewatch sql \"FROM deliveries WHERE state = 'dead'\"`",
        )


def _landing(con: Connection, context: Context) -> Iterator[Finding]:
    known = {batch for (batch,) in con.execute("SELECT batch_id FROM ledger").fetchall()}
    waiting = landing.pending(context.landing, known)
    if waiting:
        yield warn("landing", f"{len(waiting)} batches are landed and not loaded, the oldest is {waiting[0].path.name}",
                   "the next minute loads them by itself: `tapewatch run minute`")  # fmt: skip
    else:
        yield ok("landing", "every landed batch is loaded")
