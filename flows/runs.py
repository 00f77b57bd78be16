"""A run's row in `runs`: written when it ends, whichever way it ends."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import duckdb

from flows.context import Context
from pipelines.market import naive, utc
from warehouse.clocks import answers
from warehouse.connect import transaction
from warehouse.stage import literals

log = logging.getLogger(__name__)

SAME_CLOCK = timedelta(minutes=3)
LANDED = "receive_to_landed"
"""The stage of `latency` that the rule about slow feeds judges."""


def own_id() -> str:
    """`cli-9f3c…`: the id of a run that Prefect knows nothing of."""
    return f"cli-{uuid4().hex[:16]}"


@dataclass
class Tally:
    """What a run has done so far; goes into its row."""

    rows_in: int = 0
    rows_loaded: int = 0
    rows_quarantined: int = 0
    detail: str | None = None


@contextmanager
def recorded(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    flow: str,
    scheduled: datetime | None = None,
) -> Iterator[Tally]:
    """Runs the body and records it as Completed, or as Failed with its error, which goes on to the caller.

    scheduled: when Prefect had planned it (aware UTC); None for a run from the command line.
    """
    started, cpu, tally = datetime.now(UTC), _cpu_s(), Tally()
    try:
        yield tally
    except BaseException as error:
        tally.detail = f"{type(error).__name__}: {error}"[:500]
        _write(con, context, run_id, flow, scheduled, started, "Failed", cpu, tally)
        raise
    _write(con, context, run_id, flow, scheduled, started, "Completed", cpu, tally)


def market_now(con: duckdb.DuckDBPyConnection, now: datetime) -> datetime:
    """The market's clock at `now` (aware UTC): ours where the sources agree with it, else the furthest of theirs."""
    clocks = [now if abs(clock - seen) < SAME_CLOCK else utc(clock) for clock, seen in answers(con).values()]
    return max(clocks, default=now)


def stage_of(stage: str, source: str) -> str:
    """The name under which `latency` has a stage of one source alone."""
    return f"{stage} {source}"


def _write(
    con: duckdb.DuckDBPyConnection, context: Context, run_id: str, flow: str, scheduled: datetime | None,
    started: datetime, state: str, cpu: float, tally: Tally,
) -> None:  # fmt: skip
    finished = datetime.now(UTC)
    row = (
        run_id, flow, naive(scheduled) if scheduled else None, naive(started), naive(finished), state,
        tally.rows_in, tally.rows_loaded, tally.rows_quarantined, None, _cpu_s() - cpu, tally.detail,
    )  # fmt: skip
    with transaction(con, context.location):
        con.execute(f"INSERT INTO ops.runs VALUES {literals(row)}")
    log.info("%s %s in %.1f s: %s", flow, state, (finished - started).total_seconds(), tally.detail or "")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
