"""Binance's kline arrays, spot and futures, as bars: hundreds of replies become one frame in one pass.

    [1499040000000, "0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815",
     open time ms    open          high          low           close         base volume
     1499644799999, "2434.19055334", 308,   "1756.87402397", "28.46694368", "0"]
     close time ms   quote volume    trades  taker base       taker quote    unused

A minute without trades is sent as a flat row of volume 0. The last row may be a bar that is not over,
which nothing in it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from pipelines.market import BAR_SCHEMA
from pipelines.sources.base import Parsed, Reply
from pipelines.sources.reading import (
    LATEST_MS,
    Rejects,
    Unclean,
    elements_as_received,
    finish_bars,
    is_count,
    is_epoch_ms,
    is_number,
    repeat,
    time_of,
)
from pipelines.sources.refusals import refusal

WIDTH = 12
TEXT_FIELDS = {1: "open", 2: "high", 3: "low", 4: "close", 5: "volume", 7: "turnover"}


def klines_to_bars(replies: Sequence[Reply], market_now: datetime) -> Parsed:
    """Bars of all replies; a row that cannot be read is a reject, the rows beside it are kept.

    A bar sent twice is kept as it came last. `is_closed` is ts + 1 minute <= `market_now`.
    """
    rejects = Rejects()
    read = [(reply, rows) for reply in replies if (rows := json_array(reply, rejects)) is not None]
    try:
        bars = _frame(read)
    except Unclean:
        bars = _frame([(reply, _good_rows(reply, rows, rejects)) for reply, rows in read])
    return Parsed(finish_bars(bars, market_now), rejects.frame(), rejects.failures)


def binance_refusal(reply: Reply, rejects: Rejects) -> None:
    """An error status with Binance's words, `{"code": -1121, "msg": "Invalid symbol."}`, or the bare text."""
    try:
        error = orjson.loads(reply.body)
        code, words = error["code"], f"{error['code']} {error['msg']}"
    except (ValueError, KeyError, TypeError):
        code, words = None, reply.text
    rejects.failures.append(refusal(reply, words, unknown_symbol=code == -1121))


def json_array(reply: Reply, rejects: Rejects) -> list[Any] | None:
    """The reply's rows; None, with a failure noted, where it holds none."""
    if not reply.ok:
        binance_refusal(reply, rejects)
        return None
    try:
        rows = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        rejects.reply(reply, "not_json", f"the answer is not JSON: {error}")
        return None
    if not isinstance(rows, list):
        rejects.reply(reply, "wrong_shape", f"expected an array of rows, not {type(rows).__name__}")
        return None
    return rows


def _frame(read: Sequence[tuple[Reply, list[Any]]]) -> pl.DataFrame:
    """All rows as columns; raises Unclean if any row is not twelve values of the documented types."""
    rows = [row for _, rows in read for row in rows]
    if not rows:
        return pl.DataFrame(schema=BAR_SCHEMA)
    columns = _columns(rows)
    lengths = [len(rows) for _, rows in read]
    text = {name: pl.Series(columns[at], dtype=pl.String) for at, name in TEXT_FIELDS.items()}
    bars = pl.DataFrame(
        {
            "source": repeat([reply.source for reply, _ in read], lengths),
            "symbol": repeat([reply.symbol for reply, _ in read], lengths),
            "ts": pl.Series(columns[0], dtype=pl.Int64),
            **text,
            "trades": pl.Series(columns[8], dtype=pl.Int64),
        }
    ).with_columns(pl.col(*text).cast(pl.Float64, strict=False))
    if not bars.select(pl.all_horizontal(pl.col(*text).is_finite().fill_null(False).all())).item():
        raise Unclean
    return bars.with_columns(
        pl.from_epoch("ts", time_unit="ms").cast(pl.Datetime("us")), venue=pl.col("source")
    )


def _columns(rows: list[Any]) -> list[tuple[Any, ...]]:
    if set(map(type, rows)) != {list} or set(map(len, rows)) != {WIDTH}:
        raise Unclean
    columns = list(zip(*rows, strict=True))
    if any(set(map(type, columns[at])) != {str} for at in TEXT_FIELDS):
        raise Unclean
    if set(map(type, columns[0])) != {int} or set(map(type, columns[8])) != {int}:
        raise Unclean
    if (
        min(columns[0]) < 0
        or max(columns[0]) > LATEST_MS
        or not all(map(is_count, (min(columns[8]), max(columns[8]))))
    ):
        raise Unclean
    return columns


def _good_rows(reply: Reply, rows: list[Any], rejects: Rejects) -> list[list[Any]]:
    """The readable rows with their numbers as text, as most come; the others go to `rejects` as received."""
    problems = {at: problem for at, row in enumerate(rows) if (problem := _problem(row))}
    if problems:
        for at, received in enumerate(elements_as_received(reply.text)):
            if at in problems:
                row = rows[at]
                ts = time_of(row[0]) if isinstance(row, list) and row else None
                rejects.row(reply, ts, *problems[at], received)
    return [_as_text(row) for at, row in enumerate(rows) if at not in problems]


def _problem(row: Any) -> tuple[str, str] | None:
    """Reason and detail of a row that cannot be read."""
    if not isinstance(row, list):
        return "wrong_shape", f"a kline is an array, not {type(row).__name__}"
    if len(row) != WIDTH:
        return "wrong_arity", f"a kline has {WIDTH} values, not {len(row)}"
    if not is_epoch_ms(row[0]):
        return "bad_time", f"open time is {row[0]!r}, not epoch milliseconds"
    for at, name in TEXT_FIELDS.items():
        if not is_number(row[at]):
            return "not_a_number", f"{name} is {row[at]!r}"
    if not is_count(row[8]):
        return "not_a_number", f"trades is {row[8]!r}"
    return None


def _as_text(row: list[Any]) -> list[Any]:
    return [str(value) if at in TEXT_FIELDS else value for at, value in enumerate(row)]
