"""Missing trades brought back: known ids are struck off, the others fetched by id, landed and loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines import landing
from pipelines.continuity import Continuity, Hole
from pipelines.ingest import Stores
from pipelines.market import naive, utc
from pipelines.quality import gate
from pipelines.quality.contract import TRADES
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.sources.agg_trades import agg_trades_to_frame
from pipelines.sources.base import Reply, Source
from pipelines.sources.refill import fetch_pages, pages_of
from warehouse.load import Batch
from warehouse.trades import load_trade_batches, stored_ids

log = logging.getLogger(__name__)

REFILL_PAGES = 40
"""Pages of a thousand missing trades asked for in one run."""
REFILL_S = 3.0


@dataclass
class Refilled:
    """What one run fetched anew, and the holes it gave up."""

    rows: int = 0
    quarantined: int = 0
    lost: list[Hole] = field(default_factory=list)


def refill(
    stores: Stores,
    source: Source,
    folder: Path,
    state: Continuity,
    market_now: datetime | None,
    keep: timedelta,
) -> Refilled:
    """Holes that are none in the warehouse go; of the others a bounded part is fetched, by id; `state` knows after.

    folder: the `streams` folder. Holes older than `keep` before the newest trade are given up.
    """
    done = Refilled()
    if not state.holes:
        return done
    spans = pl.DataFrame(
        [(hole.symbol, hole.first, hole.last) for hole in state.holes],
        schema={"symbol": pl.String, "from_id": pl.Int64, "to_id": pl.Int64}, orient="row",
    )  # fmt: skip
    since, until = min(hole.after for hole in state.holes), max(hole.before for hole in state.holes)
    _fill(state, stored_ids(stores.con, source.name, spans, since, until))
    if not state.holes:
        return done
    pages = pages_of(state.holes, REFILL_PAGES)
    replies, failures = fetch_pages(source, pages, REFILL_S)
    for failure in failures[:1]:
        log.warning("%s: missing trades were not fetched: %s", source.name, failure.detail)
    answered = {(reply.symbol, int(reply.params["fromId"])) for reply in replies if reply.ok}
    if answered:
        _fill(state, _load_replies(stores, source, folder, replies, market_now, done))
    asked = [hole for hole, first, _ in pages if (hole.symbol, first) in answered and first == hole.first]
    newest = max(found.at for found in state.reached.values())
    done.lost = [*state.tried(asked), *state.forget(newest - keep)]
    return done


def _fill(state: Continuity, trades: pl.DataFrame) -> None:
    for (symbol,), rows in trades.partition_by("symbol", as_dict=True).items():
        state.fill(str(symbol), rows["trade_id"].to_list())


def _load_replies(
    stores: Stores,
    source: Source,
    folder: Path,
    replies: Sequence[Reply],
    market_now: datetime | None,
    done: Refilled,
) -> pl.DataFrame:
    """Refetched trades, landed and loaded like any others, of origin `heal`; returns those accepted."""
    known_at = naive(datetime.now(UTC))
    batch_id = landing.batch_id(source.name, "heal", known_at, f"{known_at:%S%f}")
    landed = landing.write(folder / "refilled", batch_id, replies)
    parsed = agg_trades_to_frame(replies)
    trades = parsed.trades.with_columns(batch_id=pl.lit(batch_id))
    gated = gate.split(trades, TRADES, clock_of(market_now, trades, known_at))
    refused = [
        to_quarantine(rows, source.name, stores.run_id, batch_id, known_at)
        for rows in (gated.quarantined, parsed.rejects)
        if rows.height
    ]
    batch = Batch(
        batch_id, source.name, "heal", stores.run_id, known_at,
        parsed.trades.height + parsed.rejects.height, landed.sha256, landed.path.name,
    )  # fmt: skip
    quarantined = pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *refused])
    (loaded,) = load_trade_batches(
        stores.con, stores.location, [batch], gated.accepted, quarantined, dict(stores.calendars)
    )
    done.rows += loaded.rows_new
    done.quarantined += loaded.rows_quarantined
    return gated.accepted.select("symbol", "trade_id")


def clock_of(market_now: datetime | None, trades: pl.DataFrame, known_at: datetime) -> datetime:
    """The source's clock; where it was not told, the newest trade's own time."""
    if market_now is not None:
        return market_now
    newest = trades["ts"].max()
    return utc(newest if isinstance(newest, datetime) else known_at)
