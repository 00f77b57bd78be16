"""What goes over the wire: one request, one reply, and the rows inside it that faults may bend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl

import orjson

from pipelines.replica.columns import Bars, Row

Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Request:
    """One GET (or control POST); `headers` with lower-case names."""

    method: str
    path: str
    query: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    @property
    def params(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)


@dataclass(frozen=True)
class Served:
    """The bars of one series in a reply, and how to write the reply with other rows in their place."""

    symbol: str
    bars: Bars
    write: Callable[[list[Row]], bytes]


@dataclass
class Reply:
    """Status, body and headers; `served` where the body holds bars, `trades` how many it holds."""

    status: int = 200
    body: bytes = b""
    headers: list[Header] = field(default_factory=list)
    content_type: bytes = b"application/json;charset=UTF-8"
    served: Served | None = None
    trades: int = 0


class Venue(Protocol):
    """One dialect. `now` is the venue's own clock in epoch seconds."""

    name: str

    def owns(self, path: str) -> bool: ...

    def symbol(self, request: Request) -> str:
        """The symbol asked for as the tape names it, empty if none: faults match on it."""

    def answer(self, request: Request, now: float) -> Reply: ...


def reply_json(value: object, status: int = 200, headers: list[Header] | None = None) -> Reply:
    return Reply(status, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), headers or [])


@lru_cache(maxsize=64)
def http_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def instant(text: str) -> float:
    """Epoch seconds out of ISO 8601 (naive = UTC) or an epoch in s, ms or us; raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        at = datetime.fromisoformat(text.strip())
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).timestamp()
    return number / (1e6 if number >= 1e14 else 1e3 if number >= 1e11 else 1)
