"""Binance's archive host: yesterday's and older minutes as one zip a day, with its checksum beside it."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from datetime import UTC, date, datetime, time

from pipelines.replica.columns import Row
from pipelines.replica.truth import Book
from pipelines.replica.wire import Reply, Request, Served

DAY_S = 86_400
MICROSECONDS_FROM = date(2025, 1, 1)
HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
_PATH = re.compile(
    r"/data/(spot|futures/um)/daily/klines/([A-Z0-9]+)/1m/\2-1m-(\d{4}-\d\d-\d\d)\.zip(\.CHECKSUM)?"
)


class BinanceBulk:
    """The files below `/data/spot` and `/data/futures/um` at the tape's prices."""

    name = "binance_bulk"

    def __init__(self, book: Book) -> None:
        self.book = book

    def owns(self, path: str) -> bool:
        return path.startswith("/data/")

    def symbol(self, request: Request) -> str:
        match = _PATH.fullmatch(request.path)
        return match[2] if match else ""

    def answer(self, request: Request, now: float) -> Reply:
        match = _PATH.fullmatch(request.path)
        inst = self.book.find("binance", match[2]) if match else None
        if match is None or inst is None:
            return _absent()
        day = date.fromisoformat(match[3])
        start = int(datetime.combine(day, time(), UTC).timestamp())
        if start + DAY_S > now:
            return _absent()
        bars = self.book.closed(inst, start, start + DAY_S, now)
        is_spot, name = match[1] == "spot", f"{match[2]}-1m-{day}"
        scale = 1_000_000 if is_spot and day >= MICROSECONDS_FROM else 1000

        def write(rows: list[Row]) -> bytes:
            lines = [_line(row, scale) for row in rows]
            text = "\n".join(lines if is_spot else [HEADER, *lines]) + "\n"
            return _zipped(f"{name}.csv", text)

        body = write(list(bars.rows()))
        if match[4]:
            digest = hashlib.sha256(body).hexdigest()
            return Reply(body=f"{digest}  {name}.zip\n".encode(), content_type=b"text/plain")
        return Reply(body=body, served=Served(match[2], bars, write), content_type=b"application/zip")


def _line(row: Row, scale: int) -> str:
    opened = row["ts"] * scale
    numbers = [row[name] for name in ("open", "high", "low", "close", "volume")]
    taker = row["taker_volume"], row["taker_turnover"]
    cells = (opened, *numbers, opened + 60 * scale - 1, row["turnover"], row["trades"], *taker, 0)
    return ",".join(map(str, cells))


def _zipped(name: str, text: str) -> bytes:
    """Always the same bytes for the same text."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _absent() -> Reply:
    body = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>'
    return Reply(404, body, content_type=b"application/xml")
