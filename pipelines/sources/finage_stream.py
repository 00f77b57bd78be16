"""Finage's trades of US shares by websocket; the address is one's own account's, and so is the key in it.

    {"s": "AAPL", "p": 169.11, "t": 1645216790628, "v": 100}
                  price        epoch               size

Trades have no ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.sources.streams import StreamTrades, VenueStream
from pipelines.sources.told_trades import Told, epoch_moment, nameless_id, number, read_frames


class FinageStream(VenueStream):
    """US shares by their tickers; `stream_url` in its [[source]] says where."""

    name = "finage"
    host = "wss://finage.invalid"
    silence_s = 300.0

    def address(self, symbols: Sequence[str]) -> str:
        return self.base

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        return [orjson.dumps({"action": "subscribe", "symbols": ",".join(symbols)}).decode()]

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        return read_frames(self.name, frames, _trades)


def _trades(said: Any) -> list[Told]:
    if not isinstance(said, dict):
        raise ValueError("a message is an object")
    if not {"s", "p", "t", "v"} <= said.keys():
        return []
    ts, price, qty = epoch_moment(said["t"]), number(said["p"]), number(said["v"])
    return [Told(str(said["s"]), nameless_id(ts, price, qty), ts, price, qty, None)]
