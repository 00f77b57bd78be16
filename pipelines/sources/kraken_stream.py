"""Kraken's trades by websocket, without keys: version 2, and what was recorded of version 1.

    {"channel": "trade", "type": "update", "data": [{"symbol": "BTC/USD", "side": "sell", "price": 68900.5,
     "qty": 0.0015, "ord_type": "market", "trade_id": 4665906, "timestamp": "2026-04-07T14:30:02.789012Z"}]}

    [993, [["354.04000000", "0.28245396", "1618678150.826417", "s", "m", ""]], "trade", "XMR/USD"]
           price           volume         time s               taker's side

Version 2 says BTC where everything else of Kraken says XBT. Version 1 has no ids: there the time in microseconds is
the trade's. A heartbeat a second says that the line lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from pipelines.market import naive
from pipelines.sources.streams import StreamTrades, VenueStream
from pipelines.sources.told_trades import Told, count, legs, moment, number, read_frames, side

TAKER = {"sell": "sell", "buy": "buy", "s": "sell", "b": "buy"}
OURS = {"BTC": "XBT", "DOGE": "XDG"}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}


class KrakenStream(VenueStream):
    """Spot pairs by Kraken's short names, such as `XBTUSDT`."""

    name = "kraken"
    host = "wss://ws.kraken.com"

    def address(self, symbols: Sequence[str]) -> str:
        return f"{self.base}/v2"

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        params = {"channel": "trade", "symbol": [pair_of(symbol) for symbol in symbols], "snapshot": False}
        return [orjson.dumps({"method": "subscribe", "params": params}).decode()]

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        return read_frames(self.name, frames, _trades)


def pair_of(symbol: str) -> str:
    """`XBTUSDT` as version 2 writes it: `BTC/USDT`."""
    base, quote = legs(symbol)
    return f"{THEIRS.get(base, base)}/{THEIRS.get(quote, quote)}"


def symbol_of(pair: str) -> str:
    """`BTC/USDT` or `XBT/USDT` as our `XBTUSDT`."""
    return "".join(OURS.get(leg, leg) for leg in pair.split("/"))


def _trades(said: Any) -> list[Told]:
    if isinstance(said, list):
        return _of_version_1(said)
    if not isinstance(said, dict):
        raise ValueError("a message is an object or a list")
    if said.get("channel") != "trade" or "data" not in said:
        return []
    return [
        Told(
            symbol_of(str(one["symbol"])), count(one["trade_id"]), moment(one["timestamp"]),
            number(one["price"]), number(one["qty"]), side(one["side"], TAKER),
        )
        for one in said["data"]
    ]  # fmt: skip


def _of_version_1(said: list[Any]) -> list[Told]:
    if said[-2] != "trade":
        return []
    told = []
    for price, volume, time_s, taker, *_ in said[1]:
        micros = round(number(time_s) * 1e6)
        at = naive(datetime.fromtimestamp(micros / 1e6, UTC))
        told.append(Told(symbol_of(said[-1]), micros, at, number(price), number(volume), side(taker, TAKER)))
    return told
