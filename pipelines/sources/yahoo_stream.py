"""Yahoo's streamer: prices of shares and coins as base64 protobuf, decoded by hand.

    {"type": "pricing", "message": "CgdCVEMtVVNEFQDJtEYYgPC/p9Nh.."}

PricingData: 1 id, 2 price (float), 3 time (ms), 9 day_volume (the session's total so far), 22 last_size. A message
is a glance at the tape, not a print: what was traded since the last glance is the difference of the totals. It is
one trade here, known by its time; the first glance of a session has nothing to differ from and is left out.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import polars as pl

from pipelines.market import TRADE_SCHEMA
from pipelines.sources.base import REJECT_SCHEMA
from pipelines.sources.reading import time_of
from pipelines.sources.streams import StreamTrades, VenueStream

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_UNSIGNED = (6, 7)
"""int32 fields; every other whole number is a zigzag sint64."""


class Glance(NamedTuple):
    """What one message says."""

    symbol: str
    price: float
    time_ms: int
    day_volume: int | None


class YahooStream(VenueStream):
    """Subscriptions are repeated every 15 seconds, which keeps the connection awake."""

    name = "yahoo"
    host = "wss://streamer.finance.yahoo.com"
    max_age_s = 6 * 3600.0
    silence_s = 300.0
    heartbeat_s: float | None = 15.0
    totals_are_told = True

    def address(self, symbols: Sequence[str]) -> str:
        return f"{self.base}/?version=2"

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        return [orjson.dumps({"subscribe": list(symbols)}).decode()]

    def totals(self, frames: Sequence[bytes]) -> dict[str, float]:
        """Symbol -> the newest day_volume."""
        found: dict[str, tuple[int, float]] = {}
        for frame in frames:
            try:
                glance = read_frame(frame)
            except ValueError:
                continue
            if glance and glance.day_volume and glance.time_ms >= found.get(glance.symbol, (0, 0.0))[0]:
                found[glance.symbol] = glance.time_ms, float(glance.day_volume)
        return {symbol: total for symbol, (_, total) in found.items()}

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        glances: list[tuple[int, Glance]] = []
        rejects: list[tuple[Any, ...]] = []
        for number, frame in enumerate(frames):
            try:
                glance = read_frame(frame)
            except ValueError as error:
                text = frame.decode("utf-8", "backslashreplace")
                rejects.append((self.name, None, None, "wrong_shape", f"{self.name}: {error}", text))
                continue
            if glance:
                glances.append((number, glance))
        rows = list(_traded(glances, dict(before or {})))
        schema = {**TRADE_SCHEMA, "frame": pl.get_index_type()}
        lost = pl.DataFrame(rejects, schema=REJECT_SCHEMA, orient="row")
        trades = pl.DataFrame(rows, schema=schema, orient="row")
        return StreamTrades(trades, lost, len(frames) - trades.height - lost.height)


def read_frame(frame: bytes) -> Glance | None:
    """The glance in a frame; None where it is another message. ValueError says what is wrong with it."""
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(said, dict):
        raise ValueError("a frame is an object")
    if not isinstance(said.get("message"), str):
        return None
    try:
        fields = decode(base64.b64decode(said["message"], validate=True))
    except (binascii.Error, struct.error, IndexError) as error:
        raise ValueError(f"message cannot be decoded: {error}") from error
    symbol, price, time_ms, total = (fields.get(number) for number in (1, 2, 3, 9))
    if not isinstance(symbol, str) or not isinstance(price, float) or time_of(time_ms) is None:
        raise ValueError("a price has an id, a price and a time")
    assert isinstance(time_ms, int)
    return Glance(symbol, round(price, 6), time_ms, total if isinstance(total, int) else None)


def decode(data: bytes) -> dict[int, int | float | str]:
    """Field number -> value of a PricingData message; unknown fields too.

    Raises IndexError, struct.error or ValueError where the bytes are no such message.
    """
    fields: dict[int, int | float | str] = {}
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            fields[number] = value if number in _UNSIGNED else (value >> 1) ^ -(value & 1)
        elif wire == _FLOAT:
            fields[number] = struct.unpack_from("<f", data, position)[0]
            position += 4
        elif wire == _DOUBLE:
            fields[number] = struct.unpack_from("<d", data, position)[0]
            position += 8
        elif wire == _BYTES:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise ValueError(f"field {number} is longer than the message")
            fields[number] = data[position : position + length].decode()
            position += length
        else:
            raise ValueError(f"field {number} has wire type {wire}, which PricingData does not use")
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a whole number of more than ten bytes")


def _traded(glances: Sequence[tuple[int, Glance]], totals: dict[str, float]) -> Iterator[tuple[Any, ...]]:
    """A trade for each glance whose total has grown; a total that fell is a new session's."""
    for number, glance in sorted(glances, key=lambda one: one[1].time_ms):
        if glance.day_volume is None:
            continue
        before = totals.get(glance.symbol)
        totals[glance.symbol] = float(glance.day_volume)
        qty = None if before is None else glance.day_volume - before
        if qty is not None and qty > 0:
            yield (
                YahooStream.name, glance.symbol, glance.time_ms, time_of(glance.time_ms), glance.price, float(qty),
                None, 1, number,
            )  # fmt: skip
