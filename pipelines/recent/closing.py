"""The windows whose time is over, made of the minutes at hand: what `pipelines.closed` makes of the lake's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from pipelines.calendars import closing_windows
from pipelines.market import Interval
from pipelines.recent.arrivals import MOST
from pipelines.recent.matrices import TS, Booleans, Floats, Matrices, NotAtHandError, Rows
from pipelines.recent.past import Group
from pipelines.recent.places import places, second, seconds

DAY_S = 86_400
COLUMNS = (
    TS, "open", "high", "low", "close", "volume", "vwap", "turnover", "trades", "minutes", "minutes_expected",
    "is_complete", "lent", "std_dprice", "std_logret",
)  # fmt: skip


class Due(NamedTuple):
    """The time of one window in seconds."""

    ts: float
    end: float


def due_windows(past: Group, until: datetime, intervals: Sequence[Interval]) -> dict[Interval, list[Due]]:
    """The windows that end between the source's last clock and its new one."""
    near = past.sessions.filter(
        pl.col("close_ts") > past.until - timedelta(days=1), pl.col("open_ts") < until
    )
    found: dict[Interval, list[Due]] = {}
    windows = closing_windows(past.source, past.calendar, past.until, until, intervals, near)
    columns = (windows["seconds"], seconds(windows["ts"]), seconds(windows["end_ts"]))
    for width, ts, end in sorted(zip(*columns, strict=True)):
        found.setdefault(Interval(width), []).append(Due(ts, end))
    return found


def check_open(past: Group, touched: Floats, intervals: Sequence[Interval]) -> None:
    """Raises NotAtHandError where a touched minute lies in a window that was closed before: the lake makes it anew."""
    anchor, closes = places(touched, past.sessions)
    before = second(past.until)
    for width in (interval.seconds for interval in intervals):
        end = np.minimum(anchor + (np.floor((touched - anchor) / width) + 1) * width, closes)
        if (end <= before).any():
            raise NotAtHandError("a minute of a window that was closed before")


def closed_windows(minutes: Matrices, interval: Interval, due: Sequence[Due]) -> Rows:
    """The due windows of one interval, of each series that has a bar in them: COLUMNS.

    Raises NotAtHandError where their minutes reach further back than those at hand, and where a file left minutes out: what
    it tells of is known to the lake.
    """
    if interval.seconds >= DAY_S:
        raise NotAtHandError("windows of a day")
    tail = minutes.tail(interval.minutes * len(due) + MOST)
    if (tail[0, 0] > due[0].ts).any():
        raise NotAtHandError("a window longer than the minutes at hand")
    parts = [_windows(Matrices.of(minutes.names, tail), one) for one in due]
    series = np.concatenate([part.series for part in parts])
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in COLUMNS}
    order = np.lexsort((values[TS], series))
    return Rows(series[order], {name: column[order] for name, column in values.items()})


def _windows(minutes: Matrices, due: Due) -> Rows:
    ts = minutes.old[:, 0]
    inside = (ts >= due.ts) & (ts < due.end)
    series = np.flatnonzero(inside.any(axis=0)).astype(np.int64)
    if not len(series):
        return Rows(series, {name: np.empty(0) for name in COLUMNS})
    rows = np.flatnonzero(inside.any(axis=1))
    span = slice(int(rows[0]), int(rows[-1]) + 1)
    cut = dict(zip(minutes.names, minutes.old[span][:, :, series].transpose(1, 0, 2), strict=True))
    return Rows(series, _aggregated(cut, inside[span][:, series], due))


def _aggregated(cut: dict[str, Floats], inside: Booleans, due: Due) -> dict[str, Floats]:
    count = inside.sum(axis=0)
    series = np.arange(len(count))
    first, last = inside.argmax(axis=0), len(inside) - 1 - inside[::-1].argmax(axis=0)
    turnover = _sum(cut["turnover"], inside)
    # A bar whose venue gives no turnover has no say in the average price.
    priced = inside & ~np.isnan(cut["turnover"])
    of_priced = _sum(cut["volume"], priced)
    traded = inside & ~np.isnan(cut["trades"])
    expected = (due.end - due.ts) // 60
    is_imported = np.where(inside, cut["imported"], 1.0).all(axis=0)
    if (is_imported & (count != expected)).any():
        raise NotAtHandError("a window of a file that leaves minutes out")
    return {
        TS: np.full(len(count), due.ts),
        "open": cut["open"][first, series],
        "high": np.where(inside, cut["high"], -np.inf).max(axis=0),
        "low": np.where(inside, cut["low"], np.inf).min(axis=0),
        "close": cut["close"][last, series],
        "volume": _sum(cut["volume"], inside),
        "vwap": turnover / np.where(of_priced == 0, np.nan, of_priced),
        "turnover": np.where(priced.sum(axis=0) == count, turnover, np.nan),
        "trades": np.where(traded.any(axis=0), _sum(cut["trades"], traded), np.nan),
        "minutes": count.astype(np.float64),
        "minutes_expected": np.full(len(count), expected),
        "is_complete": (count == expected).astype(np.float64),
        "lent": np.where(inside, cut["lent"], 0.0).any(axis=0).astype(np.float64),
        "std_dprice": _std_of_steps(cut["close"], inside),
        "std_logret": _std_of_steps(np.log(cut["close"]), inside),
    }


def _sum(values: Floats, inside: Booleans) -> Floats:
    return np.asarray(np.where(inside, np.nan_to_num(values), 0.0).sum(axis=0))


def _std_of_steps(values: Floats, inside: Booleans) -> Floats:
    """Sample standard deviation of the differences of neighbouring bars inside; NaN below two of them."""
    both = inside[1:] & inside[:-1]
    steps = np.where(both, np.diff(values, axis=0), 0.0)
    count = both.sum(axis=0)
    mean = steps.sum(axis=0) / np.maximum(count, 1)
    apart = np.where(both, steps - mean, 0.0)
    return np.where(count > 1, np.sqrt((apart**2).sum(axis=0) / np.maximum(count - 1, 1)), np.nan)
