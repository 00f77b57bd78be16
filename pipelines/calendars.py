"""Which windows the clock closes, and how long a year is: arithmetic on stored sessions, no calendar library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import polars as pl

from pipelines.market import CONTINUOUS, Interval

SESSIONS_A_YEAR = 252
CLOSING_SCHEMA = {
    "source": pl.String(),
    "calendar": pl.String(),
    "seconds": pl.Int64(),
    "ts": pl.Datetime("us"),
    "end_ts": pl.Datetime("us"),
}
LONGEST_CATCH_UP = timedelta(days=7)
"""After a longer stop, windows that no bar touches stay uncomputed: there is nothing in them."""


def by_source(series: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Source -> the calendar of most of its series, `source:SYMBOL` -> that of each other one.

    series: source, symbol, calendar
    """
    listed = list(series)
    counted = Counter((source, calendar) for source, _, calendar in listed)
    usual: dict[str, str] = {}
    for source, calendar in sorted(counted, key=lambda pair: (-counted[pair], pair)):
        usual.setdefault(source, calendar)
    others = {f"{source}:{symbol}": c for source, symbol, c in listed if c != usual[source]}
    return usual | others


def those_of(source: str, calendars: Mapping[str, str]) -> set[str]:
    """All calendars that series of the source follow, out of what `by_source` gives."""
    return {
        calendar for name, calendar in calendars.items() if name == source or name.startswith(f"{source}:")
    }


def closing_windows(
    source: str,
    calendar: str,
    after: datetime,
    until: datetime,
    intervals: Iterable[Interval],
    sessions: pl.DataFrame,
) -> pl.DataFrame:
    """Windows of a source that end in (after, until], naive UTC: source, calendar, seconds, ts, end_ts.

    sessions: open_ts, close_ts of the calendar's sessions that overlap the span; not used for 24/7.
    """
    after = max(after, until - LONGEST_CATCH_UP)
    is_continuous = calendar == CONTINUOUS
    spans = list(_days(after, until) if is_continuous else sessions.select("open_ts", "close_ts").iter_rows())
    rows = [
        (source, calendar, interval.seconds, ts, end)
        for interval in intervals
        for opens, closes in spans
        for ts, end in _grid(opens, closes, interval.delta)
        if after < end <= until
    ]
    return pl.DataFrame(rows, schema=CLOSING_SCHEMA, orient="row")


def _days(after: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    day = after.replace(hour=0, minute=0, second=0, microsecond=0)
    while day < until:
        yield day, day + timedelta(days=1)
        day += timedelta(days=1)


def _grid(opens: datetime, closes: datetime, width: timedelta) -> Iterator[tuple[datetime, datetime]]:
    ts = opens
    while ts < closes:
        yield ts, min(ts + width, closes)
        ts += width


def bars_per_year(
    calendars: Mapping[str, str], interval: Interval, session_minutes: Mapping[str, float]
) -> dict[str, float]:
    """Source or `source:SYMBOL` -> bars in a year, for annualising: 525,600 minutes for 24/7, 252 usual sessions otherwise.

    session_minutes: calendar -> length of its usual session (390 for XNYS).
    """
    return {
        source: _minutes_a_year(calendar, interval, session_minutes) / (interval.seconds / 60)
        for source, calendar in calendars.items()
    }


def _minutes_a_year(calendar: str, interval: Interval, session_minutes: Mapping[str, float]) -> float:
    if calendar == CONTINUOUS or calendar not in session_minutes:
        return 525_600.0
    # A day's bar spans the whole session, however short of 24 hours it is.
    return SESSIONS_A_YEAR * (1440.0 if interval.seconds >= 86_400 else session_minutes[calendar])


def reach(calendar: str, interval: Interval, bars: int) -> timedelta:
    """Calendar time that surely holds `bars` bars of a series without holes, nights and weekends included."""
    if calendar == CONTINUOUS:
        return interval.delta * (bars + 1)
    a_session = max(390 * 60 // interval.seconds, 1)
    return timedelta(days=(bars // a_session + 2) * 1.5 + 4)


def longest_hole(calendar: str, interval: Interval, bars: int) -> timedelta:
    """How far apart two neighbours among `bars` bars may be before the older ones say nothing about the newest.

    As long as all of them together; nights, weekends and holidays of a calendar are no hole.
    """
    return interval.delta * bars if calendar == CONTINUOUS else reach(calendar, interval, bars)
