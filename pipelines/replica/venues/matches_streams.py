"""Coinbase's and Kraken's trades by websocket: subscriptions, what is due, and a heartbeat a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from pipelines.replica.columns import Trades
from pipelines.replica.stream_frames import Frame
from pipelines.replica.truth import Book

BEAT_S = 1.0


@dataclass
class Following:
    """One connection's symbols, each with the market time up to which it was told."""

    book: Book
    venue: str
    now: float
    seen_ms: dict[str, int] = field(default_factory=dict)
    beat: float = 0.0

    def goodbye(self) -> str | None:
        return None

    def follow(self, symbol: str) -> bool:
        """Whether the venue lists it; from now on its trades are told."""
        if self.book.find(self.venue, symbol) is None:
            return False
        self.seen_ms.setdefault(symbol, int(self.now * 1000))
        return True

    def fresh(self, symbol: str, now: float) -> Trades:
        """What has traded since the last time."""
        inst, since_ms = self.book.find(self.venue, symbol), self.seen_ms[symbol]
        assert inst
        self.seen_ms[symbol] = max(since_ms, int(now * 1000))
        trades = self.book.trades(inst, since_ms // 60_000 * 60, now, now)
        return trades.take(trades.time_ms > since_ms)

    def beats(self, now: float) -> bool:
        """Whether a heartbeat is due."""
        self.now = now
        due = now >= self.beat + BEAT_S
        self.beat = now if due else self.beat
        return due


class CoinbaseSession(Following):
    """`{"type": "subscribe", "product_ids": [..], "channels": ["matches", "heartbeat"]}`."""

    def hear(self, text: str) -> str | None:
        said = said_object(text)
        if said.get("type") != "subscribe":
            return message(
                {"type": "error", "message": "Failed to subscribe", "reason": "Type has to be subscribe"}
            )
        wanted = [str(name) for name in said.get("product_ids", [])]
        if unknown := [name for name in wanted if not self.follow(name)]:
            return message(
                {
                    "type": "error",
                    "message": "Failed to subscribe",
                    "reason": f"{unknown[0]} is not a valid product",
                }
            )
        channels = [{"name": str(name), "product_ids": wanted} for name in said.get("channels", [])]
        return message({"type": "subscriptions", "channels": channels})

    def due(self, now: float) -> list[Frame]:
        frames = []
        if self.beats(now):
            frames = [Frame(message({"type": "heartbeat", "sequence": 1, "product_id": name, "time": iso(now)}), name)
                      for name in self.seen_ms]  # fmt: skip
        for symbol in list(self.seen_ms):
            for number, price, qty, at_ms, sold in rows_of(self.fresh(symbol, now)):
                match = {
                    "type": "match", "trade_id": number, "maker_order_id": "0", "taker_order_id": "0",
                    "side": "buy" if sold else "sell", "size": f"{qty:.8f}", "price": f"{price:.8f}",
                    "product_id": symbol, "sequence": number, "time": iso(at_ms / 1000),
                }  # fmt: skip
                frames.append(Frame(message(match), symbol, number))
        return frames


class KrakenSession(Following):
    """`{"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USDT"]}}`."""

    def hear(self, text: str) -> str | None:
        said = said_object(text)
        params = said.get("params")
        if said.get("method") != "subscribe" or not isinstance(params, dict):
            return message({"error": "Unsupported event", "success": False})
        unknown = [pair for pair in params.get("symbol", []) if not self.follow(str(pair))]
        if unknown:
            return message({"error": f"Currency pair not supported {unknown[0]}", "success": False})
        return message({"method": "subscribe", "result": params, "success": True})

    def due(self, now: float) -> list[Frame]:
        frames = [Frame('{"channel":"heartbeat"}', "")] if self.beats(now) else []
        for pair in list(self.seen_ms):
            for number, price, qty, at_ms, sold in rows_of(self.fresh(pair, now)):
                trade = {
                    "symbol": pair, "side": "sell" if sold else "buy", "price": price, "qty": qty,
                    "ord_type": "market", "trade_id": number, "timestamp": iso(at_ms / 1000),
                }  # fmt: skip
                frames.append(
                    Frame(message({"channel": "trade", "type": "update", "data": [trade]}), pair, number)
                )
        return frames


class MatchesStreams:
    """The dialect of one of the two; Coinbase lives on the root path, Kraken on `/v2`."""

    def __init__(self, book: Book, name: str) -> None:
        self.book, self.name = book, name

    def open(self, path: str, query: str, now: float) -> CoinbaseSession | KrakenSession | None:
        if self.name == "coinbase":
            return CoinbaseSession(self.book, self.name, now) if path == "/" and not query else None
        return KrakenSession(self.book, self.name, now) if path == "/v2" else None


def rows_of(trades: Trades) -> list[tuple[int, float, float, int, bool]]:
    columns = (trades.id, trades.price, trades.qty, trades.time_ms, trades.buyer_is_maker)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def said_object(text: str) -> dict[str, Any]:
    try:
        said = orjson.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def message(value: Any) -> str:
    return orjson.dumps(value).decode()


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
