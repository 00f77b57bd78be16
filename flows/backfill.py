"""Backfill in Prefect: history of the configured series, chunked and resumable, beside the live minute."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID, uuid4

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field

from flows import history
from flows.brought import Brought
from flows.context import assemble, writing
from flows.run_names import run_name
from flows.times import moment
from warehouse.errors import TapewatchError

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time as it was typed: one that is none ends the run with a word about it, not with Prefect's about the parameter."""


@task(name="load history", retries=0)
def load_history(
    start: datetime, end: datetime | None, source: str | None, symbols: list[str]
) -> dict[str, int | list[str]] | State[Any]:
    """Every chunk of the span, newest first, then what follows from it."""
    context, log = assemble(), get_run_logger()
    artifact = cast(UUID, create_progress_artifact(progress=0.0, key="backfill", description="Backfill"))

    def show(done: int, total: int, _: str) -> None:
        update_progress_artifact(artifact_id=artifact, progress=round(100 * done / max(total, 1), 1))

    try:
        with writing(context) as con:
            brought = history.backfill(
                con, context, str(flow_run.id or uuid4()), start, end, source, symbols, progress=show
            )
    except TapewatchError as error:
        return Failed(message=str(error))
    for problem in brought.problems:
        log.warning(problem)
    for line in told(brought):
        log.info(line)
    create_table_artifact(
        key="history",
        table=table_of(brought),
        description=f"{brought.chunks_known} of {brought.chunks} chunks were there already",
    )
    return {name: value for name, value in vars(brought).items() if name not in ("silent", "by_source")}


def table_of(brought: Brought) -> list[dict[str, Any]]:
    """What came, a row a source."""
    names = ("bars loaded", "revised", "quarantined", "windows", "anomalies")
    return [
        {"source": source, **dict(zip(names, counts.values(), strict=True))}
        for source, counts in brought.by_source.items()
    ]


def told(brought: Brought) -> list[str]:
    """What came, in a line a source: `binance: 120 bars loaded, 0 revised, 0 quarantined, 24 windows, 0 anomalies`."""
    return [
        f"{row.pop('source')}: " + ", ".join(f"{count:,} {name}" for name, count in row.items())
        for row in table_of(brought)
    ]


def span_of(start: str, end: str | None) -> tuple[datetime, datetime | None]:
    """The times (aware UTC) that were typed; TapewatchError names the one that is none."""
    return moment(start, "start"), moment(end, "end") if end else None


@flow(name="backfill", log_prints=False, flow_run_name=run_name)
def backfill(
    start: Moment,
    end: Moment | None = None,
    source: str | None = None,
    symbols: list[str] | None = None,
) -> dict[str, int | list[str]] | State[Any]:
    """History of the configured series from their venues; running it again changes nothing.

    Args:
        start: First minute (UTC), such as 2026-11-01T00:00:00Z, or 7d for seven days ago.
        end: First minute that is not asked for (UTC); empty: up to now.
        source: Only this source, such as binance; empty: all of them.
        symbols: Only these symbols; empty: all configured ones.
    """
    try:
        since, until = span_of(start, end)
    except TapewatchError as error:
        return Failed(message=str(error))
    done: State[Any] = load_history(since, until, source, symbols or [], return_state=True)
    return Failed(message=done.message) if done.is_failed() else done.result()
