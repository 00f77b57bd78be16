"""Coinbase's matches by websocket, without keys.

    {"type": "match", "trade_id": 280232, "side": "sell", "size": "985", "price": "0.00001305",
     "product_id": "SKL-BTC", "sequence": 177100030, "time": "2021-04-17T16:43:37.089723Z", ..}

`side` is the maker's: an order that sold was bought from. The first message of a product is a `last_match`, a trade
of before. A heartbeat a second says that the line lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.sources.streams import StreamTrades, VenueStream
from pipelines.sources.told_trades import Told, count, moment, number, read_frames, side

MAKER = {"sell": "buy", "buy": "sell"}
CHANNELS = ("matches", "heartbeat")


class CoinbaseStream(VenueStream):
    """Spot products by Coinbase's names, such as `BTC-USDT`."""

    name = "coinbase"
    host = "wss://ws-feed.exchange.coinbase.com"

    def address(self, symbols: Sequence[str]) -> str:
        return f"{self.base}/"

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        wanted = {"type": "subscribe", "product_ids": list(symbols), "channels": list(CHANNELS)}
        return [orjson.dumps(wanted).decode()]

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        return read_frames(self.name, frames, _matches)


def _matches(said: Any) -> list[Told]:
    if not isinstance(said, dict):
        raise ValueError("a message is an object")
    if said.get("type") not in ("match", "last_match"):
        return []
    return [
        Told(
            str(said["product_id"]), count(said["trade_id"]), moment(said["time"]),
            number(said["price"]), number(said["size"]), side(said["side"], MAKER),
        )
    ]  # fmt: skip
