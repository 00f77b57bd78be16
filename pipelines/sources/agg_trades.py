"""Binance's aggregated trades as trades, spot and futures.

    {"a": 26129, "p": "0.01633102", "q": "4.70443515", "f": 27781, "l": 27781, "T": 1498793709153,
     id          price              quantity           first and last fill     time ms
     "m": true, "M": true}
     the buyer was the maker, so the aggressor sold; M is of no use

One aggregate is what one order took at one price; ids follow each other without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from pipelines.market import TRADE_SCHEMA
from pipelines.sources.base import Failure, Reply
from pipelines.sources.klines import json_array
from pipelines.sources.reading import (
    LATEST_MS,
    Rejects,
    Unclean,
    elements_as_received,
    is_count,
    is_epoch_ms,
    is_number,
    repeat,
    time_of,
)

COUNTS = ("a", "f", "l", "T")
TEXTS = ("p", "q")


class ParsedTrades(NamedTuple):
    """trades: TRADE_SCHEMA, sorted by symbol, trade_id, one row each; rejects: REJECT_SCHEMA."""

    trades: pl.DataFrame
    rejects: pl.DataFrame
    failures: list[Failure]


def agg_trades_to_frame(replies: Sequence[Reply]) -> ParsedTrades:
    """Trades of all replies; a row that cannot be read is a reject, the rows beside it are kept."""
    rejects = Rejects()
    read = [(reply, rows) for reply in replies if (rows := json_array(reply, rejects)) is not None]
    try:
        trades = _frame(read)
    except Unclean:
        trades = _frame([(reply, _good_rows(reply, rows, rejects)) for reply, rows in read])
    return ParsedTrades(trades, rejects.frame(), rejects.failures)


def _frame(read: Sequence[tuple[Reply, list[Any]]]) -> pl.DataFrame:
    rows = [row for _, rows in read for row in rows]
    if not rows:
        return pl.DataFrame(schema=TRADE_SCHEMA)
    columns = _columns(rows)
    lengths = [len(rows) for _, rows in read]
    trades = pl.DataFrame(
        {
            "source": repeat([reply.source for reply, _ in read], lengths),
            "symbol": repeat([reply.symbol for reply, _ in read], lengths),
            "trade_id": pl.Series(columns["a"], dtype=pl.Int64),
            "ts": pl.Series(columns["T"], dtype=pl.Int64),
            "price": pl.Series(columns["p"], dtype=pl.String).cast(pl.Float64, strict=False),
            "qty": pl.Series(columns["q"], dtype=pl.String).cast(pl.Float64, strict=False),
            "sold": pl.Series(columns["m"], dtype=pl.Boolean),
            "fills": pl.Series(columns["l"], dtype=pl.Int64) - pl.Series(columns["f"], dtype=pl.Int64) + 1,
        }
    )
    if not trades.select(pl.all_horizontal(pl.col("price", "qty").is_finite().fill_null(False).all())).item():
        raise Unclean
    return _finish(trades)


def _finish(trades: pl.DataFrame) -> pl.DataFrame:
    return (
        trades.with_columns(
            ts=pl.from_epoch("ts", time_unit="ms").cast(pl.Datetime("us")),
            side=pl.when("sold").then(pl.lit("sell")).otherwise(pl.lit("buy")),
        )
        .unique(["symbol", "trade_id"], keep="last", maintain_order=True)
        .sort("symbol", "trade_id")
        .select(TRADE_SCHEMA)
    )


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    if set(map(type, rows)) != {dict}:
        raise Unclean
    try:
        columns = {name: [row[name] for row in rows] for name in (*COUNTS, *TEXTS, "m")}
    except KeyError:
        raise Unclean from None
    kinds = {**dict.fromkeys(COUNTS, int), **dict.fromkeys(TEXTS, str), "m": bool}
    if any(set(map(type, columns[name])) != {kind} for name, kind in kinds.items()):
        raise Unclean
    if not all(is_count(edge) for name in COUNTS for edge in (min(columns[name]), max(columns[name]))):
        raise Unclean
    if min(columns["T"]) < 0 or max(columns["T"]) > LATEST_MS:
        raise Unclean
    return columns


def _good_rows(reply: Reply, rows: list[Any], rejects: Rejects) -> list[dict[str, Any]]:
    problems = {at: problem for at, row in enumerate(rows) if (problem := _problem(row))}
    if problems:
        for at, received in enumerate(elements_as_received(reply.text)):
            if at in problems:
                row = rows[at]
                rejects.row(
                    reply, time_of(row.get("T")) if isinstance(row, dict) else None, *problems[at], received
                )
    return [_as_text(row) for at, row in enumerate(rows) if at not in problems]


def _problem(row: Any) -> tuple[str, str] | None:
    if not isinstance(row, dict):
        return "wrong_shape", f"an aggregated trade is an object, not {type(row).__name__}"
    if missing := [name for name in (*COUNTS, *TEXTS, "m") if name not in row]:
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


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "p": str(row["p"]), "q": str(row["q"])}
