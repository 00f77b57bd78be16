"""The minute's one transaction: what was delivered becomes windows, indicators and anomalies, and all of it commits.

Usually everything follows from the past at hand (`pipelines.recent`), and nothing has to be read. Where it does not,
the deliveries are loaded first, each in a transaction of its own, and the rest is derived from the lake.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from pipelines import derive, ingest
from pipelines.derived import NEEDS_PAST, Derived, Plan
from pipelines.ingest import Stores
from pipelines.recent import past as memory
from pipelines.recent import reading
from pipelines.recent.advance import advance
from pipelines.recent.arrivals import arrivals
from pipelines.recent.matrices import NotAtHandError
from pipelines.recent.past import Past
from pipelines.recent.reading import Wanted
from warehouse.changes import changed_since, moved_on
from warehouse.connect import snapshot
from warehouse.load import Change, Delivery, Loaded, write_changes
from warehouse.recent import unfinished

BOOKS = frozenset({"ledger", "derived"})
"""Tables that say what was loaded and derived; others write them without touching a bar, trades above all."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What a minute writes: what was derived, and the changes of the bars that are not loaded yet."""

    derived: Derived
    changes: tuple[Change, ...]
    loads: tuple[Loaded, ...]
    """What each delivery changed, where it has been loaded already."""
    later: Past | None
    """The past of the next minute, once this is committed."""


def wanted_of(plan: Plan, sources: Sequence[str]) -> Wanted:
    """What is to be kept at hand for these sources."""
    return Wanted(tuple(sources), plan.intervals, plan.params, NEEDS_PAST)


def past_at_hand(con: duckdb.DuckDBPyConnection, folder: Path, wanted: Wanted) -> Past | None:
    """The past ahead of a minute: what the run before left, else read from the lake; None if neither can be had."""
    with snapshot(con):
        kept = memory.recall(folder, wanted.digest)
        if kept and not _holds(con, kept):
            kept = None
        if kept and not reading.is_near_its_end(kept):
            return kept
        found = reading.with_baselines(con, kept, wanted) if kept else reading.read(con, wanted)
    if found:
        memory.remember(folder, found, kept)
    return found


def work_out(
    stores: Stores,
    deliveries: Sequence[Delivery],
    clocks: Mapping[str, datetime],
    plan: Plan,
    past: Past | None,
) -> Work:
    """Everything that follows from the deliveries; call it holding the writer's lock, before the transaction.

    clocks: polled source -> market time (naive UTC) up to which its minutes are over.
    """
    if past:
        try:
            with snapshot(stores.con):
                return _at_hand(stores.con, deliveries, clocks, plan, past)
        except NotAtHandError as reason:
            log.info("derived from the lake: %s", reason)
    loads = tuple(ingest.load(stores, delivery) for delivery in deliveries)
    return Work(derive.derive(stores.con, clocks, plan, derive.LIVE), (), loads, None)


def write(
    con: duckdb.DuckDBPyConnection, work: Work, plan: Plan, run_id: str, now: datetime
) -> tuple[Loaded, ...]:
    """Writes it, inside a transaction; what each delivery changed."""
    loads = tuple(write_changes(con, work.changes)) or work.loads
    derive.write(con, work.derived, plan, run_id, now)
    return loads


def remember(con: duckdb.DuckDBPyConnection, folder: Path, work: Work, past: Past | None) -> Past | None:
    """Keeps the past for the next run; after the commit, still holding the writer's lock."""
    if past is None or work.later is None:
        return None
    later = work.later.marked(moved_on(con, past.mark))
    memory.remember(folder, later, past)
    return later


def _at_hand(
    con: duckdb.DuckDBPyConnection,
    deliveries: Sequence[Delivery],
    clocks: Mapping[str, datetime],
    plan: Plan,
    past: Past,
) -> Work:
    waiting = _waiting(con, past, deliveries)
    found = arrivals(past, deliveries)
    batches = {delivery.batch.source: delivery.batch.batch_id for delivery in deliveries}
    derived, later = advance(past, found, batches, clocks, plan)
    derived = replace(derived, batches=(*derived.batches, *waiting))
    changes = tuple(
        Change(delivery, fresh, changed)
        for delivery, fresh, changed in zip(deliveries, found.fresh, found.changed, strict=True)
    )
    return Work(derived, changes, (), later)


def _holds(con: duckdb.DuckDBPyConnection, past: Past) -> bool:
    """Whether the past is still the lake's, but for the books."""
    changed = changed_since(con, past.mark)
    return changed is not None and changed <= BOOKS


def _waiting(con: duckdb.DuckDBPyConnection, past: Past, deliveries: Sequence[Delivery]) -> list[str]:
    """Batches of others that no window waits for, such as trades: they are derived by being noted.

    Raises NotAtHandError where more has been written since.
    """
    changed = changed_since(con, past.mark)
    if changed is None or not changed <= BOOKS:
        raise NotAtHandError("others have written since")
    if not changed:
        return []
    mine = [delivery.batch.batch_id for delivery in deliveries]
    waiting = unfinished(con, mine)
    if any(wanted or batch_id in mine for batch_id, wanted in waiting):
        raise NotAtHandError("others have loaded since")
    return [batch_id for batch_id, _ in waiting]
