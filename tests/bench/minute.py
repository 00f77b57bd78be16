"""`minute`: 500 symbols from payload to committed windows, indicators and anomalies, in a lake of 4 million bars.

Ours is the platform's own path: parse, gate, derive, write and commit. What a run does ahead of its minute (recall
what the one before it left; once, read it from the lake) and after it (leave it for the next) is told beside it. The
peer (tests.bench.minute_peer) does the same the way the usual tick scripts do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl

from flows.context import Context
from pipelines.derived import Derived
from pipelines.ingest import Stores, read_replies
from pipelines.landing import Landed, batch_id, batch_path
from pipelines.market import MINUTE, Interval, naive
from pipelines.minute import Work, past_at_hand, remember, wanted_of, work_out, write
from pipelines.recent.past import Past
from pipelines.sources.base import Reply
from pipelines.sources.binance import Binance
from tests.bench import lake, minute_peer
from tests.bench.framework import Measured, Size, measured, same, seconds
from tests.bench.tape import SOURCE, START, Tape
from warehouse.connect import transaction, writer
from warehouse.load import Delivery
from warehouse.stage import frame, literal

SYMBOLS = 500
HISTORY = 5 * lake.DAY + 825
"""Minutes before the first measured one: five sessions and the morning of the sixth, four million bars."""
OVERLAP = 5


class Ours:
    """The platform's minute on a lake."""

    def __init__(self, context: Context, con: duckdb.DuckDBPyConnection) -> None:
        self.context, self.con = context, con
        self.source = Binance()
        self.wanted = wanted_of(context.plan, [SOURCE])
        self.past: Past | None = None
        self.work = Work(Derived((), {}, *[pl.DataFrame()] * 4), (), (), None)
        self.spent: dict[str, list[float]] = {}

    def ahead(self) -> None:
        """What a run does while it waits for its minute."""
        with self._timed("recall"):
            self.past = past_at_hand(self.con, self.context.recent, self.wanted)

    def run(self, replies: Sequence[Reply], market_now: datetime, batch: str | None = None) -> None:
        """One minute: everything of it is committed when this returns. batch: its id, if not the minute's."""
        plan, location, now = self.context.plan, self.context.location, naive(market_now)
        stores = self.context.stores(self.con, "bench")
        with self._timed("parse"):
            delivery = self._read(stores, replies, market_now, batch or batch_id(SOURCE, "rest", market_now))
        with writer(location):
            with self._timed("derive"):
                self.work = work_out(stores, [delivery], {SOURCE: now}, plan, self.past)
            with self._timed("write"), transaction(self.con, location):
                write(self.con, self.work, plan, "bench", now)

    def after(self) -> None:
        """What it leaves for the next."""
        with self._timed("remember"), writer(self.context.location):
            remember(self.con, self.context.recent, self.work, self.past)

    def _read(self, stores: Stores, replies: Sequence[Reply], market_now: datetime, batch: str) -> Delivery:
        landed = Landed(batch_path(stores.landing, batch), batch, "", 0, len(replies))
        return read_replies(self.source, stores, landed, "rest", replies, market_now)[0]

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spent.setdefault(step, []).append(time.perf_counter() - started)


def run(size: Size) -> Measured:
    """Ten minutes in a row (quick) or sixty, the last one an hour's end; the peer does fewer of the same."""
    minutes, peer_minutes = (10, 1) if size.quick else (60, 15)
    last = HISTORY + 15
    first, peer_first = last - minutes, last - peer_minutes
    tape = Tape.of(SYMBOLS, last)
    kept = timedelta(hours=12) if size.quick else lake.TWO_DAYS
    context, con = lake.built(size.folder / "minute", tape, first, kept=kept)
    ours, peer = Ours(context, con), minute_peer.Peer(size.folder / "peer.sqlite")
    peer.fill(tape, peer_first)
    spent, theirs, cpu, their_cpu = [], [], [], []
    for minute in range(first, last):
        replies, now = tape.replies(minute + 1 - OVERLAP, minute + 1), tape.at(minute + 1)
        ours.ahead()
        spent += seconds(lambda: cpu.append(_cpu(lambda: ours.run(replies, now))), 1)[0]  # noqa: B023
        ours.after()
        if minute >= peer_first:  # side by side, so that a busy machine is busy for both
            theirs += seconds(lambda: their_cpu.append(_cpu(lambda: peer.run(replies, naive(now)))), 1)[0]  # noqa: B023
    differences = compare(con, peer, START + timedelta(minutes=peer_first), START + timedelta(minutes=last))
    con.close()
    took = {name: 1000 * float(np.median(values)) for name, values in ours.spent.items()}
    windows = sum(peer.spent["windows"]) / peer_minutes
    return measured(
        "minute",
        f"{SYMBOLS} symbols x {OVERLAP} bars, payload to committed 1m bars, 5m..1d windows, indicators, anomalies; "
        f"{SYMBOLS * first / 1e6:.1f} million bars stored",
        1000 * float(np.median(spent)), "ms",
        peer="json + pandas + SQLite", theirs=1000 * float(np.median(theirs)), agreement=not differences,
        note=(
            f"Median of {minutes} minutes, p95 {1000 * float(np.quantile(spent, 0.95)):.0f}, "
            f"max {1000 * max(spent):.0f} ms (parse {took['parse']:.0f}, derive {took['derive']:.0f}, write and "
            f"commit {took['write']:.0f}); before it {took['recall']:.0f} ms to recall the newest bars (once "
            f"{1000 * max(ours.spent['recall']):.0f} to read them), after it {took['remember']:.0f} to keep them; "
            f"CPU {1000 * float(np.median(cpu)):.0f} ms against "
            f"{1000 * float(np.median(their_cpu)):.0f}. Peer: median of {peer_minutes}, on each symbol's last "
            f"{minute_peer.TAIL} bars only; {1000 * windows:.0f} ms of it resample all windows every minute, as such "
            "systems do, where we build those that close. "
            + (f"DIFFERENT: {'; '.join(differences)}" if differences else
               "Compared: bars, closed windows, RSI, SMA, volume ratio.")
        ),
    )  # fmt: skip


def compare(
    con: duckdb.DuckDBPyConnection, peer: minute_peer.Peer, since: datetime, until: datetime
) -> list[str]:
    """What differs between our lake and the peer's tables in [since, until): nothing if they agree."""
    differences = []
    span = f"ts >= {literal(since)} AND ts < {literal(until)}"
    bars = frame(
        con, f"SELECT symbol, ts, open, high, low, close, volume FROM core.bars WHERE {span} ORDER BY ALL"
    )
    differences += _compared("bars", bars, peer.bars(since, until), 0.0)
    for interval in ("5m", "15m", "1h"):
        width = Interval.parse(interval).delta
        opened = since - width + MINUTE, until - width + MINUTE
        rows = frame(
            con,
            f"SELECT symbol, ts, open, high, low, close, volume FROM calc.windows WHERE interval = '{interval}' "
            f"AND ts >= {literal(opened[0])} AND ts < {literal(opened[1])} ORDER BY symbol, ts",
        )
        differences += _compared(interval, rows, peer.windows(interval, *opened), 1e-9)
    rows = frame(
        con,
        "SELECT symbol, ts, rsi_14, sma_20, volume_ratio FROM calc.indicators "
        f"WHERE interval = '1m' AND {span} ORDER BY symbol, ts",
    )
    # The peer's Wilder average starts with its tail: of the start 1e-8 is left after 250 bars.
    differences += _compared("indicators", rows, peer.indicators(since, until), 1e-5)
    return differences


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _compared(what: str, ours: pl.DataFrame, theirs: list[tuple[Any, ...]], tolerance: float) -> list[str]:
    if ours.height != len(theirs) or not theirs:
        return [f"{what}: {ours.height} rows against {len(theirs)}"]
    columns = list(zip(*theirs, strict=True))
    if ours["symbol"].to_list() != list(columns[0]):
        return [f"{what}: other series"]
    if [str(ts) for ts in ours["ts"].to_list()] != list(columns[1]):
        return [f"{what}: other times"]
    return [
        f"{what}.{name} differs"
        for name, values in zip(ours.columns[2:], columns[2:], strict=True)
        if not same(ours[name].to_numpy(), np.array(values, float), tolerance)
    ]
