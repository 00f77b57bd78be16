"""Yahoo's chart replies as bars, with its oddities taken out: hundreds of replies become one frame at once.

    {"chart": {"result": [{"meta": {"tradingPeriods": [[{"start": 1683034200, "end": 1683057600, ...}]], ...},
       "timestamp": [1683055800, ...],
       "indicators": {"quote": [{"open": [103.69999694824219, ...], "high": ..., "volume": [0, ...]}]}}],
     "error": null}}

No bars are rows of nulls, by which Yahoo lists a minute without data: without a trade, or not known yet (a later
fetch brings it); they are told as `silent`. Left out without a word: rows with some nulls,
the live tail (a last trade off the minute or at the session's end), rows outside the regular session or
past the end asked for, and a first row of volume 0, which Yahoo sends for any first minute. Where that
first minute opens a session that the request began before, it is kept with volume null: only a request
from the session before brings its volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from pipelines.market import from_epoch_ms, naive, utc
from pipelines.sources.base import NO_MINUTES, Parsed, Reply
from pipelines.sources.reading import Ints, Rejects, arrange_bars, is_count, is_number, read_json
from pipelines.sources.refusals import refusal

PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume")
FAR = 2**34
"""Later than any epoch second we read (year 2514); keeps the replies' times apart in one sorted array."""
Floats = NDArray[np.float64]


class Chart(NamedTuple):
    """One readable reply: its columns, and the half-open seconds in which a row is a bar."""

    reply: Reply
    ts: list[int]
    columns: dict[str, list[float | None]]
    sessions: list[tuple[int, int]]
    begins: int
    """First second asked for; FAR if not known."""
    wanted: tuple[int, int]
    """Half-open seconds of the rows that are wanted."""


def charts_to_bars(replies: Sequence[Reply], market_now: datetime) -> Parsed:
    """Bars of all replies; of a minute sent twice the last one wins.

    `is_closed` is ts + 1 minute <= `market_now`. `turnover` and `trades` are null: Yahoo has none.
    """
    rejects = Rejects()
    charts = [chart for reply in replies if (chart := _chart(reply, rejects)) is not None]
    bars, silent = _bars(charts, market_now)
    return Parsed(bars, rejects.frame(), rejects.failures, silent)


def undo_float32(values: Floats) -> Floats:
    """The decimal that was sent through float32: of two digits or more, the first to become the same float32.

    Yahoo sends 103.6642 as 103.66419982910156. Rounding to `meta.priceHint` (2) would give 103.66, a price
    that never traded: recorded US equities have four digits. Values that are no float32 stay as they are.
    """
    result, single = values.copy(), values.astype(np.float32)
    left = np.flatnonzero(single.astype(np.float64) == values)
    for digits in range(2, 11):
        rounded = np.round(values[left] * 10.0**digits) / 10.0**digits
        same = rounded.astype(np.float32) == single[left]
        result[left[same]] = rounded[same]
        left = left[~same]
        if not left.size:
            break
    return result


def yahoo_refusal(reply: Reply, error: Any, rejects: Rejects) -> None:
    """`{"code": "Not Found", "description": "No data found, symbol may be delisted"}`, or any other text."""
    if isinstance(error, dict):
        words = f"{error.get('code')}: {error.get('description')}"
        rejects.failures.append(refusal(reply, words, unknown_symbol=error.get("code") == "Not Found"))
    else:
        rejects.failures.append(refusal(reply, reply.text))


def _chart(reply: Reply, rejects: Rejects) -> Chart | None:
    try:
        chart = read_json(reply.body)["chart"]
        error, results = chart["error"], chart["result"]
    except (ValueError, KeyError, TypeError) as problem:
        if not reply.ok:
            yahoo_refusal(reply, None, rejects)
        elif isinstance(problem, ValueError):
            rejects.reply(reply, "not_json", f"the answer is not JSON: {problem}")
        else:
            rejects.reply(reply, "wrong_shape", "the answer has no chart with result and error")
        return None
    if error or not reply.ok:
        yahoo_refusal(reply, error, rejects)
        return None
    try:
        return _rows(reply, results[0], rejects)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as problem:
        rejects.reply(reply, "wrong_shape", f"not a chart: {type(problem).__name__} {problem}")
        return None


def _rows(reply: Reply, result: dict[str, Any], rejects: Rejects) -> Chart:
    """The reply's columns; raises if they are not what is documented, bad single rows go to `rejects`."""
    meta, ts, quote = result["meta"], result.get("timestamp") or [], result["indicators"]["quote"][0]
    sent, asked = meta.get("dataGranularity"), reply.params.get("interval")
    if sent and asked and sent != asked:
        raise ValueError(f"asked for {asked} bars, got {sent}")
    if not ts and not any(quote.get(field) for field in FIELDS):
        return Chart(reply, [], {field: [] for field in FIELDS}, [], FAR, (0, FAR))
    columns = {field: quote[field] for field in FIELDS}
    if any(len(column) != len(ts) for column in columns.values()):
        lengths = ", ".join(f"{len(column)} {field}" for field, column in columns.items())
        raise ValueError(f"{len(ts)} timestamps but {lengths}")
    if not _is_clean(ts, columns):
        ts, columns = _good_rows(reply, ts, columns, rejects)
    begins = int(reply.params.get("period1", FAR))
    since = int(reply.since.timestamp()) if reply.since else 0
    wanted = (since, int(reply.params.get("period2", FAR)))
    return Chart(reply, ts, columns, _sessions(meta), begins, wanted)


def _sessions(meta: dict[str, Any]) -> list[tuple[int, int]]:
    """Regular sessions, sent as a list of lists, or by kind if pre- and post-market was asked for."""
    periods = meta.get("tradingPeriods") or []
    if isinstance(periods, dict):
        periods = periods["regular"]
    return sorted((int(one["start"]), int(one["end"])) for day in periods for one in day) or [(0, FAR)]


def _is_clean(ts: list[Any], columns: dict[str, list[Any]]) -> bool:
    if set(map(type, ts)) - {int} or (ts and not 0 <= min(ts) <= max(ts) < FAR):
        return False
    return not set(map(type, chain.from_iterable(columns.values()))) - {int, float, type(None)}


def _good_rows(
    reply: Reply, ts: list[Any], columns: dict[str, list[Any]], rejects: Rejects
) -> tuple[list[int], dict[str, list[float | None]]]:
    """Rows of numbers and nulls. A bad row's payload is its values as JSON: it had no text of its own."""
    good = []
    for at, second in enumerate(ts):
        row = {field: column[at] for field, column in columns.items()}
        is_time = is_count(second) and 0 <= second < FAR
        bad = [field for field, value in row.items() if value is not None and not is_number(value)]
        if is_time and not bad:
            good.append(at)
            continue
        detail = f"{bad[0]} is {row[bad[0]]!r}" if is_time else f"timestamp is {second!r}, not epoch seconds"
        when = naive(from_epoch_ms(second * 1000)) if is_time else None
        payload = orjson.dumps({"timestamp": second, **row}).decode()
        rejects.row(reply, when, "not_a_number" if is_time else "bad_time", detail, payload)
    kept = {field: [_float(column[at]) for at in good] for field, column in columns.items()}
    return [ts[at] for at in good], kept


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _bars(charts: Sequence[Chart], market_now: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of all charts that are bars, and the closed minutes that are listed without any value."""
    ts = np.array(list(chain.from_iterable(chart.ts for chart in charts)), np.int64)
    owner = np.repeat(np.arange(len(charts)), [len(chart.ts) for chart in charts])
    values = {name: _floats(chain.from_iterable(chart.columns[name] for chart in charts)) for name in FIELDS}
    opened, inside = _session_opens(charts, owner, ts)
    since, until = np.array([chart.wanted for chart in charts], np.int64).reshape(-1, 2).T
    is_minute = inside & (ts % 60 == 0) & (ts >= since[owner]) & (ts < until[owner])
    nulls = sum(np.isnan(column).astype(np.int64) for column in values.values())
    is_bar = is_minute & (nulls == 0)
    silent = is_minute & (nulls == len(FIELDS)) & (ts + 60 <= utc(market_now).timestamp())
    _distrust_first_volumes(charts, owner, opened, values["volume"], is_bar)
    kept = {name: pl.Series(undo_float32(values[name][is_bar])) for name in PRICES}
    kept["volume"] = pl.Series(values["volume"][is_bar]).fill_nan(None)
    replies = [chart.reply for chart in charts]
    bars = arrange_bars(replies, owner[is_bar], ts[is_bar] * 1000, kept, market_now)
    return bars, _minutes(replies, owner[silent], ts[silent])


def _minutes(replies: Sequence[Reply], owner: Ints, ts: Ints) -> pl.DataFrame:
    """NO_MINUTES's columns."""
    if not len(ts):
        return NO_MINUTES
    symbols = pl.Series("symbol", [reply.symbol for reply in replies], pl.String).gather(owner)
    return pl.DataFrame([symbols, pl.Series("ts", ts * 1_000_000).cast(pl.Datetime("us"))]).unique()


def _distrust_first_volumes(
    charts: Sequence[Chart], owner: Ints, opened: Ints, volume: Floats, is_bar: NDArray[np.bool_]
) -> None:
    """First rows of volume 0 are no bars; where the reply begins before the session, only without volume."""
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    untrusted = firsts[volume[firsts] == 0]
    begins = np.array([chart.begins for chart in charts], np.int64)[owner[untrusted]]
    is_bar[untrusted[begins >= opened[untrusted]]] = False
    volume[untrusted] = np.nan


def _floats(values: Iterable[float | None]) -> Floats:
    """JSON has no NaN, so NaN stands for null."""
    return pl.Series(list(values), dtype=pl.Float64, strict=False).to_numpy(writable=True)


def _session_opens(charts: Sequence[Chart], owner: Ints, ts: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """For each row the open of the newest session not after it, and whether the row lies inside it."""
    sessions = [(at, start, end) for at, chart in enumerate(charts) for start, end in chart.sessions]
    whose, starts, ends = np.array(sessions, np.int64).reshape(-1, 3).T
    found = np.searchsorted(whose * FAR + starts, owner * FAR + ts, side="right") - 1
    inside = (found >= 0) & (whose[found] == owner) & (ts < ends[found])
    return starts[found], inside
