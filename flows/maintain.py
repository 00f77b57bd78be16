"""Every hour: what is past its days goes, files become few, the plain copy is renewed, dead runs are buried."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.collection import streams_folder
from flows.context import Context, assemble, writing
from flows.run_names import run_name
from flows.runs import recorded
from flows.scheduled import scheduled_start
from pipelines import landing, segments
from pipelines.market import naive, utc
from warehouse.clocks import market_clocks
from warehouse.compact import compact, expire
from warehouse.errors import TapewatchError
from warehouse.export import export_plain
from warehouse.retention import purge

log = logging.getLogger(__name__)

PLAIN_COPY = "tapewatch.duckdb"
LIMITS_S = {
    "minute": 45,
    "pairs": 240,
    "quality": 240,
    "heal": 300,
    "digest": 240,
    "daily": 900,
    "maintenance": 1800,
}
"""Each flow's time limit; a run that is Running longer lost its process."""
OTHER_LIMIT_S = 24 * 3600
SLACK_S = 120
OLD_RUNS_AT_ONCE = 200


@dataclass
class Maintained:
    """What was done; `problems` are steps that failed while the others went on."""

    rows_deleted: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    expired: dict[str, int] = field(default_factory=dict)
    landed_deleted: int = 0
    copied_rows: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def run_maintenance(
    context: Context,
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    now: datetime | None = None,
    scheduled: datetime | None = None,
) -> Maintained:
    """Retention, compaction, snapshots, landing zone, the plain copy, Prefect's own runs; each step by itself.

    now: the wall clock (aware UTC); facts of a market age by its own. Raises TapewatchError at the end with every
    step that failed.
    """
    at = utc(now or datetime.now(UTC))
    done = Maintained()
    with recorded(con, context, run_id, "maintenance", scheduled) as tally:
        for name, step in _steps(context, con, at, done):
            try:
                step()
            except Exception as error:
                log.exception("maintenance: %s failed", name)
                done.problems.append(f"{name}: {type(error).__name__}: {error}")
        tally.rows_in = sum(done.rows_deleted.values())
        tally.detail = f"{tally.rows_in} rows deleted, files {done.files}, {done.expired}, copy of {done.copied_rows} rows"
        if done.problems:
            raise TapewatchError(
                "maintenance: "
                + "; ".join(done.problems)
                + "; the other steps are done, the next run tries again"
            )
    return done


def _steps(
    context: Context, con: duckdb.DuckDBPyConnection, at: datetime, done: Maintained
) -> list[tuple[str, Callable[[], None]]]:
    """Deletes before compaction, which writes the deleted rows out; the copy last."""
    settings = context.settings
    archive = settings.data_dir / "archive"

    def retention() -> None:
        done.rows_deleted = purge(
            con, context.location, archive, market_clocks(con), naive(at), settings.retention
        )

    def compaction() -> None:
        done.files = asdict(compact(con, context.location))

    def expiry() -> None:
        keep = timedelta(days=settings.retention.snapshots_days)
        done.expired = asdict(expire(con, context.location, at, keep))

    def landing_zone() -> None:
        days, streams = settings.retention.landing_days, streams_folder(settings.data_dir)
        done.landed_deleted = (
            landing.expire(context.landing, days, at.date())
            + landing.expire(streams / "refilled", days, at.date())
            + segments.expire(streams, days, at.date())
        )

    def plain_copy() -> None:
        done.copied_rows = sum(export_plain(context.location, settings.data_dir / PLAIN_COPY).values())

    def prefect_runs() -> None:
        if settings.prefect.api_url or os.environ.get("PREFECT_API_URL"):
            done.runs = tend_prefect(at, timedelta(days=settings.retention.runs_days))

    return [
        ("retention", retention),
        ("compaction", compaction),
        ("snapshots", expiry),
        ("landing zone", landing_zone),
        ("plain copy", plain_copy),
        ("prefect runs", prefect_runs),
    ]


def tend_prefect(now: datetime, keep: timedelta) -> dict[str, int]:
    """Sets runs that outlived their limit to Crashed and deletes some of those older than `keep`; how many of each."""
    with get_client(sync_client=True) as client:
        return {"crashed": _reap(client, now), "deleted": _delete_old(client, now - keep)}


def is_stuck(flow_name: str, started: datetime, now: datetime) -> bool:
    """Whether a run of this flow cannot be alive any more."""
    limit = LIMITS_S.get(flow_name, OTHER_LIMIT_S)
    return utc(now) - utc(started) > timedelta(seconds=limit + SLACK_S)


def _reap(client: SyncPrefectClient, now: datetime) -> int:
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    stuck = 0
    for run in client.read_flow_runs(flow_run_filter=running, limit=OLD_RUNS_AT_ONCE):
        if run.start_time and is_stuck(_flow_name(client, run), run.start_time, now):
            message = "it ran longer than its time limit: its process is gone"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            stuck += 1
    return stuck


def _flow_name(client: SyncPrefectClient, run: FlowRun) -> str:
    return str(client.read_flow(run.flow_id).name)


def _delete_old(client: SyncPrefectClient, before: datetime) -> int:
    """A few hundred an hour: Prefect's SQLite takes no more beside its own work."""
    old = FlowRunFilter(start_time=FlowRunFilterStartTime.model_validate({"before_": before}))
    runs = client.read_flow_runs(flow_run_filter=old, sort=FlowRunSort.START_TIME_ASC, limit=OLD_RUNS_AT_ONCE)
    deleted = 0
    for run in runs:
        if run.state and run.state.is_final():
            try:
                client.delete_flow_run(run.id)
                deleted += 1
            except ObjectNotFound:  # the server's own clean-up was faster
                continue
    return deleted


@task(name="maintain")
def maintain(now: datetime | None) -> dict[str, Any]:
    """All steps of the upkeep, with a table of what each did."""
    context = assemble()
    with writing(context) as con:
        done = run_maintenance(context, con, str(flow_run.id or uuid4()), now, scheduled_start())
    rows = [{"table": table, "rows deleted": rows} for table, rows in sorted(done.rows_deleted.items())]
    create_table_artifact(
        key="maintenance",
        table=rows,
        description=f"Files {done.files}, expired {done.expired}, {done.copied_rows} rows in {PLAIN_COPY}",
    )
    return {"rows_deleted": sum(done.rows_deleted.values()), **done.files, **done.expired, **done.runs}


@flow(name="maintenance", timeout_seconds=1800, log_prints=False, flow_run_name=run_name)
def maintenance(now: datetime | None = None) -> dict[str, Any]:
    """Retention, compaction, the plain DuckDB copy, runs that lost their worker.

    Args:
        now: The wall clock (UTC) it runs for. Leave empty for now.
    """
    numbers: dict[str, Any] = maintain(utc(now) if now else None)
    get_run_logger().info("maintenance: %s", numbers)
    return numbers
