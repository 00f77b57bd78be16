"""Missing trades fetched by id: the venue's own numbers say exactly what to ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from pipelines.sources.base import FetchResult, Source
from pipelines.sources.client import VenueClient
from pipelines.sources.venue import Call

PAGE = 1000


class Route(NamedTuple):
    """Where a venue gives aggregated trades by id, and what a page weighs."""

    path: str
    weight: int


ROUTES: Mapping[str, Route] = {
    "binance": Route("/api/v3/aggTrades", 4),
    "binance_futures": Route("/fapi/v1/aggTrades", 20),
}


class Span(Protocol):
    """Trades `first`..`last` of a symbol."""

    @property
    def symbol(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


S = TypeVar("S", bound=Span)


@runtime_checkable
class Asks(Protocol):
    """A source with a client of its own."""

    client: VenueClient


def can_refill(source: Source) -> bool:
    """Whether this source gives trades by id."""
    return source.name in ROUTES and isinstance(source, Asks)


def pages_of(spans: Sequence[S], pages: int) -> list[tuple[S, int, int]]:
    """Up to `pages` pages (span, first id, how many), the newest spans first."""
    newest = sorted(spans, key=lambda span: (span.last, span.symbol), reverse=True)
    return list(islice((page for span in newest for page in _pages(span)), pages))


def fetch_pages(source: Source, pages: Sequence[tuple[Span, int, int]], total_s: float) -> FetchResult:
    """The missing trades, within `total_s` seconds; nothing where the source cannot give them."""
    if not can_refill(source) or not isinstance(source, Asks):
        return FetchResult([], [])
    route = ROUTES[source.name]
    calls = [
        Call(
            span.symbol,
            route.path,
            {"symbol": span.symbol, "fromId": str(first), "limit": str(count)},
            route.weight,
        )
        for span, first, count in pages
    ]
    return source.client.get_all(calls, total_s)


def _pages(span: S) -> Iterator[tuple[S, int, int]]:
    for first in range(span.first, span.last + 1, PAGE):
        yield span, first, min(PAGE, span.last - first + 1)
