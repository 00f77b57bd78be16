"""Binance's daily archives as a source: what REST does not give any more, a file may still hold.

    /data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-19.zip            one CSV of that UTC day
    /data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-19.zip.CHECKSUM   sha256  file name

The rows are REST's twelve columns; futures files of 2022 and later begin with a header, spot times of 2025
and later are microseconds. A day is published on the next one. Files may be replaced later.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson

from pipelines.market import CONTINUOUS, epoch_ms, utc
from pipelines.sources.base import (
    BarRequest,
    Clock,
    Failure,
    FetchResult,
    Parsed,
    Quiet,
    Reply,
    SourceError,
    SourceOptions,
    utc_now,
)
from pipelines.sources.client import VenueClient
from pipelines.sources.klines import klines_to_bars
from pipelines.sources.reading import Rejects
from pipelines.sources.refusals import refusal
from pipelines.sources.venue import Call, Venue

HOST = "https://data.binance.vision"
FOLDERS = {"binance": "spot", "binance_futures": "futures/um"}
"""Sources that publish archives, and where theirs lie."""
DAY = timedelta(days=1)
MOST_BYTES = 64 << 20
"""Of an unpacked day: a minute has 200 bytes, so anything near it is no archive of minutes."""
MICROSECONDS = 10**14
"""Epoch milliseconds reach it in the year 5138."""


class BulkArchive:
    """The daily files of one Binance source, as bars of that source."""

    calendar = CONTINUOUS
    quiet: Quiet = "shown"

    def __init__(
        self,
        name: str,
        options: SourceOptions | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.name = name
        options = options or SourceOptions()
        host = (options.base_url or HOST).rstrip("/")
        venue = Venue(f"{name}_bulk", (host,), connections=4, weight_limit=600)
        self.client = VenueClient(venue, options, transport, clock)

    @property
    def venue(self) -> str:
        return self.client.venue.name

    def server_time(self) -> datetime:
        raise SourceError(f"{self.venue}: an archive has no clock")

    def plan(
        self, symbol: str, since: datetime, until: datetime, now: datetime | None = None
    ) -> list[BarRequest]:
        """One request a UTC day; none for the day that is still running by `now`."""
        start, end = utc(since), utc(until)
        if now is not None:
            end = min(end, _midnight(utc(now)))
        requests = []
        while start < end:
            stop = min(_midnight(start) + DAY, end)
            requests.append(BarRequest(symbol, start, stop))
            start = stop
        return requests

    def fetch(self, requests: Sequence[BarRequest]) -> FetchResult:
        """Each day's file and its checksum once, however many requests fall on it."""
        parts = [
            part for request in requests for part in self.plan(request.symbol, request.since, request.until)
        ]
        days: dict[str, BarRequest] = {}
        for part in parts:
            path = self._path(part)
            known = days.get(path, part)
            days[path] = BarRequest(part.symbol, min(known.since, part.since), max(known.until, part.until))
        calls = [
            Call(part.symbol, f"{path}{end}", {}, since=part.since, until=part.until)
            for path, part in days.items()
            for end in ("", ".CHECKSUM")
        ]
        got = self.client.get_all(calls)
        return FetchResult([replace(reply, source=self.name) for reply in got.replies], got.failures)

    def parse(self, replies: Sequence[Reply], market_now: datetime) -> Parsed:
        """Bars of every file whose checksum is right; others are failures that say what is wrong."""
        sums = {reply.path.removesuffix(".CHECKSUM"): reply for reply in replies if _is_sum(reply)}
        rejects = Rejects()
        rows = [
            read
            for reply in replies
            if not _is_sum(reply) and (read := _rows(reply, sums.get(reply.path), rejects))
        ]
        parsed = klines_to_bars(rows, market_now)
        return Parsed(
            parsed.bars, parsed.rejects.vstack(rejects.frame()), [*rejects.failures, *parsed.failures]
        )

    def validate(self, symbols: Sequence[str]) -> dict[str, str]:
        return {}

    def _path(self, part: BarRequest) -> str:
        name = f"{part.symbol}-1m-{part.since:%Y-%m-%d}.zip"
        return f"/data/{FOLDERS[self.name]}/daily/klines/{part.symbol}/1m/{name}"


def _rows(reply: Reply, checksum: Reply | None, rejects: Rejects) -> Reply | None:
    """The wanted rows of a day's file as REST would have sent them; None where the file cannot be used."""
    if not reply.ok:
        words = "no archive of this day" if reply.status == 404 else reply.text
        rejects.failures.append(refusal(reply, words, unknown_symbol=reply.status == 404))
        return None
    problem = _checked(reply, checksum)
    if problem is None:
        try:
            return replace(reply, body=orjson.dumps(_wanted(reply, _unzipped(reply.body))))
        except (zipfile.BadZipFile, ValueError, IndexError, EOFError, NotImplementedError) as error:
            problem = f"no archive of minutes: {type(error).__name__}: {error}"
    name = reply.path.rpartition("/")[2]
    rejects.failures.append(
        Failure(reply.symbol, "wrong_shape", f"{reply.source} {reply.symbol}: {name}: {problem}")
    )
    return None


def _checked(reply: Reply, checksum: Reply | None) -> str | None:
    """What is wrong with the file's checksum; None if it is right."""
    if checksum is None or not checksum.ok:
        return "its .CHECKSUM did not come"
    told, found = checksum.text.split()[:1], hashlib.sha256(reply.body).hexdigest()
    return None if told == [found] else f"its .CHECKSUM says {' '.join(told)[:64]}, the file is {found}"


def _unzipped(body: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        [member] = archive.infolist()
        if member.file_size > MOST_BYTES:
            raise ValueError(f"{member.file_size:,} bytes unpacked")
        return archive.read(member).decode()


def _wanted(reply: Reply, text: str) -> list[list[Any]]:
    low = epoch_ms(reply.since) if reply.since else 0
    high = epoch_ms(reply.until) if reply.until else MICROSECONDS
    rows = []
    for line in text.splitlines():
        if not line[:1].isdigit():
            continue  # the header that futures files have
        cells: list[Any] = line.split(",")
        at = int(cells[0])
        at = at // 1000 if at >= MICROSECONDS else at
        if low <= at < high:
            rows.append([at, *cells[1:8], int(cells[8]), *cells[9:]])
    return rows


def _is_sum(reply: Reply) -> bool:
    return reply.path.endswith(".CHECKSUM")


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
