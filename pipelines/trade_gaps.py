"""Missing trades in the ledger of gaps: what a load has found, filled and given up, as events.

A hole is told once it was asked for in vain. It is known by its source, symbol and the time of the trade before it;
several at one moment are one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import polars as pl

from pipelines.continuity import Continuity, Hole
from warehouse.gaps import TRADE_GAP_SCHEMA

Key = tuple[str, datetime]


class Told(NamedTuple):
    """A row of the ledger: trades `first`..`last`, `missing` of them, before the trade at `to`."""

    first: int
    last: int
    to: datetime
    missing: int


class Event(NamedTuple):
    """What has become of a row; `origin` is who brought the last of its trades."""

    symbol: str
    after: datetime
    told: Told
    state: str
    reason: str
    origin: str | None = None


def ledgered(holes: Iterable[Hole]) -> dict[Key, Told]:
    """The rows that these holes make, by symbol and the time of the trade before."""
    rows: dict[Key, Told] = {}
    for hole in holes:
        new = Told(hole.first, hole.last, hole.before, hole.missing)
        old = rows.get((hole.symbol, hole.after), new._replace(missing=0))
        rows[hole.symbol, hole.after] = Told(
            min(old.first, new.first), max(old.last, new.last), max(old.to, new.to), old.missing + new.missing
        )
    return rows


def told(state: Continuity) -> dict[Key, Told]:
    """The rows that stand in the ledger."""
    return ledgered(hole for hole in state.holes if hole.told)


def tell(state: Continuity, refusal: Callable[[Hole], str | None]) -> Iterator[Event]:
    """Events for holes that were asked for in vain and are not in the ledger yet; the state knows after."""
    why = {
        (hole.symbol, hole.after): words for hole in state.holes if not hole.told and (words := refusal(hole))
    }
    state.holes = [replace(hole, told=hole.told or (hole.symbol, hole.after) in why) for hole in state.holes]
    for key, row in told(state).items():
        if key in why:
            yield Event(*key, row, "open", f"{row.missing} trades: {why[key]}")


def moved(before: dict[Key, Told], after: dict[Key, Told], origin: str) -> Iterator[Event]:
    """Events for rows of the ledger of which trades have come, all or a part."""
    for key, row in before.items():
        left = after[key].missing if key in after else 0
        if not left:
            yield Event(*key, row._replace(missing=0), "healed", "all trades have come", origin)
        elif left < row.missing:
            yield Event(*key, row._replace(missing=left), "healing", f"{left} trades are still missing")


def lost(rows: dict[Key, Told], words: str) -> Iterator[Event]:
    """Events for rows that are given up."""
    for key, row in rows.items():
        yield Event(*key, row, "lost", f"{row.missing} of {row.last - row.first + 1} trades: {words}")


def as_frame(events: Iterable[Event], source: str, run_id: str, now: datetime) -> pl.DataFrame:
    """TRADE_GAP_SCHEMA; now: naive UTC."""
    rows = [
        (
            source, one.symbol, one.after, one.told.to, 0, one.state, one.origin, one.reason, now, run_id, "trades",
            one.told.first, one.told.last, one.told.missing,
        )
        for one in events
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=TRADE_GAP_SCHEMA, orient="row")
