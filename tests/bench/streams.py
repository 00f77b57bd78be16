"""`ingest_landed` and `ingest_latency_p99_ms`: trades from a websocket to the disk, beside json and SQLite.

The peer does what such collectors usually do: one message at a time through json into a list, which goes to SQLite
once a second. cryptofeed is no dependency of ours and is left out.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from websockets.asyncio.client import connect

from pipelines import segments, spool
from pipelines.segment_format import batches
from pipelines.sources.base import SourceOptions
from pipelines.sources.binance_stream import BinanceStream
from pipelines.sources.feed_socket import Batching
from pipelines.sources.follow import Line
from pipelines.sources.yahoo import Yahoo
from pipelines.trades import load_trades
from tests.bench.framework import Measured, Size, measured
from tests.lakes import new_lake

RATE = 10_000
FLOOR, LATENCY_LIMIT_MS = 40_000.0, 50.0
USUAL = Batching()


@dataclass
class Intake:
    """What one side took in: seconds from the first trade to the last one landed, and a fingerprint of the ids."""

    seconds: float
    trades: int
    id_sum: int
    waits_ms: np.ndarray
    cpu_s: float = 0.0
    grown_mb: float = 0.0


def run_ingest_landed(size: Size) -> Measured:
    """Trades a second from the socket to the open segment, one process receiving."""
    count = 300_000 if size.quick else 2_000_000
    folder = size.folder / "landed"
    with _server(count, 0) as url:
        ours = asyncio.run(_ours(url, count, folder))
        theirs = asyncio.run(_theirs(url, count, size.folder / "landed.sqlite"))
    rows, seconds = _loaded(size, folder)
    return measured(
        "ingest_landed", f"{count:,} trades of 190 B from a websocket on loopback to the disk", count / ours.seconds, "/s",
        peer="json + SQLite each second", theirs=count / theirs.seconds,
        agreement=(ours.trades, ours.id_sum) == (theirs.trades, theirs.id_sum), limit=FLOOR,
        note=(
            f"Every id compared, none lost. Ours took {1e6 * ours.cpu_s / count:.1f} us of CPU a trade, threads "
            f"included; the sender has the other core. Sealed segments to committed rows: {rows / seconds:,.0f}/s. "
            f"Limit: at least {FLOOR:,.0f}/s; aim 100,000/s."
        ),
    )  # fmt: skip


def run_ingest_latency_p99_ms(size: Size) -> Measured:
    """At 10,000 trades a second: from sending a trade to having it landed."""
    seconds = 5 if size.quick else 60
    with _server(RATE * seconds, RATE) as url:
        ours = asyncio.run(_ours(url, RATE * seconds, size.folder / "paced"))
    with _server(RATE * min(seconds, 10), RATE) as url:
        theirs = asyncio.run(_theirs(url, RATE * min(seconds, 10), size.folder / "paced.sqlite"))
    p50, p99 = np.quantile(ours.waits_ms, (0.5, 0.99))
    others = "" if size.quick else f" By linger: {'; '.join(map(_lingering(size.folder), (1, 100)))}."
    return measured(
        "ingest_latency_p99_ms", f"{RATE:,} trades/s for {seconds} s: sent to landed, by the oldest trade of each batch",
        float(p99), "ms", peer="json + SQLite each second", theirs=float(np.quantile(theirs.waits_ms, 0.99)),
        agreement=ours.trades == RATE * seconds and theirs.trades == RATE * min(seconds, 10), limit=LATENCY_LIMIT_MS,
        note=(
            f"p50 {p50:.1f}, max {ours.waits_ms.max():.1f} ms; none lost; memory grew by {ours.grown_mb:.1f} MB; "
            f"{100 * ours.cpu_s / ours.seconds:.0f} % of a core. Trades wait 10 ms for company.{others}"
        ),
    )  # fmt: skip


def _lingering(folder: Path) -> Callable[[int], str]:
    """What ten seconds at the same rate cost when trades wait so many milliseconds for company."""

    def told(linger_ms: int) -> str:
        with _server(RATE * 10, RATE) as url:
            taken = asyncio.run(
                _ours(url, RATE * 10, folder / f"linger-{linger_ms}", Batching(linger_ms / 1000))
            )
        p99 = np.quantile(taken.waits_ms, 0.99)
        return f"{linger_ms} ms: p99 {p99:.1f} ms, {100 * taken.cpu_s / taken.seconds:.0f} % of a core"

    return told


async def _ours(url: str, count: int, folder: Path, batching: Batching = USUAL) -> Intake:
    """As `flows.collect` does it: a followed line, its frames to a spool."""
    spool.WAITS_KEPT = 100_000
    landing = spool.Spool(folder, "binance")
    first: list[float] = []

    def land(at_us: int, frames: list[bytes]) -> None:
        if not first:
            first.append(time.perf_counter())
        landing.put(at_us, frames)

    line = Line(BinanceStream(url), ("BTCUSDT",), land, asyncio.Event(), batching)  # type: ignore[arg-type]
    cpu, rss = time.process_time(), 0.0
    task = asyncio.create_task(line.run())
    while landing.counts.frames + landing.counts.dropped < count:
        await asyncio.sleep(0.005)
        rss = rss or (_rss_mb() if landing.counts.frames > count // 4 else 0.0)
    seconds = time.perf_counter() - first[0]
    cpu, grown = time.process_time() - cpu, _rss_mb() - rss
    line.stop.set()
    await task
    landing.close()
    ids, sent, ats = _ids(folder)
    waits = (ats - sent) / 1000 + landing.waits_ms.values()
    return Intake(seconds, len(ids), int(ids.sum()), waits, cpu, grown)


def _ids(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every landed id; of each batch when its first trade was sent and received, epoch us."""
    ids: list[int] = []
    sent: list[int] = []
    ats: list[int] = []
    for sealed in segments.pending(folder, "binance"):
        content = segments.content(sealed.path)
        for at, frames in batches(content):
            data = [orjson.loads(frame)["data"] for frame in frames]
            ids += [one["a"] for one in data]
            sent.append(data[0]["E"])
            ats.append(at)
    return np.array(ids), np.array(sent), np.array(ats)


async def _theirs(url: str, count: int, path: Path) -> Intake:
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE ticks (ts INTEGER, symbol TEXT, price REAL, qty REAL, id INTEGER)")
        buffer: list[tuple[int, str, float, float, int]] = []
        sent: list[int] = []
        waits: list[np.ndarray] = []

        def flush() -> None:
            base.executemany("INSERT INTO ticks VALUES (?, ?, ?, ?, ?)", buffer)
            base.commit()
            waits.append((time.time() * 1e6 - np.array(sent)) / 1000)
            buffer.clear()
            sent.clear()

        async with connect(
            f"{url}/stream?streams=btcusdt@aggTrade", compression=None, ping_interval=None
        ) as socket:
            began = flushed = 0.0
            for number in range(count):
                data = json.loads(await socket.recv())["data"]
                now = time.perf_counter()
                if number == 0:
                    began = flushed = now
                buffer.append((data["T"], data["s"], float(data["p"]), float(data["q"]), data["a"]))
                sent.append(data["E"])
                if now - flushed >= 1:
                    flush()
                    flushed = now
            flush()
            seconds = time.perf_counter() - began
        trades, id_sum = base.execute("SELECT count(*), sum(id) FROM ticks").fetchone()
    return Intake(seconds, trades, id_sum, np.concatenate(waits))


def _loaded(size: Size, folder: Path) -> tuple[int, float]:
    """Rows committed from sealed segments, and the seconds it took: the load of a minute's flow."""
    for late in sorted((folder / segments.SEALED).iterdir())[1:]:
        late.unlink()
    lake = new_lake(size.folder / "lake")
    stores = lake.context.stores(lake.con, "bench")
    started = time.perf_counter()
    done = load_trades(stores, BinanceStream(), Yahoo(SourceOptions()), folder, None)
    seconds = time.perf_counter() - started
    lake.con.close()
    return done.rows_new, seconds


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@contextmanager
def _server(count: int, rate: int) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.trade_server", str(count), str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        try:
            yield f"ws://127.0.0.1:{port}"
        finally:
            process.kill()
