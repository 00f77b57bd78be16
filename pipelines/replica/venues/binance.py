"""Binance spot REST: klines, trades, tickers and exchange information with their weights and errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from pipelines.replica.columns import Row, Trades, join_trades
from pipelines.replica.instruments import Instrument
from pipelines.replica.limits import Verdict, WeightLimit
from pipelines.replica.truth import Book
from pipelines.replica.venues import seconds
from pipelines.replica.venues.listing import close_of, select
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
DAY_S = 86400
MAX_LIMIT = 1000
_ROWS_KEPT = 100_000
_QUIET_MINUTES = 2 * 1440

_SYMBOL = "^[A-Z0-9-_.]{1,20}$"
_NUMBER = "^[0-9]{1,20}$"

TOO_MUCH = (
    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
BANNED = (
    "Way too much request weight used; IP banned until {until}. "
    "Please use WebSocket Streams for live updates to avoid bans."
)


class Refusal(Exception):
    """An error body of the venue: HTTP status, code, message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Endpoint:
    """One path: what it weighs, what it takes, who answers."""

    weight: Callable[[dict[str, str]], int]
    params: frozenset[str]
    answer: Callable[[Call], Reply]


@dataclass(frozen=True)
class Call:
    """A checked request: parameters by name, the venue's time, 1 or 1000 units a millisecond."""

    params: dict[str, str]
    now: float
    scale: int

    def stamp(self, at_s: float) -> int:
        return round(at_s * 1000) * self.scale

    def number(self, name: str) -> int | None:
        text = self.params.get(name)
        if text is None:
            return None
        if not re.fullmatch(_NUMBER, text):
            raise Refusal(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '{_NUMBER}'."
            )
        return int(text)

    def time(self, name: str) -> float | None:
        """Epoch seconds of a parameter in ms or us."""
        value = self.number(name)
        return None if value is None else value / (1e6 if value >= 1e14 else 1e3)

    def limit(self, default: int = 500, most: int = MAX_LIMIT) -> int:
        value = self.number("limit")
        if value == 0:
            raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(value or default, most)


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
        def flat(weight: int) -> Callable[[dict[str, str]], int]:
            return lambda params: weight

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
            "/ticker/price": Endpoint(by_symbol(2, 4), listed, self._price),
            "/ticker/bookTicker": Endpoint(by_symbol(2, 4), listed, self._book_ticker),
            "/ticker/24hr": Endpoint(by_symbol(2, 80), listed | {"type"}, self._day),
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
            scale = _time_scale(request.headers)
            self._check(endpoint, request)
            return endpoint.answer(Call(params, now, scale))
        except Refusal as refusal:
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
            raise Refusal(
                -1104,
                f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(names)}'.",
            )
        if len(names) != len(set(names)):
            raise Refusal(-1101, "Duplicate values for a parameter detected.")

    def _instrument(self, call: Call) -> Instrument:
        symbol = call.params.get("symbol", "")
        if not symbol:
            raise Refusal(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if not re.fullmatch(_SYMBOL, symbol):
            raise Refusal(
                -1100, f"Illegal characters found in parameter 'symbol'; legal range is '{_SYMBOL}'."
            )
        found = self.book.find(self.name, symbol)
        if found is None:
            raise Refusal(-1121, "Invalid symbol.")
        return found

    def _instruments(self, call: Call) -> tuple[list[tuple[str, Instrument]], bool]:
        """The instruments asked for, all if none are named, and whether the reply is a list."""
        if "symbol" in call.params and "symbols" in call.params:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        if "symbol" in call.params:
            return [(call.params["symbol"], self._instrument(call))], False
        names = self.book.market.symbols(self.name)
        if "symbols" in call.params:
            names = _symbol_list(call.params["symbols"])
        return [
            (name, self._instrument(Call({"symbol": name}, call.now, call.scale))) for name in names
        ], True

    def _klines(self, call: Call) -> Reply:
        inst = self._instrument(call)
        interval = call.params.get("interval", "")
        if not interval:
            raise Refusal(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
        if interval not in self.intervals:
            raise Refusal(-1120, "Invalid interval.")
        start, end, limit = call.time("startTime"), call.time("endTime"), call.limit(most=self.most_klines)
        if interval == "1s":
            bars = seconds.select(self.book, inst, start, end, limit, call.now)
        else:
            bars = select(self.book, inst, interval, start, end, limit, call.now)

        def write(rows: list[Row]) -> bytes:
            return b"[" + b",".join(_kline(row, interval, call.scale) for row in rows) + b"]"

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
                kept[i] = text = _kline(next(bars.take(slice(i, i + 1)).rows()), "1m", 1)
                if stamps[i] + 60 <= call.now:
                    self._encoded[inst.symbol, stamps[i]] = text
        return b"[" + b",".join(text for text in kept if text) + b"]"

    def _agg_trades(self, call: Call) -> Reply:
        inst = self._instrument(call)
        from_id, start, end = call.number("fromId"), call.time("startTime"), call.time("endTime")
        if from_id is not None and (start is not None or end is not None):
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        trades = trade_page(self.book, inst, from_id, start, end, call.limit(), call.now)
        return Reply(
            body=orjson.dumps([_agg(row, call.scale) for row in _trade_rows(trades)]), trades=len(trades)
        )

    def _fills(self, call: Call) -> Reply:
        inst = self._instrument(call)
        limit = call.limit()
        trades = trade_page(self.book, inst, None, None, None, limit, call.now)
        fills = [fill for row in _trade_rows(trades) for fill in _fills_of(row, inst.lot_scale, call.scale)]
        return reply_json(fills[-limit:])

    def _price(self, call: Call) -> Reply:
        found, many = self._instruments(call)
        rows = [{"symbol": name, "price": decimal(self._last(inst, call))} for name, inst in found]
        return reply_json(rows if many else rows[0])

    def _book_ticker(self, call: Call) -> Reply:
        found, many = self._instruments(call)
        rows = []
        for name, inst in found:
            last, tick = self._last(inst, call), 1 / inst.price_scale
            lots = decimal(max(round(inst.minute_volume * inst.lot_scale / 20), 1) / inst.lot_scale)
            rows.append(
                {
                    "symbol": name,
                    "bidPrice": decimal(last - tick),
                    "bidQty": lots,
                    "askPrice": decimal(last + tick),
                    "askQty": lots,
                }
            )
        return reply_json(rows if many else rows[0])

    def _day(self, call: Call) -> Reply:
        found, many = self._instruments(call)
        rows = [self._day_row(name, inst, call) for name, inst in found]
        return reply_json(rows if many else rows[0])

    def _day_row(self, name: str, inst: Instrument, call: Call) -> dict[str, Any]:
        bars = self.book.with_running(inst, call.now - DAY_S, call.now + 60, call.now)
        last, tick = self._last(inst, call), 1 / inst.price_scale
        opened = float(bars.open[0]) if len(bars) else last
        volume, turnover = float(bars.volume.sum()), float(bars.turnover.sum())
        return {
            "symbol": name,
            "priceChange": decimal(last - opened),
            "priceChangePercent": f"{(last / opened - 1) * 100 if opened else 0:.3f}",
            "weightedAvgPrice": decimal(turnover / volume if volume else last),
            "prevClosePrice": decimal(opened),
            "lastPrice": decimal(last),
            "lastQty": decimal(1 / inst.lot_scale),
            "bidPrice": decimal(last - tick),
            "bidQty": decimal(1 / inst.lot_scale),
            "askPrice": decimal(last + tick),
            "askQty": decimal(1 / inst.lot_scale),
            "openPrice": decimal(opened),
            "highPrice": decimal(float(bars.high.max()) if len(bars) else last),
            "lowPrice": decimal(float(bars.low.min()) if len(bars) else last),
            "volume": decimal(volume),
            "quoteVolume": decimal(turnover),
            "openTime": call.stamp(call.now - DAY_S),
            "closeTime": call.stamp(call.now),
            "firstId": 0,
            "lastId": int(bars.trades.sum()),
            "count": int(bars.trades.sum()),
        }

    def _last(self, inst: Instrument, call: Call) -> float:
        return self.book.last_price(inst, call.now) or 0.0

    def _exchange_info(self, call: Call) -> Reply:
        found, _ = self._instruments(call)
        limits = [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": self.limit.limit,
            },
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
        ]
        return reply_json(
            {
                "timezone": "UTC",
                "serverTime": call.stamp(call.now),
                "rateLimits": limits,
                "exchangeFilters": [],
                "symbols": [self._listing(name, inst) for name, inst in found],
            }
        )

    def _listing(self, name: str, inst: Instrument) -> dict[str, Any]:
        tick, lot = decimal(1 / inst.price_scale), decimal(1 / inst.lot_scale)
        return {
            "symbol": name,
            "status": "TRADING",
            "baseAsset": inst.base,
            "baseAssetPrecision": 8,
            "quoteAsset": inst.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": tick,
                    "maxPrice": "1000000.00000000",
                    "tickSize": tick,
                },
                {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00000000", "stepSize": lot},
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
        }


def decimal(value: float | None) -> str:
    """The venue's decimal string of eight places."""
    return f"{0.0 if value is None else value:.8f}"


def _text(value: float | None) -> str:
    return "null" if value is None else f'"{value:.8f}"' if value == value else '"NaN"'


def _kline(row: Row, interval: str, scale: int) -> bytes:
    """`[open time, "open", "high", "low", "close", "volume", close time, "quote volume", count, ...]`."""
    start = row["ts"]
    closes = (
        close_of(start, interval) * 1000 * scale - 1 if interval != "1s" else (start + 1) * 1000 * scale - 1
    )
    count = "null" if row["trades"] is None else row["trades"]
    prices = ",".join(_text(row[name]) for name in ("open", "high", "low", "close", "volume"))
    tail = ",".join(_text(row[name]) for name in ("taker_volume", "taker_turnover"))
    return f'[{start * 1000 * scale},{prices},{closes},{_text(row["turnover"])},{count},{tail},"0"]'.encode()


def _trade_rows(trades: Trades) -> list[tuple[Any, ...]]:
    columns = (
        trades.id,
        trades.price,
        trades.qty,
        trades.first,
        trades.last,
        trades.time_ms,
        trades.buyer_is_maker,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _agg(row: tuple[Any, ...], scale: int) -> dict[str, Any]:
    number, price, qty, first, last, at, maker = row
    return {
        "a": number,
        "p": f"{price:.8f}",
        "q": f"{qty:.8f}",
        "f": first,
        "l": last,
        "T": at * scale,
        "m": maker,
        "M": True,
    }


def _fills_of(row: tuple[Any, ...], lot_scale: int, scale: int) -> list[dict[str, Any]]:
    """The single fills of one aggregate, its lots spread over them."""
    _, price, qty, first, last, at, maker = row
    lots, count = round(qty * lot_scale), last - first + 1
    each, over = divmod(lots, count)
    sizes = [(each + (i < over)) / lot_scale for i in range(count)]
    return [
        {
            "id": first + i,
            "price": decimal(price),
            "qty": decimal(size),
            "quoteQty": decimal(price * size),
            "time": at * scale,
            "isBuyerMaker": maker,
            "isBestMatch": True,
        }
        for i, size in enumerate(sizes)
    ]


def trade_page(
    book: Book,
    inst: Instrument,
    from_id: int | None,
    start: float | None,
    end: float | None,
    limit: int,
    now: float,
) -> Trades:
    """Up to `limit` trades: from an id or a time on the oldest, otherwise the newest up to `end`, inclusive."""
    first, last = book.market.span(inst)
    stop = min(now, last + 60, now if end is None else end)
    if from_id is None and start is None:
        return _newest_trades(book, inst, stop, limit, now)
    at = float(book.market.minute_of_trade(inst, from_id)) if from_id is not None else max(start or 0, first)
    found: list[Trades] = []
    minute = at // 60 * 60
    step = 600
    while minute <= stop and sum(map(len, found)) < limit:
        page = book.trades(inst, minute, minute + step, now)
        keep = (page.time_ms <= stop * 1000) & (page.time_ms >= at * 1000 - 1e-6)
        found.append(page.take(keep if from_id is None else keep & (page.id >= from_id)))
        minute += step
    return join_trades(found).take(slice(0, limit))


def _newest_trades(book: Book, inst: Instrument, stop: float, limit: int, now: float) -> Trades:
    found: list[Trades] = []
    minute = stop // 60 * 60
    oldest = minute - 60 * _QUIET_MINUTES
    while minute > oldest and sum(map(len, found)) < limit:
        page = book.trades(inst, minute, minute + 60, now)
        found.insert(0, page.take(page.time_ms <= stop * 1000))
        minute -= 60
    return join_trades(found).take(slice(-limit, None))


def _time_scale(headers: dict[bytes, bytes]) -> int:
    unit = headers.get(b"x-mbx-time-unit", b"MILLISECOND").upper()
    if unit not in (b"MICROSECOND", b"MILLISECOND"):
        raise Refusal(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return 1000 if unit == b"MICROSECOND" else 1


def _symbol_list(text: str) -> list[str]:
    try:
        names = orjson.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refusal(
            -1100,
            "Illegal characters found in parameter 'symbols'; legal range is '^\\[(\"[A-Z0-9-_.]{1,20}\")...\\]$'.",
        )
    if len(set(names)) < len(names):
        raise Refusal(-1151, "Symbol is present multiple times in the list.")
    return names
