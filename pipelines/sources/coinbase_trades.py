"""Coinbase's trades by id.

    [{"trade_id": 74, "side": "sell", "size": "0.01000000", "price": "10.00000000",
      "time": "2014-11-07T22:19:28.578544Z"}, ...]

Newest first; `after` is the id before which the page begins, counting down. `side` is the maker's. The ids of a
product follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from pipelines.sources.agg_trades import ParsedTrades
from pipelines.sources.base import Reply
from pipelines.sources.coinbase_stream import MAKER
from pipelines.sources.missing import Missing, Page, parts
from pipelines.sources.told_replies import read_replies
from pipelines.sources.told_trades import Told, count, moment, number, side
from pipelines.sources.venue import Call


class CoinbaseRefill:
    """`/products/{id}/trades`."""

    def pages(self, missing: Missing) -> list[Page]:
        path = f"/products/{quote(missing.symbol, safe='')}/trades"
        return [
            Page(
                missing.symbol, first, last,
                Call(missing.symbol, path, {"after": str(last + 1), "limit": str(last - first + 1)}),
            )
            for first, last in parts(missing)
        ]  # fmt: skip

    def following(self, page: Page, reply: Reply) -> Call | None:
        return None

    def parse(self, replies: Sequence[Reply]) -> ParsedTrades:
        return read_replies(replies, _rows, _trade)


def _rows(body: Any) -> Iterable[Any]:
    if not isinstance(body, list):
        raise TypeError(f"expected an array of trades, not {type(body).__name__}")
    return body


def _trade(symbol: str, row: Any) -> Told:
    return Told(
        symbol, count(row["trade_id"]), moment(row["time"]),
        number(row["price"]), number(row["size"]), side(row["side"], MAKER),
    )  # fmt: skip
