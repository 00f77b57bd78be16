"""The windows whose time is over, made of the minutes at hand; what `warehouse/models/windows.sql` makes of the lake's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from pipelines.calendars import closing_windows
from pipelines.market import CONTINUOUS, Interval
from pipelines.recent.matrices import TS, Booleans, Floats, Integers, Matrices, NotAtHandError, Rows
from pipelines.recent.past import Past
from pipelines.recent.places import Places, seconds

DAY_S = 86_400


class Due(NamedTuple):
    """One window of a source: its ends in seconds."""

    source: str
    ts: float
    end: float


def due_windows(
    past: Past, clocks: Mapping[str, datetime], intervals: Sequence[Interval]
) -> dict[Interval, list[Due]]:
    """The windows that end between each source's last clock and its new one."""
    found: dict[Interval, list[Due]] = {}
    for source, until in clocks.items():
        before = past.progress.get(source)
        if before is None:
            raise NotAtHandError("a source without a clock")
        for calendar in past.series.filter(pl.col("source") == source)["calendar"].unique():
            near = _near(past.sessions, calendar, before, until)
            windows = closing_windows(source, calendar, before, until, intervals, near)
            for width, ts, end in zip(
                windows["seconds"], seconds(windows["ts"]), seconds(windows["end_ts"]), strict=True
            ):
                found.setdefault(Interval(width), []).append(Due(source, ts, end))
    return dict(sorted(found.items()))


def check_open(past: Past, places: Places, touched: Rows, intervals: Sequence[Interval]) -> None:
    """Raises NotAtHandError where a touched minute lies in a window that was closed before: it is made anew from the lake."""
    anchor, closes = places.of(touched.series, touched.ts)
    closed = {source: seconds(pl.Series([at]))[0] for source, at in past.progress.items()}
    before = np.array([closed.get(source, -np.inf) for source in past.series["source"]])[touched.series]
    for width in (interval.seconds for interval in intervals):
        end = np.minimum(anchor + (np.floor((touched.ts - anchor) / width) + 1) * width, closes)
        if (end <= before).any():
            raise NotAtHandError("a minute of a window that was closed before")


def closed_windows(past: Past, minutes: Matrices, interval: Interval, due: Sequence[Due]) -> Rows:
    """The due windows of one interval, of each series that has a bar in them; all columns of calc.windows but ret_log.

    Raises NotAtHandError where their minutes reach further back than those at hand.
    """
    if interval.seconds >= DAY_S:
        raise NotAtHandError("windows of a day")
    parts = [_windows(past, minutes, one) for one in due]
    series = np.concatenate([part.series for part in parts])
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    order = np.lexsort((values[TS], series))
    return Rows(series[order], {name: column[order] for name, column in values.items()})


def _windows(past: Past, minutes: Matrices, due: Due) -> Rows:
    # A window holds no more bars than minutes, and its newest bar may be followed by others of the same run.
    ts = minutes[TS]
    inside = (ts >= due.ts) & (ts < due.end)
    inside &= (past.series["source"] == due.source).to_numpy()[:, None]
    is_cut = minutes.ends() >= past.bars["1m"].width
    oldest = np.where(np.isnan(ts), np.inf, ts).min(axis=1)
    if (inside.any(axis=1) & is_cut & (oldest > due.ts)).any():
        raise NotAtHandError("a window longer than the minutes at hand")
    series = np.flatnonzero(inside.any(axis=1)).astype(np.int64)
    columns = np.flatnonzero(inside.any(axis=0))
    if not len(series):
        return Rows(series, {name: np.empty(0) for name in (TS, *_COLUMNS)})
    span = slice(int(columns[0]), int(columns[-1]) + 1)
    cut = Matrices(minutes.names, minutes.data[:, series, span])
    return Rows(series, _aggregated(cut, inside[series, span], due))


_COLUMNS = (
    "open", "high", "low", "close", "volume", "vwap", "turnover", "trades", "minutes", "minutes_expected",
    "is_complete", "std_dprice", "std_logret",
)  # fmt: skip


def _aggregated(cut: Matrices, inside: Booleans, due: Due) -> dict[str, Floats]:
    count = inside.sum(axis=1)
    rows = np.arange(len(count))
    first, last = inside.argmax(axis=1), inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    volume, turnover = _sum(cut["volume"], inside), _sum(cut["turnover"], inside)
    # A bar whose venue gives no turnover has no say in the average price.
    priced = inside & ~np.isnan(cut["turnover"])
    of_priced = _sum(cut["volume"], priced)
    expected = (due.end - due.ts) // 60
    is_imported = np.where(inside, cut["imported"], 1.0).all(axis=1)
    traded = inside & ~np.isnan(cut["trades"])
    return {
        TS: np.full(len(count), due.ts),
        "open": cut["open"][rows, first],
        "high": np.where(inside, cut["high"], -np.inf).max(axis=1),
        "low": np.where(inside, cut["low"], np.inf).min(axis=1),
        "close": cut["close"][rows, last],
        "volume": volume,
        "vwap": turnover / np.where(of_priced == 0, np.nan, of_priced),
        "turnover": np.where(priced.sum(axis=1) == count, turnover, np.nan),
        "trades": np.where(traded.any(axis=1), _sum(cut["trades"], traded), np.nan),
        "minutes": count.astype(np.float64),
        "minutes_expected": np.full(len(count), expected),
        "is_complete": ((count == expected) | is_imported).astype(np.float64),
        "std_dprice": _std_of_steps(cut["close"], inside),
        "std_logret": _std_of_steps(np.log(cut["close"]), inside),
    }


def _sum(values: Floats, inside: Booleans) -> Floats:
    return np.asarray(np.where(inside, np.nan_to_num(values), 0.0).sum(axis=1))


def _std_of_steps(values: Floats, inside: Booleans) -> Floats:
    """Sample standard deviation of the differences of neighbouring bars inside; NaN below two of them."""
    both = inside[:, 1:] & inside[:, :-1]
    steps = np.where(both, np.diff(values, axis=1), 0.0)
    count = both.sum(axis=1)
    mean = steps.sum(axis=1) / np.maximum(count, 1)
    apart = np.where(both, steps - mean[:, None], 0.0)
    return np.where(count > 1, np.sqrt((apart**2).sum(axis=1) / np.maximum(count - 1, 1)), np.nan)


def _near(sessions: pl.DataFrame, calendar: str, before: datetime, until: datetime) -> pl.DataFrame:
    if calendar == CONTINUOUS:
        return sessions.clear()
    return sessions.filter(
        pl.col("calendar") == calendar,
        pl.col("close_ts") > before - timedelta(days=1),
        pl.col("open_ts") < until,
    )


def by_number(names: Sequence[str], series: Integers) -> pl.Series:
    """The names of numbered series."""
    return pl.Series(names, dtype=pl.String).gather(series)
