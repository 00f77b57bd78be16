"""Ranges every list endpoint shares: which bars a window and a limit select, at any interval."""

from __future__ import annotations

import numpy as np

from pipelines.replica.columns import Bars, Ints, join, widen
from pipelines.replica.instruments import Instrument
from pipelines.replica.truth import Book

WEEK_S = 604_800
_MONDAY = 4 * 86_400  # 1970-01-05
_MONTH_S = 31 * 86_400


def interval_seconds(name: str) -> int:
    """`5m` -> 300; a month counts as its longest."""
    if name == "1M":
        return _MONTH_S
    return int(name[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": WEEK_S}[name[-1]]


def bucket(ts: Ints, name: str) -> Ints:
    """The open time of the interval that each minute lies in: UTC midnight, Monday, first of the month."""
    if name == "1M":
        months = ts.astype("datetime64[s]").astype("datetime64[M]")
        return months.astype("datetime64[s]").astype(np.int64)
    width = interval_seconds(name)
    shift = _MONDAY if name == "1w" else 0
    return (ts - shift) // width * width + shift


def floor(at_s: float, name: str) -> int:
    return int(bucket(np.array([int(at_s // 1)], np.int64), name)[0])


def close_of(start: int, name: str) -> int:
    """The first second after the interval that opens at `start`."""
    return floor(start + _MONTH_S, name) if name == "1M" else start + interval_seconds(name)


def ceil(at_s: float, name: str) -> int:
    start = floor(at_s, name)
    return start if start >= at_s else close_of(start, name)


def select(
    book: Book,
    inst: Instrument,
    name: str,
    start_s: float | None,
    end_s: float | None,
    limit: int,
    now: float,
) -> Bars:
    """Bars of width `name` opening in [start_s, end_s], both ends inclusive, the open one last.

    With a start the oldest `limit` from there, without one the newest `limit` up to the end.
    """
    first, last = book.market.span(inst)
    end = min(now, last) if end_s is None else min(end_s, now, last)
    if start_s is None:
        return _newest(book, inst, name, first, end, limit, now)
    return _oldest(book, inst, name, max(start_s, first), end, limit, now)


def _oldest(
    book: Book, inst: Instrument, name: str, start: float, end: float, limit: int, now: float
) -> Bars:
    width = max(interval_seconds(name), 60)
    at, stop = ceil(start, name), close_of(floor(end, name), name)
    found: list[Bars] = []
    while at < stop and sum(map(len, found)) < limit:
        until = min(stop, close_of(floor(at + (limit - 1) * width, name), name))
        found.append(_wide(book, inst, name, at, until, now))
        at = until
    return join(found).take(slice(0, limit))


def _newest(
    book: Book, inst: Instrument, name: str, first: float, end: float, limit: int, now: float
) -> Bars:
    width = max(interval_seconds(name), 60)
    until = close_of(floor(end, name), name)
    found: list[Bars] = []
    while until > first and sum(map(len, found)) < limit:
        at = floor(max(until - limit * width, 0), name)
        found.insert(0, _wide(book, inst, name, at, until, now))
        until = at
    return join(found).take(slice(-limit, None))


def _wide(book: Book, inst: Instrument, name: str, start: float, end: float, now: float) -> Bars:
    minutes = book.with_running(inst, start, end, now)
    return minutes if name == "1m" else widen(minutes, bucket(minutes.ts, name))
