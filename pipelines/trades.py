"""Trades into the warehouse: sealed segments once, holes by id from REST, minutes from trades where no kline came."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines import continuity, landing, segments
from pipelines.continuity import Continuity, Hole
from pipelines.ingest import Stores
from pipelines.market import MINUTE, naive, utc
from pipelines.quality import gate
from pipelines.quality.contract import TRADES
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.segments import Sealed, Segment
from pipelines.sources.agg_trades import agg_trades_to_frame
from pipelines.sources.base import Reply, Source
from pipelines.sources.refill import can_refill, fetch_pages, pages_of
from pipelines.sources.streams import Stream
from warehouse.build import trade_minutes
from warehouse.load import Batch, Delivery
from warehouse.trades import load_trade_batches, newest_trades, stored_ids

log = logging.getLogger(__name__)

AT_ONCE = 500_000
"""Frames of one transaction: what a minute of a busy feed holds; more is left by a long outage only."""
REFILL_PAGES = 40
"""Pages of a thousand missing trades asked for in one run."""
REFILL_S = 3.0
WATCHED = timedelta(days=1)
"""How far back a lost note of the ids begins anew."""
OWN = "-minutes"
"""How the id of a batch ends whose bars were made of trades."""


@dataclass
class TradesLoaded:
    """What one run did for one source. `newest` is the time (naive UTC) of the newest trade known."""

    source: str
    segments: int = 0
    frames: int = 0
    rows_new: int = 0
    rows_quarantined: int = 0
    refilled: int = 0
    dropped: int = 0
    newest: datetime | None = None
    open_holes: int = 0
    missing: int = 0
    lost: list[Hole] = field(default_factory=list)
    landing_ms: list[float] = field(default_factory=list)
    """Receive to landed, p50 and p99 of each segment's batches as its collector measured them."""
    state: Continuity = field(default_factory=Continuity)


def load_trades(
    stores: Stores,
    stream: Stream,
    source: Source,
    folder: Path,
    market_now: datetime | None,
    keep: timedelta = timedelta(days=7),
) -> TradesLoaded:
    """Everything sealed of this stream into `trades`, and missing ids from the venue's REST.

    folder: the `streams` folder. market_now: the source's clock, None where it was not told. keep: holes that are
    older are forgotten. Nothing is raised for a segment that cannot be read: it is set aside.
    """
    done = TradesLoaded(stream.name)
    note = folder / f"{stream.name}.ids.json"
    waiting = segments.pending(folder, stream.name)
    noted = continuity.load(note) if can_refill(source) else None
    if not waiting and (noted is None or not noted.holes):
        done.state = noted or done.state
        return done
    state = noted or _begun(stores, stream.name, waiting, can_refill(source))
    while group := _take_group(folder, waiting):
        trades = _load_group(stores, stream, folder, group, market_now, done)
        if can_refill(source):
            state.take(trades)
    if can_refill(source):
        _refill(stores, source, folder, state, market_now, done)
        _forget(state, keep, done)
        continuity.save(note, state)
    done.state = state
    done.open_holes, done.missing = len(state.holes), sum(hole.missing for hole in state.holes)
    _tell(done)
    return done


def minutes_of_trades(
    stores: Stores, source: str, state: Continuity, since: datetime, until: datetime
) -> Delivery | None:
    """Bars of [since, until) (naive UTC) out of trades, where the venue's own have not come; None if there are none.

    Only of minutes whose trades are all known; they are of origin `stream`, and a kline that comes later corrects
    them as it corrects any bar. What another venue lent for such a minute gives way to the venue's own trades.
    """
    bars = trade_minutes(stores.con, source, since, until, OWN)
    whole = [bars.filter(_is_whole(state, symbol)) for symbol in bars["symbol"].unique(maintain_order=True)]
    kept = pl.concat(whole) if whole else bars
    if kept.is_empty():
        return None
    known_at = naive(datetime.now(UTC))
    batch_id = landing.batch_id(source, "stream", until, f"{known_at:%S%f}{OWN}")
    batch = Batch(batch_id, source, "stream", stores.run_id, known_at, rows_in=kept.height)
    # A venue's own sums have eight decimals: with them a minute that comes by REST as well is no correction.
    exact = kept.with_columns(pl.col("volume", "turnover").round(8))
    return Delivery(batch, exact, pl.DataFrame(schema=QUARANTINE_SCHEMA))


def _begun(stores: Stores, source: str, waiting: Sequence[Sealed], consecutive: bool) -> Continuity:
    """The state where no note of it is left: the newest stored trades of the day before the first segment."""
    if not consecutive or not waiting:
        return Continuity()
    began = datetime.strptime(waiting[0].batch_id.split("-")[2], "%Y%m%dT%H%M")  # noqa: DTZ007 - UTC
    return continuity.begun(newest_trades(stores.con, source, began - WATCHED))


def _take_group(folder: Path, waiting: list[Sealed]) -> list[tuple[Sealed, Segment]]:
    """The next segments that fit one transaction, taken off the list; one that cannot be read is set aside."""
    group: list[tuple[Sealed, Segment]] = []
    frames = 0
    while waiting and (not group or frames < AT_ONCE):
        sealed = waiting.pop(0)
        try:
            segment = segments.read(sealed.path)
        except segments.SegmentError as error:
            log.error("%s", error)
            sealed.path.rename(sealed.path.with_suffix(".corrupt"))
            continue
        frames += len(segment.frames)
        group.append((sealed, segment))
    return group


def _load_group(
    stores: Stores,
    stream: Stream,
    folder: Path,
    group: list[tuple[Sealed, Segment]],
    market_now: datetime | None,
    done: TradesLoaded,
) -> pl.DataFrame:
    """Parses, gates and loads the segments in one transaction; returns the accepted trades."""
    known_at = naive(datetime.now(UTC))
    totals = _totals_before(stream, folder, group[0][0])
    accepted: list[pl.DataFrame] = []
    refused: list[pl.DataFrame] = [pl.DataFrame(schema=QUARANTINE_SCHEMA)]
    batches: list[Batch] = []
    for sealed, segment in group:
        parsed = stream.parse(segment.frames, totals)
        totals |= stream.totals(segment.frames)
        trades = parsed.trades.with_columns(batch_id=pl.lit(sealed.batch_id))
        gated = gate.split(trades, TRADES, _clock(market_now, parsed.trades, known_at))
        accepted.append(gated.accepted.drop("frame"))
        stamp = (stream.name, stores.run_id, sealed.batch_id, known_at)
        odd = gated.quarantined.with_columns(
            payload=pl.Series([_text(segment.frames[n]) for n in gated.quarantined["frame"]], dtype=pl.String)
        )
        refused += [to_quarantine(rows, *stamp) for rows in (odd, parsed.rejects) if rows.height]
        batches.append(
            Batch(
                sealed.batch_id, stream.name, "stream", stores.run_id, known_at,
                rows_in=parsed.trades.height + parsed.rejects.height,
                sha256=segments.digest(sealed.path), path=sealed.path.name,
            )
        )  # fmt: skip
        _note(done, segment)
    trades, quarantined = pl.concat(accepted), pl.concat(refused)
    loaded = load_trade_batches(
        stores.con, stores.location, batches, trades, quarantined, dict(stores.calendars)
    )
    for sealed, _ in group:
        segments.put_away(folder, sealed)
    done.segments += len(group)
    done.rows_new += sum(one.rows_new for one in loaded)
    done.rows_quarantined += sum(one.rows_quarantined for one in loaded)
    newest = trades["ts"].max()
    if isinstance(newest, datetime):
        done.newest = max(newest, done.newest or newest)
    return trades


def _totals_before(stream: Stream, folder: Path, first: Sealed) -> dict[str, float]:
    """The running totals ahead of a segment: those at the end of the one loaded before it, if it is of that day."""
    if not stream.totals_are_told:
        return {}
    day = first.batch_id.split("-")[2][:8]
    shelf = folder / segments.LOADED / stream.name / f"dt={day[:4]}-{day[4:6]}-{day[6:]}"
    earlier = [path for path in sorted(shelf.glob("*")) if path.name < first.path.name]
    for path in reversed(earlier):
        try:
            if found := stream.totals(segments.read(path).frames):
                return found
        except segments.SegmentError as error:
            log.warning("%s", error)
    return {}


def _refill(
    stores: Stores,
    source: Source,
    folder: Path,
    state: Continuity,
    market_now: datetime | None,
    done: TradesLoaded,
) -> None:
    """Holes that are none in the warehouse go; of the others a bounded part is fetched."""
    if not state.holes:
        return
    spans = pl.DataFrame(
        [(hole.symbol, hole.first, hole.last) for hole in state.holes],
        schema={"symbol": pl.String, "from_id": pl.Int64, "to_id": pl.Int64}, orient="row",
    )  # fmt: skip
    since, until = min(hole.after for hole in state.holes), max(hole.before for hole in state.holes)
    _fill(state, stored_ids(stores.con, source.name, spans, since, until))
    if not state.holes:
        return
    pages = pages_of(state.holes, REFILL_PAGES)
    replies, failures = fetch_pages(source, pages, REFILL_S)
    for failure in failures[:1]:
        log.warning("%s: missing trades were not fetched: %s", source.name, failure.detail)
    answered = {(reply.symbol, int(reply.params["fromId"])) for reply in replies if reply.ok}
    if answered:
        _fill(state, _load_replies(stores, source, folder, replies, market_now, done))
    asked = [hole for hole, first, _ in pages if (hole.symbol, first) in answered and first == hole.first]
    done.lost += state.tried(asked)


def _fill(state: Continuity, trades: pl.DataFrame) -> None:
    for (symbol,), rows in trades.partition_by("symbol", as_dict=True).items():
        state.fill(str(symbol), rows["trade_id"].to_list())


def _load_replies(
    stores: Stores,
    source: Source,
    folder: Path,
    replies: Sequence[Reply],
    market_now: datetime | None,
    done: TradesLoaded,
) -> pl.DataFrame:
    """Refetched trades, landed and loaded like any others, of origin `heal`; returns those accepted."""
    known_at = naive(datetime.now(UTC))
    batch_id = landing.batch_id(source.name, "heal", known_at, f"{known_at:%S%f}")
    landed = landing.write(folder / "refilled", batch_id, replies)
    parsed = agg_trades_to_frame(replies)
    trades = parsed.trades.with_columns(batch_id=pl.lit(batch_id))
    gated = gate.split(trades, TRADES, _clock(market_now, trades, known_at))
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
    done.refilled += loaded.rows_new
    done.rows_quarantined += loaded.rows_quarantined
    return gated.accepted.select("symbol", "trade_id")


def _forget(state: Continuity, keep: timedelta, done: TradesLoaded) -> None:
    newest = max((found.at for found in state.reached.values()), default=None)
    if newest is not None:
        done.lost += state.forget(newest - keep)


def _is_whole(state: Continuity, symbol: str) -> pl.Expr:
    """Rows of the symbol whose minute lies in what is known, and in no hole."""
    span = state.whole_minutes(symbol)
    if span is None:
        return pl.lit(False)
    known = (pl.col("symbol") == symbol) & (pl.col("ts") >= span[0]) & (pl.col("ts") < span[1])
    for hole in state.holes:
        if hole.symbol == symbol:
            known &= (pl.col("ts") > hole.before) | (pl.col("ts") + MINUTE <= hole.after)
    return known


def _clock(market_now: datetime | None, trades: pl.DataFrame, known_at: datetime) -> datetime:
    """The source's clock; where it was not told, the newest trade's own time."""
    if market_now is not None:
        return market_now
    newest = trades["ts"].max()
    return utc(newest if isinstance(newest, datetime) else known_at)


def _note(done: TradesLoaded, segment: Segment) -> None:
    done.frames += len(segment.frames)
    done.dropped += int(segment.seal.get("dropped", 0))
    waits = segment.seal.get("receive_to_landed_ms", {})
    if waits.get("n"):
        done.landing_ms += [float(waits["p50"]), float(waits["p99"])]


def _tell(done: TradesLoaded) -> None:
    log.info(
        "%s: %d trades of %d frames in %d segments, %d refetched, %d quarantined, %d missing in %d holes, %d dropped",
        done.source, done.rows_new, done.frames, done.segments, done.refilled, done.rows_quarantined,
        done.missing, done.open_holes, done.dropped,
    )  # fmt: skip
    for hole in done.lost:
        log.warning(
            "%s %s: trades %d..%d (%s to %s) are lost: the venue gives them no more",
            done.source, hole.symbol, hole.first, hole.last, hole.after, hole.before,
        )  # fmt: skip


def _text(frame: bytes) -> str:
    return frame.decode("utf-8", "backslashreplace")
