"""Binance's aggregated trades as trades, spot and futures.

    {"a": 26129, "p": "0.01633102", "q": "4.70443515", "f": 27781, "l": 27781, "T": 1498793709153,
     id          price              quantity           first and last fill     time ms
     "m": true, "M": true}
     the buyer was the maker, so the aggressor sold; M is of no use

One aggregate is what one order took at one price; ids follow each other without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pipelines.market import TRADE_SCHEMA
from pipelines.sources.base import Failure, Reply
from pipelines.sources.klines import json_array
from pipelines.sources.missing import Missing, Page, parts
from pipelines.sources.reading import (
    Ints,
    Rejects,
    elements_as_received,
    is_count,
    is_epoch_ms,
    is_number,
    is_plain,
    time_of,
)
from pipelines.sources.venue import Call

COUNTS = ("a", "f", "l", "T")
TEXTS = ("p", "q")
FIELDS = (*COUNTS, *TEXTS, "m")


class ParsedTrades(NamedTuple):
    """trades: TRADE_SCHEMA, sorted by symbol, trade_id, one row each; rejects: REJECT_SCHEMA."""

    trades: pl.DataFrame
    rejects: pl.DataFrame
    failures: list[Failure]


class AggregateRefill:
    """Missing aggregates by id; `weight` is what a page costs."""

    def __init__(self, path: str, weight: int) -> None:
        self.path, self.weight = path, weight

    def pages(self, missing: Missing) -> list[Page]:
        return [Page(missing.symbol, *ids, self._call(missing.symbol, *ids)) for ids in parts(missing)]

    def following(self, page: Page, reply: Reply) -> Call | None:
        return None

    def parse(self, replies: Sequence[Reply]) -> ParsedTrades:
        return agg_trades_to_frame(replies)

    def _call(self, symbol: str, first: int, last: int) -> Call:
        params = {"symbol": symbol, "fromId": str(first), "limit": str(last - first + 1)}
        return Call(symbol, self.path, params, self.weight)


def agg_trades_to_frame(replies: Sequence[Reply]) -> ParsedTrades:
    """Trades of all replies; a row that cannot be read is a reject, the rows beside it are kept."""
    rejects, lengths = Rejects(), []
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for reply in replies:
        read = _read(reply, rejects)
        lengths.append(len(read["a"]))
        for name, column in columns.items():
            column.extend(read[name])
    owner = np.repeat(np.arange(len(replies)), lengths)
    return ParsedTrades(_frame(replies, owner, columns), rejects.frame(), rejects.failures)


def _frame(replies: Sequence[Reply], owner: Ints, columns: dict[str, list[Any]]) -> pl.DataFrame:
    counts = {name: pl.Series(columns[name], dtype=pl.Int64) for name in COUNTS}
    frame = pl.DataFrame(
        {
            "source": pl.Series([reply.source for reply in replies], dtype=pl.String).gather(owner),
            "symbol": pl.Series([reply.symbol for reply in replies], dtype=pl.String).gather(owner),
            "trade_id": counts["a"],
            "ts": counts["T"].cast(pl.Datetime("ms")).cast(pl.Datetime("us")),
            "price": pl.Series(columns["p"], dtype=pl.Float64),
            "qty": pl.Series(columns["q"], dtype=pl.Float64),
            "sold": pl.Series(columns["m"], dtype=pl.Boolean),
            "fills": counts["l"] - counts["f"] + 1,
        }
    )
    side = pl.when("sold").then(pl.lit("sell")).otherwise(pl.lit("buy")).alias("side")
    once = frame.unique(["symbol", "trade_id"], keep="last", maintain_order=True)
    return once.with_columns(side).sort("symbol", "trade_id").select(*TRADE_SCHEMA)


def _read(reply: Reply, rejects: Rejects) -> dict[str, list[Any]]:
    rows = json_array(reply, rejects) or []
    if is_plain(reply.body):
        try:
            columns = _columns(rows)
            if _is_clean(columns):
                return columns
        except (KeyError, TypeError, ValueError):
            pass
    return _columns(_good_rows(reply, rows, rejects))


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    """Raises KeyError, TypeError or ValueError where a row is not what is documented."""
    columns = {name: [row[name] for row in rows] for name in FIELDS}
    for name in TEXTS:
        if set(map(type, columns[name])) - {str, int, float}:
            raise TypeError(name)
        columns[name] = list(map(float, columns[name]))
    return columns


def _is_clean(columns: dict[str, list[Any]]) -> bool:
    if set(map(type, columns["m"])) - {bool} or not all(map(is_epoch_ms, columns["T"])):
        return False
    if not all(is_count(value) for name in COUNTS for value in columns[name]):
        return False
    return all(isfinite(sum(columns[name])) for name in TEXTS)


def _good_rows(reply: Reply, rows: list[Any], rejects: Rejects) -> list[dict[str, Any]]:
    problems = {at: problem for at, row in enumerate(rows) if (problem := row_problem(row))}
    if problems:
        for at, received in enumerate(elements_as_received(reply.text)):
            if at in problems:
                row = rows[at]
                rejects.row(
                    reply, time_of(row.get("T")) if isinstance(row, dict) else None, *problems[at], received
                )
    return [row for at, row in enumerate(rows) if at not in problems]


def row_problem(row: Any) -> tuple[str, str] | None:
    if not isinstance(row, dict):
        return "wrong_shape", f"an aggregated trade is an object, not {type(row).__name__}"
    if missing := [name for name in FIELDS if name not in row]:
        return "wrong_shape", f"an aggregated trade without {', '.join(missing)}"
    if not is_epoch_ms(row["T"]):
        return "bad_time", f"T is {row['T']!r}, not epoch milliseconds"
    for name in COUNTS:
        if not is_count(row[name]):
            return "not_a_number", f"{name} is {row[name]!r}"
    for name in TEXTS:
        if not is_number(row[name]):
            return "not_a_number", f"{name} is {row[name]!r}"
    return None if isinstance(row["m"], bool) else ("wrong_shape", f"m is {row['m']!r}, not true or false")
