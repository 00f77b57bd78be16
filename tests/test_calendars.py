"""Which windows the clock closes, and how many bars a year has."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from math import sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.trading_days import fill_sessions
from pipelines.calendars import bars_per_year, closing_windows, reach
from pipelines.market import CONTINUOUS, Interval
from pipelines.sessions import sessions
from pipelines.settings_sections import Windows
from tests.lakes import bars_of, new_lake

MIDNIGHT = datetime(2026, 3, 9)
FIVE, FOUR_HOURS, DAY = (Interval.parse(text) for text in ("5m", "4h", "1d"))
MINUTE = timedelta(minutes=1)


def closed(
    calendar: str, after: datetime, until: datetime, *intervals: Interval
) -> list[tuple[datetime, datetime]]:
    days = (after.date() - timedelta(days=8), until.date())
    found = closing_windows("s", calendar, after, until, intervals, sessions(calendar, *days))
    return found.select("ts", "end_ts").rows()


def test_midnight_closes_the_days_last_windows():
    until = MIDNIGHT + timedelta(days=1)
    assert closed(CONTINUOUS, until - MINUTE, until, FIVE, FOUR_HOURS, DAY) == [
        (until - timedelta(minutes=5), until), (until - timedelta(hours=4), until), (MIDNIGHT, until),
    ]  # fmt: skip
    assert closed(CONTINUOUS, until, until + MINUTE, FIVE, FOUR_HOURS, DAY) == []


@pytest.mark.capability("ING-15")
def test_the_close_of_half_a_day_closes_what_is_open():
    close = datetime(2026, 11, 27, 18)
    assert closed("XNYS", close - MINUTE, close, FIVE, FOUR_HOURS, DAY) == [
        (close - timedelta(minutes=5), close),
        (datetime(2026, 11, 27, 14, 30), close),
        (datetime(2026, 11, 27, 14, 30), close),
    ]
    assert closed("XNYS", close, close + timedelta(hours=12), FIVE, FOUR_HOURS, DAY) == []


@given(
    start=st.integers(0, 3 * 1440), steps=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    calendar=st.sampled_from([CONTINUOUS, "XNYS"]),
)  # fmt: skip
def test_step_by_step_each_window_is_closed_once(start: int, steps: list[int], calendar: str):
    at = MIDNIGHT + start * MINUTE
    until = at + sum(steps) * MINUTE
    whole = closed(calendar, at, until, FIVE, FOUR_HOURS, DAY)
    pieces = []
    for step in steps:
        pieces += closed(calendar, at, at + step * MINUTE, FIVE, FOUR_HOURS, DAY)
        at += step * MINUTE
    assert sorted(pieces) == sorted(whole)


def test_a_year_of_bars_is_the_calendars_own():
    calendars = {"binance": CONTINUOUS, "yahoo": "XNYS", "london": "XLON"}
    minutes = {"XNYS": 390.0, "XLON": 510.0}
    assert bars_per_year(calendars, Interval(60), minutes) == {
        "binance": 525_600, "yahoo": 252 * 390, "london": 252 * 510,
    }  # fmt: skip
    assert bars_per_year(calendars, DAY, minutes) == {"binance": 365, "yahoo": 252, "london": 252}


@given(
    last=st.dates(date(2025, 7, 1), date(2026, 12, 1)), bars=st.integers(1, 220),
    interval=st.sampled_from([Interval(60), FIVE, FOUR_HOURS, DAY]),
)  # fmt: skip
def test_the_reach_holds_the_bars_it_promises(last: date, bars: int, interval: Interval):
    back = reach("XNYS", interval, bars)
    found = sessions("XNYS", last - back, last - timedelta(days=1))
    per_session = [-(-minutes * 60 // interval.seconds) for minutes in found["minutes"]]
    assert sum(per_session) >= bars


def test_a_years_volatility_of_london_is_not_that_of_a_market_without_nights(tmp_path: Path):
    lake = new_lake(tmp_path, windows=Windows(intervals=("5m",)))
    lake.calendars["lse"] = "XLON"
    fill_sessions(lake.con, lake.context, "XLON", date(2026, 3, 9), date(2026, 3, 9))
    opens = datetime(2026, 3, 9, 8)
    close = [100.0 + n % 3 for n in range(40)]
    lake.load(bars_of({"ts": [opens + n * MINUTE for n in range(40)], "close": close}, "lse"))
    lake.derive({"lse": opens + timedelta(hours=1)})
    [(ratio,)] = lake.rows(
        "SELECT DISTINCT round(volatility_ann / volatility_20, 6) FROM indicators WHERE interval = '1m' "
        "AND volatility_20 IS NOT NULL"
    )
    assert ratio == pytest.approx(sqrt(252 * 510))
    lake.con.close()
