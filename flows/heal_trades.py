"""Missing trades that the ledger knows: asked of the source again, brought or admitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pipelines import trade_gaps
from pipelines.continuity import Continuity, Hole
from pipelines.ingest import Feed, Stores
from pipelines.market import naive, utc
from pipelines.refilling import refill
from pipelines.sources.refill import can_refill
from warehouse.gaps import open_trade_gaps, write_gap_events

PATIENCE_S = 30.0


class TradesHealed(NamedTuple):
    """Trades: missing before, come, given up."""

    missing: int = 0
    came: int = 0
    lost: int = 0


def heal_trades(
    stores: Stores, feed: Feed, streams: Path, clock: datetime, give_up_after: timedelta
) -> TradesHealed:
    """Asks for the open holes of a source by id, and tells the ledger what has become of them.

    streams: the folder of segments. clock: the source's, naive UTC. A hole that the venue answered without is lost
    once it is older than `give_up_after`; a venue that does not answer leaves it open.
    """
    name = feed.source.name
    if not can_refill(feed.source):
        return TradesHealed()
    before, state = _known(stores, name)
    if not before:
        return TradesHealed()
    done = refill(stores, feed.source, streams, state, utc(clock), PATIENCE_S)
    left = trade_gaps.told(state)
    waiting = {(h.symbol, h.after) for h in state.holes if (h.symbol, h.first) not in done.answered}
    lost = {key: row for key, row in left.items() if key not in waiting and row.to <= clock - give_up_after}
    events = [
        *trade_gaps.moved({key: row for key, row in before.items() if key not in lost}, left, "heal"),
        *trade_gaps.lost(lost, f"{name} answered without them"),
    ]
    now = naive(datetime.now(UTC))
    write_gap_events(stores.con, stores.location, trade_gaps.as_frame(events, name, stores.run_id, now))
    missing, still = (sum(row.missing for row in rows.values()) for rows in (before, left))
    return TradesHealed(missing, missing - still, sum(row.missing for row in lost.values()))


def _known(stores: Stores, source: str) -> tuple[dict[trade_gaps.Key, trade_gaps.Told], Continuity]:
    """The rows that are not settled, and the holes that they are; some of their trades may be there already."""
    rows, holes = {}, []
    for symbol, after, to, first, last, missing in open_trade_gaps(stores.con, source).rows():
        rows[symbol, after] = trade_gaps.Told(first, last, to, missing)
        holes.append(Hole(symbol, first, last, after, to, told=True))
    return rows, Continuity(holes=holes)
