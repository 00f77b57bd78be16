"""What is asked for when trades are missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from pipelines.sources.venue import Call

PAGE = 1000
"""Most trades of one answer, at every venue that we refill from."""


class Missing(Protocol):
    """Trades `first`..`last` of a symbol, after the trade at `after` (naive UTC)."""

    @property
    def symbol(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def after(self) -> datetime: ...


class Page(NamedTuple):
    """One request for the trades `first`..`last`."""

    symbol: str
    first: int
    last: int
    call: Call


def parts(missing: Missing) -> Iterator[tuple[int, int]]:
    """The ids of each page, both ends included."""
    for first in range(missing.first, missing.last + 1, PAGE):
        yield first, min(first + PAGE - 1, missing.last)
