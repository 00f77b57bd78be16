"""`tapewatch status`: what runs, how far behind, and the last runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.cli.call import Injected
from flows.cli.lake import Connection, Row, context_of, feed_lags, rows
from flows.cli.tables import print_json, table
from flows.collection import status_of
from flows.context import Context, reading
from flows.prefect_api import PrefectApi
from flows.run_lock import holder_of
from flows.times import ago
from pipelines.market import naive
from pipelines.settings import Settings

RUNS = 10


def status(*, call: Injected) -> None:
    """What runs, each source's lag, and the last runs. Answers whether or not anything runs.

    Example: tapewatch status --json
    """
    context = context_of(call)
    now = datetime.now(UTC)
    found = platform(context.settings) | {"sources": [], "runs": []}
    found["collection"] = status_of(context.settings.data_dir)
    if context.location.exists:
        with reading(context) as con:
            found["sources"] = feed_lags(con, now)
            found["runs"] = _stored_runs(con)
    found["runs"] = last_runs(found["runs"], _prefect_runs(found["prefect"]))
    if call.json:
        print_json(found)
    else:
        _show(found, context, now)


def platform(settings: Settings) -> Row:
    """running, pid, and what the supervisor noted when it started: demo, started_at, prefect, site, children."""
    run = settings.data_dir / "run"
    process = holder_of(run / "tapewatch.lock")
    noted: dict[str, Any] = _read(run / "state.json") if process else {}
    return {
        "running": process is not None,
        "pid": process,
        "data_dir": str(settings.data_dir),
        "demo": noted.get("demo"),
        "started_at": noted.get("started_at"),
        "prefect": noted.get("prefect") or settings.prefect.api_url.removesuffix("/api") or None,
        "site": noted.get("site"),
        "children": noted.get("children", {}),
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # the platform is still starting
    return noted


def last_runs(stored: list[Row], prefect: list[Row]) -> list[Row]:
    """The runs that began last, the newest first: Prefect's word on their state, the warehouse's on what they did and how
    long that took. Prefect counts the start of the process as well: it is asked only where the warehouse has no row.

    stored: rows of `runs`.  prefect: Prefect's runs as `_prefect_runs` gives them, with the same ids.
    """
    known = {row["run_id"]: row for row in stored}
    found = {row["run_id"]: _together(known.get(row["run_id"], {}), row) for row in prefect}
    every = {**known, **found}.values()
    return [_complete(row) for row in sorted(every, key=lambda row: row["started_at"], reverse=True)[:RUNS]]


def _together(stored: Row, prefect: Row) -> Row:
    said = {name: value for name, value in prefect.items() if value is not None}
    timed = {name: stored[name] for name in ("started_at", "took_s") if stored.get(name) is not None}
    return {**stored, **said, **timed}


def _complete(row: Row) -> Row:
    names = (
        "run_id",
        "flow",
        "scheduled_for",
        "started_at",
        "state",
        "took_s",
        "rows_loaded",
        "rows_quarantined",
        "lag_s",
    )
    return {name: row.get(name) for name in names}


def _prefect_runs(url: str | None) -> list[Row]:
    """The runs that began last by Prefect's own word; none where no server answers."""
    if not url:
        return []
    api = PrefectApi(f"{url.rstrip('/')}/api")
    if not api.is_healthy():
        return []
    try:
        found, names = api.newest_runs(RUNS), api.deployment_names()
    except OSError:
        return []
    return [
        {
            "run_id": run["id"],
            "flow": names.get(str(run.get("deployment_id"))),
            "scheduled_for": _time(run.get("expected_start_time")),
            "started_at": _time(run["start_time"]),
            "took_s": run.get("total_run_time"),
            "state": run.get("state_name"),
        }
        for run in found
    ]


def _time(text: str | None) -> datetime | None:
    return naive(datetime.fromisoformat(text)) if text else None


def _stored_runs(con: Connection) -> list[Row]:
    return rows(
        con,
        "SELECT run_id, flow, scheduled_for, started_at, epoch(finished_at - started_at) AS took_s, state, "
        f"rows_loaded, rows_quarantined, lag_s FROM runs ORDER BY started_at DESC LIMIT {2 * RUNS}",
    )


def run_line(row: Row, now: datetime) -> Row:
    """A run in words: `minute  09:41  completed  2.3 s  15 rows  1.9 s`."""
    state = str(row["state"] or "").lower()
    is_on = state in ("running", "pending", "cancelling")
    took = (naive(now) - row["started_at"]).total_seconds() if is_on else row["took_s"]
    return {
        "flow": row["flow"],
        "scheduled": _clock(row["scheduled_for"], now),
        "began": _clock(row["started_at"], now, "%H:%M:%S"),
        "state": f"{state}, {row['rows_quarantined']} rows refused" if row["rows_quarantined"] else state,
        "took": f"{ago(took)} so far" if is_on else _seconds(took),
        "rows": row["rows_loaded"],
        "behind": _seconds(row["lag_s"]),
    }


def _clock(at: datetime | None, now: datetime, form: str = "%H:%M") -> str:
    if at is None:
        return "by hand"
    return at.strftime(form if at.date() == naive(now).date() else f"%d %b {form}")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s" if value < 60 else ago(value)


def _show(found: Row, context: Context, now: datetime) -> None:
    if found["running"]:
        kind = "SIMULATED DATA" if found["demo"] else "live" if found["started_at"] else "starting"
        print(
            f"running ({kind}) on {found['data_dir']}, process {found['pid']}, since {found['started_at'] or 'now'}"
        )
        for name in ("site", "prefect"):
            if found[name]:
                print(f"  {name:<8} {found[name]}")
    else:
        print(f"nothing runs on {found['data_dir']}; start it with `tapewatch up` or `tapewatch demo`")
    _show_collection(found["collection"])
    if not context.location.exists:
        print("no warehouse yet: nothing was loaded")
        return
    shown = [row | {"lag": ago(row["lag_s"]), "asked": ago(row["asked_s_ago"]), "market": _market(row)}
             for row in found["sources"]]  # fmt: skip
    table(shown, ("source", "state", "market", "newest_bar", "lag", "asked", "reason"), "\nSources")
    lines = [run_line(row, now) for row in found["runs"]]
    table(lines, ("flow", "scheduled", "began", "state", "took", "rows", "behind"), "\nLast runs")


def _show_collection(found: Row) -> None:
    told = f" ({found['reason']})" if found["reason"] else ""
    print(f"  collector {found['state']}{told}")
    lines = [
        {"source": name, "frames": line["frames"], "dropped": source["dropped"], "state": line["state"],
         "symbols": len(line["symbols"]), "heard_at": line["heard_at"], "reason": line["reason"] or source["problem"]}
        for name, source in found["sources"].items()
        for line in source["connections"]
    ]  # fmt: skip
    if lines:
        columns = ("source", "state", "symbols", "frames", "dropped", "heard_at", "reason")
        table(lines, columns, "\nStreams")


def _market(row: Row) -> str:
    return {True: "open", False: "closed", None: ""}[row["is_open"]]
