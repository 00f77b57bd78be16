"""Missing trades brought back: known ids are struck off, the others fetched by id, landed and loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from pipelines import landing
from pipelines.continuity import Continuity, Hole
from pipelines.ingest import Stores
from pipelines.market import naive, utc
from pipelines.quality import gate
from pipelines.quality.contract import TRADES
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.sources.base import Reply, Source
from pipelines.sources.refill import REFILLS, fetch_pages, pages_of
from warehouse.load import Batch
from warehouse.trades import load_trade_batches, stored_ids

log = logging.getLogger(__name__)

REFILL_PAGES = 40
"""Pages of a thousand missing trades asked for in one run."""
REFILL_S = 3.0


@dataclass
class Refilled:
    """What one run fetched anew.

    answered: symbol and first id of what the venue answered; unanswered: symbol -> its words where it did not.
    """

    rows: int = 0
    quarantined: int = 0
    answered: set[tuple[str, int]] = field(default_factory=set)
    unanswered: dict[str, str] = field(default_factory=dict)

    def refusal(self, hole: Hole, source: str) -> str | None:
        """Why a hole is still there after it was asked for; None where it was not."""
        if (hole.symbol, hole.first) in self.answered:
            return f"{source} answered without them"
        return self.unanswered.get(hole.symbol)


def refill(
    stores: Stores,
    source: Source,
    folder: Path,
    state: Continuity,
    market_now: datetime | None,
    total_s: float = REFILL_S,
) -> Refilled:
    """Awaited holes that are none in the warehouse go; of the others a bounded part is fetched; `state` knows after.

    folder: the `streams` folder. total_s: how long the venue may take.
    """
    done = Refilled()
    if not state.awaited:
        return done
    _strike_known(stores, source.name, state)
    pages = pages_of(source, state.awaited, REFILL_PAGES)
    got = fetch_pages(source, pages, total_s)
    for failure in got.failures[:1]:
        log.warning("%s: missing trades were not fetched: %s", source.name, failure.detail)
    done.answered = {(page.symbol, page.first) for page in got.answered}
    if any(reply.ok for reply in got.replies):
        _fill(state, _load_replies(stores, source, folder, got.replies, market_now, done))
    done.unanswered = {failure.symbol: failure.detail[:160] for failure in got.failures}
    done.unanswered |= {
        reply.symbol: f"{source.name} {reply.symbol}: HTTP {reply.status}"
        for reply in got.replies
        if not reply.ok
    }
    return done


def _strike_known(stores: Stores, source: str, state: Continuity) -> None:
    """Takes out what the warehouse has: the state may be older than it, or another process brought it."""
    holes = state.awaited
    spans = pl.DataFrame(
        [(hole.symbol, hole.first, hole.last) for hole in holes],
        schema={"symbol": pl.String, "from_id": pl.Int64, "to_id": pl.Int64}, orient="row",
    )  # fmt: skip
    since, until = min(hole.after for hole in holes), max(hole.before for hole in holes)
    _fill(state, stored_ids(stores.con, source, spans, since, until))


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
    parsed = REFILLS[source.name].parse(replies)
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
