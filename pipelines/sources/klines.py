"""Binance's kline arrays, spot and futures, as bars: hundreds of replies become one frame in one pass.

    [1499040000000, "0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815",
     open time ms    open          high          low           close         base volume
     1499644799999, "2434.19055334", 308,   "1756.87402397", "28.46694368", "0"]
     close time ms   quote volume    trades  taker base       taker quote    unused

A minute without trades is sent as a flat row of volume 0. The last row may be a bar that is not over,
which nothing in it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
import orjson
import polars as pl

from pipelines.market import BAR_SCHEMA, epoch_ms
from pipelines.sources.base import Parsed, Reply
from pipelines.sources.plain_klines import plain_rows, read_plain
from pipelines.sources.reading import (
    LATEST_MS,
    Ints,
    Rejects,
    arrange_bars,
    elements_as_received,
    is_count,
    is_epoch_ms,
    is_number,
    is_plain,
    read_json,
    time_of,
)
from pipelines.sources.refusals import refusal

WIDTH = 12
TEXTS = {1: "open", 2: "high", 3: "low", 4: "close", 5: "volume", 7: "turnover"}
TIME, TRADES = 0, 8
SCHEMA: dict[str, pl.DataType] = {
    "ts": pl.Int64(),
    **{name: BAR_SCHEMA[name] for name in (*TEXTS.values(), "trades")},
}


def klines_to_bars(replies: Sequence[Reply], market_now: datetime) -> Parsed:
    """Bars of all replies; a row that cannot be read is a reject, the rows beside it are kept.

    So is a row of another time than its request names, unless it lies in the future, which the gate tells. A bar sent
    twice is kept as it came last. `is_closed` is ts + 1 minute <= `market_now`.
    """
    rejects = Rejects()
    owner, rows = _asked_for(replies, *_rows(replies, rejects), market_now, rejects)
    values = {name: rows[name] for name in (*TEXTS.values(), "trades")}
    bars = arrange_bars(replies, owner, rows["ts"].to_numpy(), values, market_now)
    return Parsed(bars, rejects.frame(), rejects.failures)


def _rows(replies: Sequence[Reply], rejects: Rejects) -> tuple[Ints, pl.DataFrame]:
    """For each row the index of its reply, in their order; and the rows: SCHEMA, ts in epoch ms."""
    plain = {at: n for at, reply in enumerate(replies) if reply.ok and (n := plain_rows(reply.body))}
    table = read_plain([replies[at].body for at in plain]) if plain else None
    if table is None:
        plain = {}
    lengths: dict[int, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA}
    for at, reply in enumerate(replies):
        if at in plain:
            continue
        # Rows become columns reply by reply: keeping all the small lists costs more than reading them.
        read = _read(reply, rejects)
        lengths[at] = len(read["ts"])
        for name, column in columns.items():
            column.extend(read[name])
    owner, rows = _owners(plain | lengths), pl.DataFrame(columns, schema=SCHEMA)
    if table is None:
        return owner, rows
    if not lengths:
        return owner, table
    order = np.argsort(owner, kind="stable")
    return owner[order], table.select(*SCHEMA).vstack(rows)[order]


def _asked_for(
    replies: Sequence[Reply], owner: Ints, rows: pl.DataFrame, market_now: datetime, rejects: Rejects
) -> tuple[Ints, pl.DataFrame]:
    """The rows without those that their reply's request did not ask for."""
    ts = rows["ts"].to_numpy()
    since = np.array([int(reply.params.get("startTime", 0)) for reply in replies], np.int64)
    until = np.array([int(reply.params.get("endTime", LATEST_MS)) for reply in replies], np.int64)
    stray = ((ts < since[owner]) | (ts > until[owner])) & (ts <= epoch_ms(market_now))
    if not stray.any():
        return owner, rows
    for at in np.unique(owner[stray]):
        reply, times = replies[at], set(ts[stray & (owner == at)].tolist())
        asked = f"asked for {time_of(since[at].item())} to {time_of(until[at].item())}"
        for received in elements_as_received(reply.text):
            row = read_json(received.encode()) if received.startswith("[") else None
            if row and row[TIME] in times:
                rejects.row(
                    reply,
                    time_of(row[TIME]),
                    "not_asked_for",
                    f"{time_of(row[TIME])} came, {asked}",
                    received,
                )
    return owner[~stray], rows.filter(~stray)


def _owners(lengths: Mapping[int, int]) -> Ints:
    """Each reply's index as often as it has rows."""
    return np.repeat(np.array(list(lengths), np.int64), np.array(list(lengths.values()), np.int64))


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
        rows = read_json(reply.body)
    except ValueError as error:
        rejects.reply(reply, "not_json", f"the answer is not JSON: {error}")
        return None
    if not isinstance(rows, list):
        rejects.reply(reply, "wrong_shape", f"expected an array of rows, not {type(rows).__name__}")
        return None
    return rows


def _read(reply: Reply, rejects: Rejects) -> dict[str, Sequence[Any]]:
    rows = json_array(reply, rejects) or []
    if is_plain(reply.body) and not (set(map(type, rows)) - {list} or set(map(len, rows)) - {WIDTH}):
        raw = _transposed(rows)
        try:
            columns = _columns(raw)
        except (TypeError, ValueError):  # some row is at fault: find out which
            return _columns(_transposed(_good_rows(reply, rows, rejects)))
        if _is_clean(raw) and all(isfinite(sum(columns[name])) for name in TEXTS.values()):
            return columns
    return _columns(_transposed(_good_rows(reply, rows, rejects)))


def _transposed(rows: list[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) or [()] * WIDTH


def _columns(raw: list[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    numbers = {name: list(map(float, raw[at])) for at, name in TEXTS.items()}
    return {"ts": raw[TIME], **numbers, "trades": raw[TRADES]}


def _is_clean(raw: list[tuple[Any, ...]]) -> bool:
    """Whether all values have the documented types and times and counts are in range."""
    whole, text = set(map(type, raw[TIME] + raw[TRADES])), set[type]()
    for at in TEXTS:
        text.update(map(type, raw[at]))
    if whole - {int} or text - {str, int, float}:
        return False
    return not raw[TIME] or all(
        (
            *map(is_epoch_ms, (min(raw[TIME]), max(raw[TIME]))),
            *map(is_count, (min(raw[TRADES]), max(raw[TRADES]))),
        )
    )


def _good_rows(reply: Reply, rows: list[Any], rejects: Rejects) -> list[list[Any]]:
    """The readable rows; the others go to `rejects` as received."""
    problems = {at: problem for at, row in enumerate(rows) if (problem := _problem(row))}
    if problems:
        for at, received in enumerate(elements_as_received(reply.text)):
            if at in problems:
                row = rows[at]
                ts = time_of(row[0]) if isinstance(row, list) and row else None
                rejects.row(reply, ts, *problems[at], received)
    return [row for at, row in enumerate(rows) if at not in problems]


def _problem(row: Any) -> tuple[str, str] | None:
    """Reason and detail of a row that cannot be read."""
    if not isinstance(row, list):
        return "wrong_shape", f"a kline is an array, not {type(row).__name__}"
    if len(row) != WIDTH:
        return "wrong_arity", f"a kline has {WIDTH} values, not {len(row)}"
    if not is_epoch_ms(row[0]):
        return "bad_time", f"open time is {row[0]!r}, not epoch milliseconds"
    for at, name in TEXTS.items():
        if not is_number(row[at]):
            return "not_a_number", f"{name} is {row[at]!r}"
    if not is_count(row[TRADES]):
        return "not_a_number", f"trades is {row[TRADES]!r}"
    return None
