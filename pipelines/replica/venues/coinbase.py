"""Coinbase Exchange candles: low before high, newest first, silent minutes absent, 300 at most."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import numpy as np
import orjson

from pipelines.replica.columns import Row, widen
from pipelines.replica.truth import Book
from pipelines.replica.venues.binance_prints import trade_page, trade_rows
from pipelines.replica.venues.matches_streams import iso
from pipelines.replica.wire import Reply, Request, Served, instant, reply_json

MOST = 300
GRANULARITIES = (60, 300, 900, 3600, 21_600, 86_400)
MOST_TRADES = 1000
_TRADES = re.compile(r"/products/([^/]+)/trades")
_CANDLES = re.compile(r"/products/([^/]+)/candles")


class Coinbase:
    """The dialect on `/products/{id}/candles`, `/products` and `/time`."""

    name = "coinbase"

    def __init__(self, book: Book) -> None:
        self.book = book

    def owns(self, path: str) -> bool:
        return path == "/time" or path == "/products" or path.startswith("/products/")

    def symbol(self, request: Request) -> str:
        match = re.match(r"/products/([^/]+)", request.path)
        return match[1] if match else ""

    def answer(self, request: Request, now: float) -> Reply:
        if request.path == "/time":
            at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return reply_json({"iso": at, "epoch": round(now, 3)})
        if request.path == "/products":
            return reply_json([self._product(name) for name in self.book.symbols(self.name)])
        if match := _TRADES.fullmatch(request.path):
            return self._trades(match[1], dict(request.params), now)
        match = _CANDLES.fullmatch(request.path)
        if match is None or self.book.find(self.name, match[1]) is None:
            return reply_json({"message": "NotFound"}, 404)
        try:
            return self._candles(match[1], dict(request.params), now)
        except ValueError as error:
            return reply_json({"message": str(error)}, 400)

    def _product(self, name: str) -> dict[str, str]:
        base, _, quote = name.partition("-")
        return {"id": name, "base_currency": base, "quote_currency": quote, "status": "online"}

    def _trades(self, symbol: str, params: dict[str, str], now: float) -> Reply:
        """The newest, or those before the id `after`."""
        inst = self.book.find(self.name, symbol)
        if inst is None:
            return reply_json({"message": "NotFound"}, 404)
        after, limit = params.get("after", ""), params.get("limit", str(MOST_TRADES))
        if (after and not after.isdigit()) or not limit.isdigit():
            return reply_json({"message": "invalid cursor"}, 400)
        most = min(int(limit), MOST_TRADES)
        first = max(int(after) - most, 0) if after else None
        found = trade_page(self.book, inst, first, None, None, most, now)
        if after:
            found = found.take(found.id < int(after))
        rows = [
            {
                "trade_id": number, "side": "buy" if maker_bought else "sell", "size": f"{qty:.8f}",
                "price": f"{price:.8f}", "time": iso(at / 1000),
            }
            for number, price, qty, _, _, at, maker_bought in trade_rows(found)
        ]  # fmt: skip
        return Reply(body=orjson.dumps(rows[::-1]), trades=len(rows), content_type=b"application/json")

    def _candles(self, symbol: str, params: dict[str, str], now: float) -> Reply:
        inst = self.book.find(self.name, symbol)
        if inst is None:
            raise ValueError("NotFound")
        width, start, end = _window(params, now)
        minutes = self.book.with_running(inst, start // width * width, end // width * width + width, now)
        minutes = minutes.take(minutes.volume > 0)
        bars = minutes if width == 60 else widen(minutes, minutes.ts // width * width)
        newest_first = bars.take(np.arange(len(bars) - 1, -1, -1))
        served = Served(symbol, bars, lambda rows: _body(rows[::-1])) if width == 60 else None
        return Reply(body=_body(list(newest_first.rows())), served=served, content_type=b"application/json")


def _window(params: dict[str, str], now: float) -> tuple[int, float, float]:
    """Granularity, first and last candle; the newest 300 by default."""
    width = int(params.get("granularity", "60")) if params.get("granularity", "60").isdigit() else 0
    if width not in GRANULARITIES:
        raise ValueError("Unsupported granularity")
    if ("start" in params) != ("end" in params):
        raise ValueError("start and end must be provided together")
    if "start" not in params:
        return width, now - (MOST - 1) * width, now
    try:
        start, end = instant(params["start"]), instant(params["end"])
    except ValueError:
        raise ValueError("invalid start or end") from None
    if (end - start) / width > MOST:
        raise ValueError(
            "granularity too small for the requested time range. "
            f"Count of aggregations requested exceeds {MOST}"
        )
    return width, start, end


def _body(rows: list[Row]) -> bytes:
    names = ("ts", "low", "high", "open", "close", "volume")
    return json.dumps([[row[name] for name in names] for row in rows]).encode()
