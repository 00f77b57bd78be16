"""The minute's step for streamed trades: what the collector has sealed goes into the warehouse."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from flows.collection import streams_folder
from flows.walk import Run
from pipelines import segments
from pipelines.ingest import Feed, Ingested
from pipelines.market import floor_minute, utc
from pipelines.trade_minutes import minutes_of_trades
from pipelines.trades import TradesLoaded, load_trades
from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)

BARS_REACH = timedelta(hours=1)
"""How far back minutes are made of trades while the venue's klines do not come."""


def load_streamed(run: Run, feeds: Sequence[Feed]) -> list[TradesLoaded]:
    """Sealed segments of every streaming source into `trades`; where its klines failed, minutes from trades.

    A stream that cannot be loaded stops nobody: its segments wait for the next run.
    """
    streams = {stream.name: stream for stream, _ in run.context.streams()}
    folder = streams_folder(run.context.settings.data_dir)
    done = []
    for feed in feeds:
        stream = streams.get(feed.source.name)
        if stream is None:
            continue
        started = time.perf_counter()
        _seal_for_the_dead(folder)
        at, asked = _answer(run, feed)
        keep = timedelta(days=run.context.settings.retention.trades_days)
        try:
            stores = run.context.stores(run.con, run.run_id)
            loaded = load_trades(
                stores, stream, feed.source, folder, asked.market_now if asked else None, keep
            )
            if asked and asked.state in ("failed", "fallback"):
                run.ingested[at] = _with_minutes(run, feed, asked, loaded)
        except (TapewatchError, OSError) as error:
            log.error("%s: streamed trades are not loaded: %s", stream.name, error)
            continue
        run.took_ms.setdefault("load trades", []).append((time.perf_counter() - started) * 1000)
        run.took_ms.setdefault("stream_to_landed", []).extend(loaded.landing_ms)
        done.append(loaded)
    return done


def _seal_for_the_dead(folder: Path) -> None:
    """What a dead collector left open is sealed here, if none has come to do it."""
    try:
        with segments.owned(folder):
            segments.seal_leftovers(folder)
    except segments.SegmentError:
        return


def _answer(run: Run, feed: Feed) -> tuple[int, Ingested | None]:
    """Where in the run, and what, the source's REST gave this minute."""
    found = [(at, one) for at, one in enumerate(run.ingested) if one.source == feed.source.name]
    return found[-1] if found else (-1, None)


def _with_minutes(run: Run, feed: Feed, asked: Ingested, loaded: TradesLoaded) -> Ingested:
    """The answer of a source whose klines failed, made good by its trades: their newest time is its clock."""
    newest = max((found.at for found in loaded.state.reached.values()), default=None)
    if newest is None:
        return asked
    until = floor_minute(newest)
    stores = run.context.stores(run.con, run.run_id)
    made = minutes_of_trades(stores, feed.source.name, loaded.state, until - BARS_REACH, until)
    if made is None:
        return asked
    lent = [
        replace(one, bars=one.bars.join(made.bars, on=["source", "symbol", "ts"], how="anti"))
        for one in asked.deliveries
    ]
    return replace(
        asked,
        state="partial" if asked.state == "failed" else asked.state,
        reason=f"{made.bars.height} minutes made of streamed trades: {asked.reason}",
        market_now=asked.market_now or utc(newest),
        until=asked.until or utc(until),
        deliveries=(*lent, made),
    )
