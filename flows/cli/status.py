"""`tapewatch status`: what runs, how far behind, and the last runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.cli.call import Injected
from flows.cli.lake import Connection, Row, context_of, feed_lags, rows
from flows.cli.tables import print_json, table
from flows.cli.times import ago
from flows.context import Context, reading
from flows.prefect_api import PrefectApi
from flows.run_lock import holder_of
from pipelines.settings import Settings

RUNS = 10


def status(*, call: Injected) -> None:
    """What runs, each source's lag, and the last runs. Answers whether or not anything runs.

    Example: tapewatch status --json
    """
    context = context_of(call)
    now = datetime.now(UTC)
    found = platform(context.settings) | {"sources": [], "runs": []}
    if context.location.exists:
        with reading(context) as con:
            found["sources"] = feed_lags(con, now)
            found["runs"] = _stored_runs(con)
    found["runs"] = _prefect_runs(found["prefect"]) or found["runs"]
    if call.json:
        print_json(found)
    else:
        _show(found, context)


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


def _prefect_runs(url: str | None) -> list[Row]:
    """The runs that began last by Prefect's own word; none where no server answers."""
    if not url:
        return []
    api = PrefectApi(f"{url.rstrip('/')}/api")
    if not api.is_healthy():
        return []
    try:
        found = api.newest_runs(RUNS)
    except OSError:
        return []
    return [
        {
            "run_id": run["id"],
            "flow": run.get("deployment_name") or run["name"],
            "scheduled_for": run.get("expected_start_time"),
            "started_at": run.get("start_time"),
            "took_s": run.get("total_run_time"),
            "state": run.get("state_name"),
            "rows_loaded": None,
            "lag_s": None,
        }
        for run in found
    ]


def _stored_runs(con: Connection) -> list[Row]:
    return rows(
        con,
        "SELECT run_id, flow, scheduled_for, started_at, epoch(finished_at - started_at) AS took_s, state, "
        f"rows_loaded, rows_quarantined, lag_s FROM runs ORDER BY started_at DESC LIMIT {RUNS}",
    )


def _show(found: Row, context: Context) -> None:
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
    if not context.location.exists:
        print("no warehouse yet: nothing was loaded")
        return
    shown = [row | {"lag": ago(row["lag_s"]), "asked": ago(row["asked_s_ago"]), "market": _market(row)}
             for row in found["sources"]]  # fmt: skip
    table(shown, ("source", "state", "market", "newest_bar", "lag", "asked", "reason"), "\nSources")
    table(found["runs"], ("flow", "scheduled_for", "state", "took_s", "rows_loaded", "lag_s"), "\nLast runs")


def _market(row: Row) -> str:
    return {True: "open", False: "closed", None: ""}[row["is_open"]]
