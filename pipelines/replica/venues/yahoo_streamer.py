"""Yahoo's streamer: `{"subscribe": [..]}` in, `{"type": "pricing", "message": base64(protobuf)}` out.

The protobuf is written by hand: a key is field * 8 + wire type, sint64 are zigzag varints, floats little-endian.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field

import orjson

from pipelines.replica.instruments import Instrument
from pipelines.replica.stream_frames import Frame
from pipelines.replica.truth import MINUTE_S, Book

DAY_S = 86400
_VARINT, _TEXT, _FLOAT = 0, 2, 5


class YahooStreamer:
    """The dialect; the streamer lives on the root path, told apart by its `version`."""

    name = "yahoo"

    def __init__(self, book: Book) -> None:
        self.book = book

    def open(self, path: str, query: str, now: float) -> YahooSession | None:
        mine = path == "/streamer" or (path == "/" and "version" in query)
        return YahooSession(self.book, now=now) if mine else None


@dataclass
class YahooSession:
    """One connection; `seen_ms` by symbol is the market time up to which it was told."""

    book: Book
    seen_ms: dict[str, int] = field(default_factory=dict)
    now: float = 0.0

    def hear(self, text: str) -> str | None:
        """Subscribing again is how clients keep the connection awake; nothing is ever answered."""
        try:
            said = orjson.loads(text)
        except ValueError:
            return None
        if isinstance(said, dict):
            for symbol in said.get("subscribe", []):
                self.seen_ms.setdefault(str(symbol), int(self.now * 1000))
            for symbol in said.get("unsubscribe", []):
                self.seen_ms.pop(str(symbol), None)
        return None

    def due(self, now: float) -> list[Frame]:
        """The newest trade of each symbol that has traded since the last call."""
        self.now = now
        found = (self._newest(symbol, since_ms, now) for symbol, since_ms in list(self.seen_ms.items()))
        return [frame for frame in found if frame]

    def goodbye(self) -> str | None:
        return None

    def _newest(self, symbol: str, since_ms: int, now: float) -> Frame | None:
        inst = self.book.find("yahoo", symbol)
        self.seen_ms[symbol] = max(int(now * 1000), since_ms)
        if inst is None:
            return None
        trades = self.book.trades(inst, since_ms // 60_000 * 60, now, now)
        trades = trades.take(trades.time_ms > since_ms)
        if not len(trades):
            return None
        pricing = encode(
            symbol, float(trades.price[-1]), int(trades.time_ms[-1]), self._day_volume(inst, now), inst
        )
        message = {"type": "pricing", "message": base64.b64encode(pricing).decode()}
        return Frame(orjson.dumps(message).decode(), symbol)

    def _day_volume(self, inst: Instrument, now: float) -> int:
        bars = self.book.with_running(inst, now // DAY_S * DAY_S, now + MINUTE_S, now)
        return round(float(bars.volume.sum()))


def encode(symbol: str, price: float, time_ms: int, day_volume: int, inst: Instrument) -> bytes:
    """PricingData: 1 id, 2 price, 3 time, 4 currency, 5 exchange, 6 quote_type, 7 market_hours, 9 day_volume."""
    return b"".join(
        (
            _text(1, symbol),
            _number(2, price),
            _varint(3, _zigzag(time_ms)),
            _text(4, "USD"),
            _text(5, "CCC" if inst.continuous else "NMS"),
            _varint(6, 41 if inst.continuous else 8),
            _varint(7, 1),
            _varint(9, _zigzag(day_volume)),
        )
    )


def _text(number: int, value: str) -> bytes:
    body = value.encode()
    return bytes((number << 3 | _TEXT,)) + _packed(len(body)) + body


def _number(number: int, value: float) -> bytes:
    return bytes((number << 3 | _FLOAT,)) + struct.pack("<f", value)


def _varint(number: int, value: int) -> bytes:
    return bytes((number << 3 | _VARINT,)) + _packed(value)


def _packed(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1
