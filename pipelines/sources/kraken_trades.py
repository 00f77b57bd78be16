"""Kraken's trades by time.

    {"error": [], "result": {"XXBTZUSD": [["30243.40000", "0.34507674", 1688669597.8277369, "b", "m", "", 61044952],
                                           price          volume        time s            taker  order     id
      ...], "last": "1688671969993150842"}}
                     ns of the last row: where the next page begins

Oldest first, at most a thousand, those later than `since`. The ids of a pair follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.market import naive, utc
from pipelines.sources.agg_trades import ParsedTrades
from pipelines.sources.base import Reply
from pipelines.sources.kraken_stream import TAKER
from pipelines.sources.missing import PAGE, Missing, Page
from pipelines.sources.reading import read_json
from pipelines.sources.told_replies import read_replies
from pipelines.sources.told_trades import Told, count, number, side
from pipelines.sources.venue import Call

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KrakenRefill:
    """`/0/public/Trades`."""

    def pages(self, missing: Missing) -> list[Page]:
        """One, which the others follow: a time is all that can be asked for."""
        micros = (utc(missing.after) - EPOCH) // timedelta(microseconds=1)
        # A stream tells microseconds, the venue keeps finer ones: the trade before comes once more.
        return [Page(missing.symbol, missing.first, missing.last, _call(missing.symbol, (micros - 1) * 1000))]

    def following(self, page: Page, reply: Reply) -> Call | None:
        try:
            body = read_json(reply.body)
            ids, last = [count(row[6]) for row in _rows(body)], int(body["result"]["last"])
        except (ValueError, KeyError, TypeError, IndexError):
            return None
        if not ids or max(ids) >= page.last or str(last) == reply.params["since"]:
            return None
        return _call(page.symbol, last)

    def parse(self, replies: Sequence[Reply]) -> ParsedTrades:
        return read_replies(replies, _rows, _trade)


def _call(symbol: str, since_ns: int) -> Call:
    return Call(symbol, "/0/public/Trades", {"pair": symbol, "since": str(since_ns), "count": str(PAGE)})


def _rows(body: Any) -> Iterable[Any]:
    """The one list in the result, under whichever of its names Kraken chose."""
    [listed] = [value for name, value in body["result"].items() if name != "last"]
    if not isinstance(listed, list):
        raise TypeError(f"expected an array of trades, not {type(listed).__name__}")
    return listed


def _trade(symbol: str, row: Any) -> Told:
    price, volume, time_s, taker, _, _, trade_id = row
    at = naive(EPOCH + timedelta(microseconds=round(number(time_s) * 1e6)))
    return Told(symbol, count(trade_id), at, number(price), number(volume), side(taker, TAKER))
