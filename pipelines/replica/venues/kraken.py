"""Kraken candles: the newest 720 whatever was asked, the running one last, errors with HTTP 200."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipelines.replica.columns import Row, widen
from pipelines.replica.truth import Book
from pipelines.replica.venues.binance_prints import trade_page, trade_rows
from pipelines.replica.wire import Reply, Request, Served, reply_json

PREFIX = "/0/public/"
MOST = 720
MOST_TRADES = 1000
INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600)
_NAMES = {"XBTUSD": "XXBTZUSD", "ETHUSD": "XETHZUSD", "XRPUSD": "XXRPZUSD"}


class Kraken:
    """The dialect on `/0/public/OHLC`, `Time` and `AssetPairs`."""

    name = "kraken"

    def __init__(self, book: Book) -> None:
        self.book = book

    def owns(self, path: str) -> bool:
        return path.startswith(PREFIX)

    def symbol(self, request: Request) -> str:
        return dict(request.params).get("pair", "")

    def answer(self, request: Request, now: float) -> Reply:
        what = request.path.removeprefix(PREFIX)
        if what == "Time":
            stamp = datetime.fromtimestamp(now, UTC).strftime("%a, %d %b %y %H:%M:%S +0000")
            return _result({"unixtime": int(now), "rfc1123": stamp})
        if what == "AssetPairs":
            names = self.book.symbols(self.name)
            return _result({name: {"altname": name, "status": "online"} for name in names})
        if what == "OHLC":
            return self._ohlc(dict(request.params), now)
        if what == "Trades":
            return self._trades(dict(request.params), now)
        return _error("EGeneral:Unknown method")

    def _trades(self, params: dict[str, str], now: float) -> Reply:
        """Those later than `since` (ns), oldest first; the newest where it is absent."""
        inst = self.book.find(self.name, params.get("pair", ""))
        if inst is None:
            return _error("EQuery:Unknown asset pair")
        since, count = params.get("since", ""), params.get("count", str(MOST_TRADES))
        if (since and not since.isdigit()) or not count.isdigit():
            return _error("EGeneral:Invalid arguments")
        start = (int(since) // 1_000_000 + 1) / 1000 if since else None
        found = trade_page(self.book, inst, None, start, None, min(int(count), MOST_TRADES), now)
        rows = [
            [_text(price), f"{qty:.8f}", at / 1000, "s" if maker_bought else "b", "m", "", number]
            for number, price, qty, _, _, at, maker_bought in trade_rows(found)
        ]
        last = str(found.time_ms[-1] * 1_000_000) if len(found) else since or "0"
        name = _NAMES.get(params["pair"], params["pair"])
        return _result({name: rows, "last": last})

    def _ohlc(self, params: dict[str, str], now: float) -> Reply:
        inst = self.book.find(self.name, params.get("pair", ""))
        if inst is None:
            return _error("EQuery:Unknown asset pair")
        interval, since = params.get("interval", "1"), params.get("since", "0")
        if not interval.isdigit() or int(interval) not in INTERVALS or not since.isdigit():
            return _error("EGeneral:Invalid arguments")
        width = 60 * int(interval)
        start = (now // width - MOST + 1) * width
        minutes = self.book.with_running(inst, start, now + 60, now)
        bars = minutes if width == 60 else widen(minutes, minutes.ts // width * width)
        bars = bars.take(bars.ts > int(since))
        name = _NAMES.get(params["pair"], params["pair"])
        last = int(now // width) * width - width

        def write(rows: list[Row]) -> bytes:
            return _result({name: [_candle(row) for row in rows], "last": last}).body

        served = Served(params["pair"], bars, write) if width == 60 else None
        return Reply(body=write(list(bars.rows())), served=served, content_type=b"application/json")


def _candle(row: Row) -> list[Any]:
    """`[time s, "open", "high", "low", "close", "vwap", "volume", count]`."""
    volume = row["volume"]
    vwap = row["turnover"] / volume if volume else 0.0
    prices = [_text(row[name]) for name in ("open", "high", "low", "close")]
    return [row["ts"], *prices, f"{vwap:.6f}", None if volume is None else f"{volume:.8f}", row["trades"]]


def _text(price: float | None) -> str | None:
    return None if price is None else f"{price:.8f}".rstrip("0").rstrip(".")


def _result(value: dict[str, Any]) -> Reply:
    return reply_json({"error": [], "result": value})


def _error(text: str) -> Reply:
    return reply_json({"error": [text]})
