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
import polars as pl

from pipelines import derive, ingest
from pipelines.derived import NEEDS_PAST, Derived, Plan, together
from pipelines.ingest import Stores
from pipelines.recent import past as memory
from pipelines.recent import reading
from pipelines.recent.advance import advance
from pipelines.recent.arrivals import Arrivals, arrivals
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
        found = reading.with_baselines(con, kept) if kept else reading.read(con, wanted)
    return memory.remember(folder, found) if found else None


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
    return memory.remember(folder, replace(work.later, mark=moved_on(con, past.mark)))


def _at_hand(
    con: duckdb.DuckDBPyConnection,
    deliveries: Sequence[Delivery],
    clocks: Mapping[str, datetime],
    plan: Plan,
    past: Past,
) -> Work:
    waiting = _waiting(con, past, deliveries)
    delivered = {delivery.batch.source: delivery for delivery in deliveries}
    if len(delivered) < len(deliveries) or not all(
        past.of(source) for source in delivered.keys() | clocks.keys()
    ):
        raise NotAtHandError("two batches of a source, or a source that was not there")
    found = [arrivals(group, delivered.get(group.source)) for group in past.groups]
    steps = [
        advance(group, new, clocks.get(group.source), plan)
        for group, new in zip(past.groups, found, strict=True)
    ]
    derived = Derived(
        batches=(*(delivery.batch.batch_id for delivery in deliveries), *waiting),
        clocks=dict(clocks),
        windows=together([step.windows for step in steps]),
        rows=together([step.rows for step in steps]),
        anomalies=together([step.anomalies for step in steps]),
        baselines=pl.DataFrame(),
        all_new=not any(new.behind.any() for new in found),
    )
    later = replace(past, groups=tuple(step.past for step in steps))
    return Work(derived, tuple(_change(delivery, found) for delivery in deliveries), (), later)


def _change(delivery: Delivery, found: Sequence[Arrivals]) -> Change:
    """What a delivery changes in all groups of its source. Raises NotAtHandError where some series is in none."""
    own = [new for new in found if new.source == delivery.batch.source]
    if sum(new.delivered for new in own) < delivery.bars.height:
        raise NotAtHandError("a series that is new")
    return Change(delivery, together([new.fresh for new in own]), together([new.changed for new in own]))


def _holds(con: duckdb.DuckDBPyConnection, past: Past) -> bool:
    """Whether the past is still the lake's, but for the books."""
    changed = changed_since(con, past.mark)
    return changed is not None and changed <= BOOKS


def _waiting(con: duckdb.DuckDBPyConnection, past: Past, deliveries: Sequence[Delivery]) -> list[str]:
    """Batches of others that no window waits for, such as trades: they are derived by being noted.

    Raises NotAtHandError where more has been written since, or a delivery may have been loaded before.
    """
    for batch in (delivery.batch for delivery in deliveries):
        if batch.kind != "rest" or batch.batch_id <= _newest(past, batch.source):
            raise NotAtHandError("a batch that may have been loaded before")
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


def _newest(past: Past, source: str) -> str:
    return max((group.newest for group in past.of(source)), default="")
