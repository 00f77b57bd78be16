"""Our table of New York sessions against the calendar library."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import exchange_calendars
import pytest

from pipelines.replica import nyse


@pytest.mark.capability("ING-15")
def test_sessions_equal_the_calendar_library_from_2012_to_2027():
    calendar = exchange_calendars.get_calendar("XNYS", start="2012-01-01", end="2027-10-29")
    expected = {
        label.date(): (int(opened.timestamp()), int(closed.timestamp()))
        for label, opened, closed in zip(calendar.sessions, calendar.opens, calendar.closes, strict=True)
    }
    days = (
        date(2012, 1, 1) + timedelta(days=offset)
        for offset in range((date(2027, 10, 30) - date(2012, 1, 1)).days)
    )
    ours = {day: (one.open_s, one.close_s) for day in days if (one := nyse.session(day))}
    assert ours == expected


def test_a_half_day_has_210_minutes_and_summer_time_opens_an_hour_earlier():
    friday = nyse.session(date(2026, 11, 27))
    assert friday is not None
    assert (friday.minutes, friday.is_early_close) == (210, True)
    monday = nyse.session(date(2026, 3, 9))
    assert monday is not None
    assert datetime.fromtimestamp(monday.open_s, UTC).hour == 13
