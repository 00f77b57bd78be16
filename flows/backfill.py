"""Backfill in Prefect: history of the configured series, chunked and resumable, beside the live minute."""

from __future__ import annotations

from datetime import datetime
from typing import cast
from uuid import UUID, uuid4

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from flows import history
from flows.context import assemble, writing
from flows.run_names import run_name


@task(name="load history", retries=0)
def load_history(
    start: datetime, end: datetime | None, source: str | None, symbols: list[str]
) -> dict[str, int | list[str]]:
    """Every chunk of the span, newest first, then what follows from it."""
    context = assemble()
    artifact = cast(UUID, create_progress_artifact(progress=0.0, key="backfill", description="Backfill"))

    def show(done: int, total: int, _: str) -> None:
        update_progress_artifact(artifact_id=artifact, progress=round(100 * done / max(total, 1), 1))

    with writing(context) as con:
        brought = history.backfill(
            con, context, str(flow_run.id or uuid4()), start, end, source, symbols, progress=show
        )
    for problem in brought.problems:
        get_run_logger().warning(problem)
    return vars(brought)


@flow(name="backfill", log_prints=False, flow_run_name=run_name)
def backfill(
    start: datetime,
    end: datetime | None = None,
    source: str | None = None,
    symbols: list[str] | None = None,
) -> dict[str, int | list[str]]:
    """History of the configured series from their venues; running it again changes nothing.

    Args:
        start: First minute (UTC), such as 2026-11-01T00:00:00Z.
        end: First minute that is not asked for (UTC); empty: up to now.
        source: Only this source, such as binance; empty: all of them.
        symbols: Only these symbols; empty: all configured ones.
    """
    return load_history(start, end, source, symbols or [])
