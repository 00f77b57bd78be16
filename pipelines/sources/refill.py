"""Missing trades fetched by id: the venue's own numbers say exactly what to ask for.

Each venue says in its own small class how one page is asked for, whether another follows, and how pages are read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from pipelines.sources.agg_trades import AggregateRefill, ParsedTrades
from pipelines.sources.base import Failure, Reply, Source
from pipelines.sources.client import VenueClient
from pipelines.sources.coinbase_trades import CoinbaseRefill
from pipelines.sources.kraken_trades import KrakenRefill
from pipelines.sources.missing import Missing, Page
from pipelines.sources.venue import Call


class Refill(Protocol):
    """How a venue gives missing trades."""

    def pages(self, missing: Missing) -> list[Page]:
        """What to ask for, oldest first."""
        ...

    def following(self, page: Page, reply: Reply) -> Call | None:
        """The page after this answer; None where it reached the page's last trade, or the venue's newest."""
        ...

    def parse(self, replies: Sequence[Reply]) -> ParsedTrades:
        """Trades of all replies; a row that cannot be read is a reject, the rows beside it are kept."""
        ...


REFILLS: Mapping[str, Refill] = {
    "binance": AggregateRefill("/api/v3/aggTrades", 4),
    "binance_futures": AggregateRefill("/fapi/v1/aggTrades", 20),
    "coinbase": CoinbaseRefill(),
    "kraken": KrakenRefill(),
}


@runtime_checkable
class Asks(Protocol):
    """A source with a client of its own."""

    client: VenueClient


@dataclass
class Fetched:
    """answered: pages that the venue answered to their end; failures: what it said instead of an answer."""

    replies: list[Reply] = field(default_factory=list)
    answered: list[Page] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class _Key(NamedTuple):
    symbol: str
    path: str
    params: tuple[tuple[str, str], ...]


def can_refill(source: Source) -> bool:
    """Whether this source gives missing trades, and its trades have ids that follow each other."""
    return source.name in REFILLS and isinstance(source, Asks)


def pages_of(source: Source, holes: Sequence[Missing], most: int) -> list[Page]:
    """Up to `most` pages, the newest holes first."""
    newest = sorted(holes, key=lambda hole: (hole.last, hole.symbol), reverse=True)
    pages = [page for hole in newest for page in REFILLS[source.name].pages(hole)]
    return pages[:most]


def fetch_pages(source: Source, pages: Sequence[Page], total_s: float) -> Fetched:
    """The pages and those that follow them, within `total_s` seconds; nothing where the source cannot give them."""
    done = Fetched()
    if not can_refill(source) or not isinstance(source, Asks):
        return done
    refill, deadline = REFILLS[source.name], time.monotonic() + total_s
    wanted = {_key(page.call): page for page in pages}
    while wanted and (left := deadline - time.monotonic()) > 0:
        got = source.client.get_all([page.call for page in wanted.values()], left)
        done.replies += got.replies
        done.failures += got.failures
        more: dict[_Key, Page] = {}
        for reply in got.replies:
            page = wanted[_Key(reply.symbol, reply.path, tuple(sorted(reply.params.items())))]
            if not reply.ok:
                continue
            if (call := refill.following(page, reply)) is None:
                done.answered.append(page)
            else:
                more[_key(call)] = page._replace(call=call)
        wanted = more
    return done


def _key(call: Call) -> _Key:
    return _Key(call.symbol, call.path, tuple(sorted(call.params.items())))
