"""Streamed trades into the warehouse: each sealed segment once, then what is missing between them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines import continuity, segments, trade_gaps
from pipelines.continuity import Continuity, Hole
from pipelines.ingest import Stores
from pipelines.market import naive
from pipelines.quality import gate
from pipelines.quality.contract import TRADES
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.refilling import clock_of, refill
from pipelines.segment_format import Segment
from pipelines.segments import Sealed
from pipelines.sources.base import Source
from pipelines.sources.refill import can_refill
from pipelines.sources.streams import Stream
from warehouse.gaps import write_gap_events
from warehouse.load import Batch
from warehouse.trades import load_trade_batches, newest_trades

log = logging.getLogger(__name__)

AT_ONCE = 500_000
"""Frames of one transaction: what a minute of a busy feed holds; more is left by a long outage only."""
WATCHED = timedelta(days=1)
"""How far back a lost note of the ids begins anew."""


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
    given_up: list[Hole] = field(default_factory=list)
    """Holes that the venue has answered without often enough; healing asks on."""
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
    before = trade_gaps.told(state)
    while group := _take_group(folder, waiting):
        trades = _load_group(stores, stream, folder, group, market_now, done)
        if can_refill(source):
            state.take(trades)
    if can_refill(source):
        _refill(stores, source, folder, state, before, market_now, keep, done)
        continuity.save(note, state)
    done.state = state
    done.open_holes, done.missing = len(state.holes), sum(hole.missing for hole in state.holes)
    _tell(done)
    return done


def _refill(
    stores: Stores,
    source: Source,
    folder: Path,
    state: Continuity,
    before: dict[trade_gaps.Key, trade_gaps.Told],
    market_now: datetime | None,
    keep: timedelta,
    done: TradesLoaded,
) -> None:
    """Asks for what is missing and tells the ledger what has become of it; `before` is what stood there."""
    streamed = trade_gaps.told(state)
    again = refill(stores, source, folder, state, market_now)
    done.refilled, done.rows_quarantined = again.rows, done.rows_quarantined + again.quarantined
    done.given_up = state.tried(again.answered)
    forgotten = state.forget(max(found.at for found in state.reached.values()) - keep) if state.holes else []
    # What was given up is healing's to settle.
    gone = trade_gaps.ledgered(hole for hole in forgotten if hole.told and hole.is_awaited)
    events = [
        *trade_gaps.lost(gone, f"older than the {keep.days} days that trades are kept"),
        *trade_gaps.moved(before, streamed, "stream"),
        *trade_gaps.moved(
            {key: row for key, row in streamed.items() if key not in gone}, trade_gaps.told(state), "heal"
        ),
        *trade_gaps.tell(state, lambda hole: again.refusal(hole, source.name)),
    ]
    now = naive(datetime.now(UTC))
    write_gap_events(
        stores.con, stores.location, trade_gaps.as_frame(events, source.name, stores.run_id, now)
    )


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
        gated = gate.split(trades, TRADES, clock_of(market_now, parsed.trades, known_at))
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
    for hole in done.given_up:
        log.warning(
            "%s %s: trades %d..%d (%s to %s) do not come: the venue answers without them",
            done.source, hole.symbol, hole.first, hole.last, hole.after, hole.before,
        )  # fmt: skip


def _text(frame: bytes) -> str:
    return frame.decode("utf-8", "backslashreplace")
