"""`rest_500` and `parse_500`: five hundred symbols asked and read, beside the usual ways."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import numpy as np
import pandas as pd

from pipelines.market import utc
from pipelines.sources.base import BarRequest, Reply, SourceOptions
from pipelines.sources.binance import Binance
from tests.bench.framework import Measured, Size, measured, same, seconds
from tests.bench.tape import START, Tape

SYMBOLS, BARS = 500, 390
COLUMNS = ("open", "high", "low", "close", "volume", "turnover")


def run_rest_500(size: Size) -> Measured:
    """Requests a second on loopback; a server in another process answers each with the same 390 klines."""
    tape = Tape.of(1, BARS)
    body = tape.replies(0, BARS)[0].body
    (size.folder / "body.json").write_bytes(body)
    until = utc(START) + timedelta(minutes=BARS)
    requests = [BarRequest(f"S{number:04}USDT", utc(START), until) for number in range(SYMBOLS)]
    with _server(size.folder / "body.json") as url:
        source = Binance(SourceOptions(base_url=url))
        source.fetch(requests[:20])
        ours, got = seconds(lambda: source.fetch(requests), 3 if size.quick else 7)
        theirs, bodies = seconds(lambda: asyncio.run(_pooled(url, requests)), 1 if size.quick else 5)
    agree = [reply.body for reply in got.replies] == bodies
    return measured(
        "rest_500", f"{SYMBOLS} GETs of {len(body) / 1024:.0f} KB on loopback, every byte kept", SYMBOLS / min(ours), "/s",
        peer="httpx, one pool of 50", theirs=SYMBOLS / min(theirs), agreement=agree,
        note="The server shares the two cores; ours are worker loops with one kept-alive connection each.",
    )  # fmt: skip


def run_parse_500(size: Size) -> Measured:
    """500 payloads of 390 klines into columns."""
    tape = Tape.of(SYMBOLS, BARS)
    replies, now = tape.replies(0, BARS), tape.at(BARS)
    source = Binance()
    ours, parsed = seconds(lambda: source.parse(replies, now), 3 if size.quick else 7)
    theirs, frames = seconds(lambda: [_by_pandas(reply) for reply in replies], 2 if size.quick else 5)
    agree = parsed.rejects.is_empty() and all(
        same(parsed.bars[name].to_numpy(), np.concatenate([frame[name].to_numpy() for frame in frames]), 0)
        for name in COLUMNS
    )
    return measured(
        "parse_500", f"{SYMBOLS} payloads of {BARS} klines to typed, checked columns", 1000 * min(ours), "ms",
        peer="json + pandas", theirs=1000 * min(theirs), agreement=agree, note="Every value compared.",
    )  # fmt: skip


def _by_pandas(reply: Reply) -> pd.DataFrame:
    columns = ["ts", "open", "high", "low", "close", "volume", "end", "turnover", "trades", "a", "b", "c"]
    frame = pd.DataFrame(json.loads(reply.body), columns=columns)
    frame["ts"] = pd.to_datetime(frame["ts"], unit="ms")
    return frame.astype(dict.fromkeys(COLUMNS, float))


async def _pooled(url: str, requests: list[BarRequest]) -> list[bytes]:
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:

        async def one(request: BarRequest) -> bytes:
            return (
                await client.get("/api/v3/klines", params={"symbol": request.symbol, "limit": "1000"})
            ).content

        return await asyncio.gather(*(one(request) for request in requests))


@contextmanager
def _server(body: object) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.echo", str(body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
