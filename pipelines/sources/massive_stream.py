"""Massive's trades of US shares by websocket, with a key whose plan has it.

    [{"ev": "T", "sym": "MSFT", "x": 4, "i": "12345", "z": 3, "p": 114.125, "s": 100, "c": [0, 12],
      "t": 1536036818784, "q": 3681328}]
      time ms             number in the order of the symbol's events

Messages are arrays, of events and of `status` alike. `q` grows and is unique for a symbol, but leaves numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.sources.streams import StreamTrades, VenueStream
from pipelines.sources.told_trades import Told, count, epoch_moment, number, read_frames


class MassiveStream(VenueStream):
    """US shares by their tickers."""

    name = "massive"
    host = "wss://socket.massive.com"
    silence_s = 300.0
    needs_key = True

    def address(self, symbols: Sequence[str]) -> str:
        return f"{self.base}/stocks"

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        wanted = ",".join(f"T.{symbol}" for symbol in symbols)
        said = ({"action": "auth", "params": self.key}, {"action": "subscribe", "params": wanted})
        return [orjson.dumps(one).decode() for one in said]

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        return read_frames(self.name, frames, _trades)


def _trades(said: Any) -> list[Told]:
    if not isinstance(said, list):
        raise ValueError("a message is an array of events")
    return [
        Told(
            str(one["sym"]), count(one["q"]), epoch_moment(one["t"]), number(one["p"]), number(one["s"]), None
        )
        for one in said
        if one.get("ev") == "T"
    ]
