"""What every stream is: an address that pushes frames, how to behave there, and how its frames become trades."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

import polars as pl

from pipelines.sources.base import REJECT_SCHEMA


class StreamTrades(NamedTuple):
    """trades: TRADE_SCHEMA and `frame` (index into the frames), in order of arrival; rejects: REJECT_SCHEMA.

    others: frames that are no trades and need not be: answers, other events.
    """

    trades: pl.DataFrame
    rejects: pl.DataFrame
    others: int


class Stream(Protocol):
    """One venue's dialect of a websocket. Times in seconds."""

    name: str
    symbols_per_line: int
    """Most symbols on one connection."""
    max_age_s: float
    """A connection is replaced by a new one before the venue ends it."""
    silence_s: float
    """Without any frame for so long a connection is taken for dead, however open it looks."""
    heartbeat_s: float | None
    """How often `greetings` is said again to keep the connection awake; None: never."""
    totals_are_told: bool
    """Whether frames tell the session's total so far instead of each trade."""
    needs_key: bool
    farewell: bytes | None
    """What a frame holds by which the venue announces that it will close; None where it does not."""

    def address(self, symbols: Sequence[str]) -> str:
        """Where to connect for these symbols."""
        ...

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        """What to say after connecting; empty where the address says it all."""
        ...

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float]) -> StreamTrades:
        """Trades of the frames; unknown keys and events are ignored, what is broken is a reject word for word.

        before: for venues that tell a running total, the total of each symbol ahead of these frames.
        """
        ...

    def totals(self, frames: Sequence[bytes]) -> dict[str, float]:
        """The newest running total of each symbol in the frames; empty for venues that tell each trade."""
        ...


class VenueStream(ABC):
    """What most venues' streams have in common; a subclass says where it lives, what to say, and what is said there."""

    name: str
    host: str
    symbols_per_line = 100
    max_age_s = 23.5 * 3600
    silence_s = 30.0
    heartbeat_s: float | None = None
    totals_are_told = False
    farewell: bytes | None = None
    needs_key = False

    def __init__(self, base_url: str | None = None, key: str = "") -> None:
        self.base, self.key = (base_url or self.host).rstrip("/"), key

    @abstractmethod
    def address(self, symbols: Sequence[str]) -> str: ...

    @abstractmethod
    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades: ...

    def greetings(self, symbols: Sequence[str]) -> list[str]:
        return []

    def totals(self, frames: Sequence[bytes]) -> dict[str, float]:
        return {}


class StreamFactory(Protocol):
    """Usually the stream's class; None as address means the venue's own."""

    def __call__(self, base_url: str | None = None, key: str = "") -> Stream: ...


def websocket_url(url: str) -> str:
    """`http://host:8900` as `ws://host:8900`: where a replica has its websockets."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme)).rstrip("/")


def no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema=REJECT_SCHEMA)
