"""Binance's websocket streams, spot and USD-M futures: routes, subscriptions, and what is due on each.

Spot lives on `/ws/<stream>[/<stream>..]` and `/stream?streams=a/b`. Futures live on `/market/..` (trades, klines)
and `/public/..` (book), also below `/fstream`; a stream on the wrong route, or on the legacy `/fstream/ws` and
`/fstream/stream`, is accepted, answered with success, and silent for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from pipelines.replica.columns import Row
from pipelines.replica.instruments import Instrument
from pipelines.replica.stream_frames import Frame
from pipelines.replica.truth import MINUTE_S, Book
from pipelines.replica.venues.binance_prints import aggregate, fills_of, trade_rows
from pipelines.replica.venues.binance_tickers import best
from pipelines.replica.venues.binance_words import Call, decimal

MOST_STREAMS = 1024
KLINE_EVERY_S = 2.0
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_MARKET = frozenset({"aggTrade", "kline_1m"})
_PUBLIC = frozenset({"bookTicker"})
_SPOT = _MARKET | _PUBLIC | {"trade"}
_ROUTES = {
    "binance": {"": _SPOT},
    "binance_futures": {
        "/market": _MARKET,
        "/public": _PUBLIC,
        "/private": frozenset[str](),
        "/fstream/market": _MARKET,
        "/fstream/public": _PUBLIC,
        "/fstream/private": frozenset[str](),
        "/fstream": frozenset[str](),
    },
}


@dataclass
class Follow:
    """One subscribed stream; `seen_ms` is the market time up to which it was told."""

    inst: Instrument | None
    symbol: str
    kind: str
    seen_ms: int


class BinanceStreams:
    """The dialect of one of the two markets, by the name of its REST venue."""

    def __init__(self, book: Book, name: str) -> None:
        self.book, self.name = book, name

    def open(self, path: str, query: str, now: float) -> BinanceSession | None:
        """A session for a path of this market; None for any other."""
        match = re.fullmatch(r"(?P<route>.*?)/(?P<way>ws|stream)(?P<rest>/.*)?", path)
        living = _ROUTES[self.name].get(match["route"]) if match else None
        if match is None or living is None or (match["way"] == "stream" and match["rest"]):
            return None
        asked = parse_qs(query)
        listed = (match["rest"] or "").strip("/") or asked.get("streams", [""])[0]
        micro = asked.get("timeUnit", [""])[0].upper() == "MICROSECOND"
        session = BinanceSession(self.book, self.name, living, match["way"] == "stream", 1000 if micro else 1)
        session.follow(name for name in unquote(listed).split("/") if name)
        session.start(now)
        return session


@dataclass
class BinanceSession:
    """One connection: what it follows, and whether its messages come wrapped with their stream's name."""

    book: Book
    venue: str
    living: frozenset[str]
    combined: bool
    scale: int
    streams: dict[str, Follow] = field(default_factory=dict)
    now: float = 0.0

    def start(self, now: float) -> None:
        """Everything followed begins with what happens after `now`."""
        self.now = now
        for one in self.streams.values():
            one.seen_ms = int(now * 1000)

    def hear(self, text: str) -> str:
        """The answer to a control message."""
        try:
            said = orjson.loads(text)
        except ValueError:
            return _said({"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"})
        if not isinstance(said, dict) or "method" not in said:
            return _said({"code": 2, "msg": "Invalid request: missing field `method` at line 1 column 1"})
        number = said.get("id")
        try:
            return _said({"result": self._obey(said), "id": number})
        except ValueError as error:
            code, message = error.args
            return _said({"code": code, "msg": message, "id": number})

    def due(self, now: float) -> list[Frame]:
        """Everything that has happened since the last call, stream by stream."""
        self.now = now
        return [frame for one in list(self.streams.values()) for frame in self._due(one, now)]

    def goodbye(self) -> str:
        said = {"e": "serverShutdown", "E": round(self.now * 1000) * self.scale}
        return _said({"stream": "!serverShutdown", "data": said} if self.combined else said)

    def follow(self, names: Iterable[str]) -> None:
        """Names that mean nothing are accepted and stay silent, as the venue does it."""
        for name in names:
            symbol, _, kind = name.partition("@")
            inst = self.book.find(self.venue, symbol.upper()) if kind in self.living else None
            self.streams.setdefault(name, Follow(inst, symbol.upper(), kind, int(self.now * 1000)))

    def _obey(self, said: dict[str, Any]) -> Any:
        method, params = said["method"], said.get("params", [])
        if method not in METHODS:
            raise ValueError(
                2, f"Invalid request: unknown variant `{method}`, expected one of {', '.join(METHODS)}"
            )
        if method == "LIST_SUBSCRIPTIONS":
            return list(self.streams)
        if method == "GET_PROPERTY":
            return self.combined
        if method == "SET_PROPERTY":
            if params[:1] != ["combined"]:
                raise ValueError(0, "Unknown property")
            if not isinstance(params[-1], bool):
                raise ValueError(1, "Invalid value type: expected Boolean")
            self.combined = params[-1]
            return None
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise ValueError(2, "Invalid request: params must be a list of stream names")
        if method == "UNSUBSCRIBE":
            for name in params:
                self.streams.pop(name, None)
            return None
        if len(self.streams.keys() | set(params)) > MOST_STREAMS:
            raise ValueError(2, f"Invalid request: more than {MOST_STREAMS} streams on one connection")
        self.follow(params)
        return None

    def _due(self, one: Follow, now: float) -> list[Frame]:
        until_ms = int(now * 1000)
        if one.inst is None or until_ms <= one.seen_ms:
            return []
        since_ms = one.seen_ms
        if one.kind == "kline_1m":
            if until_ms // 60_000 == since_ms // 60_000 and until_ms - since_ms < KLINE_EVERY_S * 1000:
                return []
            one.seen_ms = until_ms
            return self._klines(one, one.inst, since_ms, now)
        one.seen_ms = until_ms
        trades = self.book.trades(one.inst, since_ms // 60_000 * 60, now, now)
        trades = trades.take(trades.time_ms > since_ms)
        if not len(trades):
            return []
        if one.kind == "bookTicker":
            return [Frame(self._wrap(one, self._quote(one, one.inst, int(trades.id[-1]), now)), one.symbol)]
        rows = trade_rows(trades)
        if one.kind == "trade":
            fills = [fill for row in rows for fill in fills_of(row, one.inst.lot_scale, self.scale)]
            return [Frame(self._wrap(one, self._fill(one, fill)), one.symbol) for fill in fills]
        return [Frame(self._wrap(one, self._aggregate(one, row)), one.symbol, row[0]) for row in rows]

    def _aggregate(self, one: Follow, row: tuple[Any, ...]) -> dict[str, Any]:
        said = {"e": "aggTrade", "E": self._event(row[5]), "s": one.symbol, **aggregate(row, self.scale)}
        if self.venue == "binance_futures":
            del said["M"]
            said |= {"nq": said["q"], "st": 1}
        return said

    def _fill(self, one: Follow, fill: dict[str, Any]) -> dict[str, Any]:
        return {
            "e": "trade",
            "E": fill["time"],
            "s": one.symbol,
            "t": fill["id"],
            "p": fill["price"],
            "q": fill["qty"],
            "T": fill["time"],
            "m": fill["isBuyerMaker"],
            "M": True,
        }

    def _quote(self, one: Follow, inst: Instrument, update: int, now: float) -> dict[str, Any]:
        quote = best(self.book, one.symbol, inst, Call({}, now, self.scale))
        said = {"u": update, "s": one.symbol, "b": quote["bidPrice"], "B": quote["bidQty"]}
        said |= {"a": quote["askPrice"], "A": quote["askQty"]}
        if self.venue == "binance_futures":
            said |= {"e": "bookTicker", "T": self._event(int(now * 1000)), "E": self._event(int(now * 1000))}
        return said

    def _klines(self, one: Follow, inst: Instrument, since_ms: int, now: float) -> list[Frame]:
        """Each minute that ended meanwhile once with `x: true`, then the open one."""
        first = since_ms // 60_000 * 60
        bars = self.book.with_running(inst, first, now // MINUTE_S * MINUTE_S + MINUTE_S, now)
        return [Frame(self._wrap(one, self._kline(one, inst, row, now)), one.symbol) for row in bars.rows()]

    def _kline(self, one: Follow, inst: Instrument, row: Row, now: float) -> dict[str, Any]:
        opened = int(row["ts"])
        trades = self.book.trades(inst, opened, opened + MINUTE_S, now)
        first, last = (int(trades.first[0]), int(trades.last[-1])) if len(trades) else (-1, -1)
        kline = {
            "t": self._event(opened * 1000),
            "T": self._event((opened + MINUTE_S) * 1000) - 1,
            "s": one.symbol,
            "i": "1m",
            "f": first,
            "L": last,
            "o": decimal(row["open"]),
            "c": decimal(row["close"]),
            "h": decimal(row["high"]),
            "l": decimal(row["low"]),
            "v": decimal(row["volume"]),
            "n": int(row["trades"]),
            "x": opened + MINUTE_S <= now,
            "q": decimal(row["turnover"]),
            "V": decimal(row["taker_volume"]),
            "Q": decimal(row["taker_turnover"]),
            "B": "0",
        }
        return {"e": "kline", "E": self._event(int(now * 1000)), "s": one.symbol, "k": kline}

    def _wrap(self, one: Follow, said: dict[str, Any]) -> str:
        if self.combined:
            return _said({"stream": f"{one.symbol.lower()}@{one.kind}", "data": said})
        return _said(said)

    def _event(self, at_ms: int) -> int:
        return int(at_ms) * self.scale


def _said(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
