"""Every ten minutes: the inbox is taken in, open gaps are worked off or admitted, and history that is owed is loaded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.context import assemble, writing
from flows.heal_run import came_in_words
from flows.healing import run_heal
from flows.inbox import take_in
from flows.owed import load_owed
from flows.run_names import run_name
from flows.scheduled import scheduled_start
from pipelines.market import MINUTE, naive


@task(name="heal gaps")
def heal_gaps(give_up_minutes: int) -> dict[str, Any]:
    """Everything missing asked for by every way, with a table of the gaps it was about."""
    context = assemble()
    run_id = str(flow_run.id or uuid4())
    with writing(context) as con:
        done = run_heal(
            context, con, run_id, give_up_after=give_up_minutes * MINUTE, scheduled=scheduled_start()
        )
        rows = con.execute(
            "SELECT source, symbol, kind, from_ts, minutes, trades, state, origin, reason FROM gaps "
            "WHERE state IN ('open', 'healing') OR detected_at >= current_timestamp::TIMESTAMP - INTERVAL 1 DAY "
            "ORDER BY from_ts DESC LIMIT 100"
        ).fetchall()
    for problem in done.problems:
        get_run_logger().warning(problem)
    names = ("source", "symbol", "kind", "from", "minutes", "trades", "state", "healed by", "reason")
    create_table_artifact(
        key="gaps",
        table=[dict(zip(names, map(str, row), strict=True)) for row in rows],
        description=f"{done.missing} minutes missing, {came_in_words(done.came)}, {done.lost} lost, {done.still_open} open",
    )
    return vars(done)


@task(name="take in the inbox")
def inbox() -> dict[str, int]:
    """Files that lie in the inbox, imported once and moved to `done` or `failed`."""
    context = assemble()
    with writing(context) as con:
        taken = take_in(con, context)
    for name, problem in taken.failed.items():
        get_run_logger().warning("%s: %s", name, problem)
    return {name: brought.rows_loaded for name, brought in taken.done.items()}


@task(name="load owed history")
def owed_history() -> int:
    """The configured history of series that were added since the start, or whose venue was away at it; bars loaded."""
    context = assemble()
    with writing(context) as con:
        brought = load_owed(con, context, str(flow_run.id or uuid4()), naive(datetime.now(UTC)))
    for problem in sorted({problem for one in brought for problem in one.problems})[:5]:
        get_run_logger().warning(problem)
    return sum(one.rows_loaded for one in brought)


@flow(name="heal", timeout_seconds=300, log_prints=False, flow_run_name=run_name)
def heal(give_up_minutes: int = 60) -> dict[str, Any]:
    """The inbox taken in; missing minutes asked for again: of their source, its fallback venues, Binance's archives.

    Then a part of the configured history that nobody has asked for yet.

    Args:
        give_up_minutes: How old a gap must be before it may be called lost.
    """
    numbers: dict[str, Any] = {"inbox": inbox(), **heal_gaps(give_up_minutes)}
    numbers["history"] = owed_history()
    get_run_logger().info("heal: %s", numbers)
    return numbers
