"""Financial Modeling Prep's trades of US shares by websocket, with a key.

    {"s": "aapl", "t": 1645216790628, "type": "T", "lp": 169.11, "ls": 100, "ap": 169.2, "bp": 169.1, ..}
                  epoch              T trade, Q quote   last price and size

Trades have no ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.sources.streams import StreamTrades, VenueStream
from pipelines.sources.told_trades import Told, epoch_moment, nameless_id, number, read_frames


class FmpStream(VenueStream):
    """US shares by their tickers."""

    name = "fmp"
    host = "wss://websockets.financialmodelingprep.com"
    silence_s = 300.0
    needs_key = True

    def address(self, symbols: Sequence[str]) -> str:
        return self.base

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        said = [{"event": "login", "data": {"apiKey": self.key}}]
        said += [{"event": "subscribe", "data": {"ticker": symbol.lower()}} for symbol in symbols]
        return [orjson.dumps(one).decode() for one in said]

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        return read_frames(self.name, frames, _trades)


def _trades(said: Any) -> list[Told]:
    if not isinstance(said, dict):
        raise ValueError("a message is an object")
    if said.get("type") != "T":
        return []
    ts, price, qty = epoch_moment(said["t"]), number(said["lp"]), number(said["ls"])
    return [Told(str(said["s"]).upper(), nameless_id(ts, price, qty), ts, price, qty, None)]
