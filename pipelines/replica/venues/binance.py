"""Binance spot REST: klines, trades, tickers and exchange information with their weights and errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from pipelines.replica.columns import Bars, Row
from pipelines.replica.instruments import Instrument
from pipelines.replica.limits import Verdict, WeightLimit
from pipelines.replica.truth import Book
from pipelines.replica.venues import binance_tickers as tickers
from pipelines.replica.venues import seconds
from pipelines.replica.venues.binance_prints import aggregate, fills_of, trade_page, trade_rows
from pipelines.replica.venues.binance_words import (
    MAX_LIMIT,
    SYMBOL,
    Call,
    RefusalError,
    kline,
    symbol_list,
    time_scale,
)
from pipelines.replica.venues.listing import select
from pipelines.replica.wire import Header, Reply, Request, Served, reply_json

INTERVALS = (
    "1s",
    "1m",
    "3m",
    "5m",
    "15m",
    "30m",
    "1h",
    "2h",
    "4h",
    "6h",
    "8h",
    "12h",
    "1d",
    "3d",
    "1w",
    "1M",
)
_ROWS_KEPT = 100_000

TOO_MUCH = (
    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
BANNED = (
    "Way too much request weight used; IP banned until {until}. "
    "Please use WebSocket Streams for live updates to avoid bans."
)


@dataclass(frozen=True)
class Endpoint:
    """One path: what it weighs, what it takes, who answers."""

    weight: Callable[[dict[str, str]], int]
    params: frozenset[str]
    answer: Callable[[Call], Reply]


def flat(weight: int) -> Callable[[dict[str, str]], int]:
    """The same weight whatever is asked."""
    return lambda params: weight


class Binance:
    """The spot dialect on `/api/v3`."""

    name = "binance"
    prefix = "/api/v3"

    def __init__(self, book: Book, limit: WeightLimit | None = None) -> None:
        self.book = book
        self.limit = limit or WeightLimit()
        self._encoded: dict[tuple[str, int], bytes] = {}
        self._version = -1
        self.endpoints = self._endpoints()

    def _endpoints(self) -> dict[str, Endpoint]:
        def by_symbol(one: int, many: int) -> Callable[[dict[str, str]], int]:
            return lambda params: one if "symbol" in params else many

        candles = frozenset({"symbol", "interval", "startTime", "endTime", "timeZone", "limit"})
        listed = frozenset({"symbol", "symbols", "symbolStatus"})
        info = listed | {"permissions", "showPermissionSets"}
        prints = frozenset({"symbol", "fromId", "startTime", "endTime", "limit"})
        return {
            "/ping": Endpoint(flat(1), frozenset(), lambda call: reply_json({})),
            "/time": Endpoint(
                flat(1), frozenset(), lambda call: reply_json({"serverTime": call.stamp(call.now)})
            ),
            "/exchangeInfo": Endpoint(flat(20), info, self._exchange_info),
            "/klines": Endpoint(flat(2), candles, self._klines),
            "/uiKlines": Endpoint(flat(2), candles, self._klines),
            "/aggTrades": Endpoint(flat(4), prints, self._agg_trades),
            "/trades": Endpoint(flat(25), frozenset({"symbol", "limit"}), self._fills),
            "/ticker/price": Endpoint(by_symbol(2, 4), listed, self._tickers(tickers.price)),
            "/ticker/bookTicker": Endpoint(by_symbol(2, 4), listed, self._tickers(tickers.best)),
            "/ticker/24hr": Endpoint(by_symbol(2, 80), listed | {"type"}, self._tickers(tickers.day)),
        }

    def owns(self, path: str) -> bool:
        return path.startswith(self.prefix + "/")

    def symbol(self, request: Request) -> str:
        return dict(request.params).get("symbol", "")

    def answer(self, request: Request, now: float) -> Reply:
        endpoint = self.endpoints.get(request.path.removeprefix(self.prefix))
        params = dict(request.params)
        verdict = self.limit.spend(endpoint.weight(params) if endpoint else 1)
        reply = self._reply(endpoint, request, params, verdict, now)
        used = str(verdict.used).encode()
        reply.headers += [(b"x-mbx-used-weight", used), (b"x-mbx-used-weight-1m", used)]
        return reply

    def _reply(
        self,
        endpoint: Endpoint | None,
        request: Request,
        params: dict[str, str],
        verdict: Verdict,
        now: float,
    ) -> Reply:
        if verdict.status != 200:
            return self._refused(verdict)
        if endpoint is None:
            return Reply(404, b"<html><body><h2>404 Not found</h2></body></html>", content_type=b"text/html")
        if request.method != "GET":
            return reply_json({"code": -1000, "msg": "Request method not supported."}, 405)
        try:
            scale = time_scale(request.headers)
            self._check(endpoint, request)
            return endpoint.answer(Call(params, now, scale))
        except RefusalError as refusal:
            return reply_json({"code": refusal.code, "msg": refusal.message}, refusal.status)

    def _refused(self, verdict: Verdict) -> Reply:
        message = TOO_MUCH.format(limit=self.limit.limit)
        if verdict.status == 418:
            message = BANNED.format(until=round(verdict.banned_until * 1000))
        retry: list[Header] = [(b"retry-after", str(verdict.retry_after).encode())]
        return reply_json({"code": -1003, "msg": message}, verdict.status, retry)

    def _check(self, endpoint: Endpoint, request: Request) -> None:
        names = [name for name, _ in request.params]
        unread = [name for name in names if name not in endpoint.params]
        if unread:
            read = len(names) - len(unread)
            raise RefusalError(
                -1104,
                f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(names)}'.",
            )
        if len(names) != len(set(names)):
            raise RefusalError(-1101, "Duplicate values for a parameter detected.")

    def _instrument(self, call: Call) -> Instrument:
        symbol = call.params.get("symbol", "")
        if not symbol:
            raise RefusalError(
                -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
            )
        if not re.fullmatch(SYMBOL, symbol):
            raise RefusalError(
                -1100, f"Illegal characters found in parameter 'symbol'; legal range is '{SYMBOL}'."
            )
        found = self.book.find(self.name, symbol)
        if found is None:
            raise RefusalError(-1121, "Invalid symbol.")
        return found

    def _instruments(self, call: Call) -> tuple[list[tuple[str, Instrument]], bool]:
        """The instruments asked for, all if none are named, and whether the reply is a list."""
        if "symbol" in call.params and "symbols" in call.params:
            raise RefusalError(-1128, "Combination of optional parameters invalid.")
        if "symbol" in call.params:
            return [(call.params["symbol"], self._instrument(call))], False
        names = self.book.symbols(self.name)
        if "symbols" in call.params:
            names = symbol_list(call.params["symbols"])
        return [
            (name, self._instrument(Call({"symbol": name}, call.now, call.scale))) for name in names
        ], True

    def _klines(self, call: Call) -> Reply:
        inst = self._instrument(call)
        interval = call.params.get("interval", "")
        if not interval:
            raise RefusalError(
                -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."
            )
        if interval not in self.intervals:
            raise RefusalError(-1120, "Invalid interval.")
        start, end, limit = call.time("startTime"), call.time("endTime"), call.limit(most=self.most_klines)
        if interval == "1s":
            bars = seconds.select(self.book, inst, start, end, limit, call.now)
        else:
            bars = select(self.book, inst, interval, start, end, limit, call.now)

        def write(rows: list[Row]) -> bytes:
            return b"[" + b",".join(kline(row, interval, call.scale) for row in rows) + b"]"

        body = (
            self._fast(inst, bars, call) if interval == "1m" and call.scale == 1 else write(list(bars.rows()))
        )
        return Reply(
            body=body, served=Served(call.params["symbol"], bars, write) if interval == "1m" else None
        )

    intervals: tuple[str, ...] = INTERVALS
    most_klines = MAX_LIMIT

    def _fast(self, inst: Instrument, bars: Bars, call: Call) -> bytes:
        """The 1m reply out of rows that were written before; the open bar is written anew."""
        if self._version != self.book.version or len(self._encoded) > _ROWS_KEPT:
            self._encoded, self._version = {}, self.book.version
        stamps = bars.ts.tolist()
        kept = [self._encoded.get((inst.symbol, ts)) for ts in stamps]
        for i, text in enumerate(kept):
            if text is None:
                kept[i] = text = kline(next(bars.take(slice(i, i + 1)).rows()), "1m", 1)
                if stamps[i] + 60 <= call.now:
                    self._encoded[inst.symbol, stamps[i]] = text
        return b"[" + b",".join(text for text in kept if text) + b"]"

    def _agg_trades(self, call: Call) -> Reply:
        inst = self._instrument(call)
        from_id, start, end = call.number("fromId"), call.time("startTime"), call.time("endTime")
        if from_id is not None and (start is not None or end is not None):
            raise RefusalError(-1128, "Combination of optional parameters invalid.")
        trades = trade_page(self.book, inst, from_id, start, end, call.limit(), call.now)
        return Reply(
            body=orjson.dumps([aggregate(row, call.scale) for row in trade_rows(trades)]), trades=len(trades)
        )

    def _fills(self, call: Call) -> Reply:
        inst = self._instrument(call)
        limit = call.limit()
        trades = trade_page(self.book, inst, None, None, None, limit, call.now)
        fills = [fill for row in trade_rows(trades) for fill in fills_of(row, inst.lot_scale, call.scale)]
        return reply_json(fills[-limit:])

    def _tickers(
        self, row: Callable[[Book, str, Instrument, Call], dict[str, Any]]
    ) -> Callable[[Call], Reply]:
        def answer(call: Call) -> Reply:
            found, many = self._instruments(call)
            rows = [row(self.book, name, inst, call) for name, inst in found]
            return reply_json(rows if many else rows[0])

        return answer

    def _exchange_info(self, call: Call) -> Reply:
        found, _ = self._instruments(call)
        weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        raw = {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000}
        return reply_json(
            {
                "timezone": "UTC",
                "serverTime": call.stamp(call.now),
                "rateLimits": [weight | {"limit": self.limit.limit}, raw],
                "exchangeFilters": [],
                "symbols": [tickers.listing(name, inst) for name, inst in found],
            }
        )
