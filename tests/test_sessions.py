"""Sessions follow the exchange's own calendar and local time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl
import pytest

from pipelines.sessions import SESSION_SCHEMA, CalendarError, sessions


@dataclass(frozen=True)
class Override:
    calendar: str
    date: date
    closed: bool = False
    open: str = ""
    close: str = ""


def only(frame: pl.DataFrame) -> dict[str, object]:
    assert frame.schema == pl.Schema(SESSION_SCHEMA)
    (row,) = frame.iter_rows(named=True)
    return row


@pytest.mark.capability("ING-15")
def test_the_day_after_thanksgiving_closes_at_one() -> None:
    row = only(sessions("XNYS", date(2026, 11, 27), date(2026, 11, 27)))
    assert row["open_ts"] == datetime(2026, 11, 27, 14, 30)
    assert row["close_ts"] == datetime(2026, 11, 27, 18, 0)
    assert (row["minutes"], row["is_early_close"]) == (210, True)


@pytest.mark.capability("ING-15")
def test_the_open_follows_new_york_through_the_change_of_clocks() -> None:
    frame = sessions("XNYS", date(2026, 3, 6), date(2026, 3, 9))
    assert frame["session"].to_list() == [date(2026, 3, 6), date(2026, 3, 9)]
    assert frame["open_ts"].to_list() == [datetime(2026, 3, 6, 14, 30), datetime(2026, 3, 9, 13, 30)]
    assert frame["minutes"].to_list() == [390, 390]


@pytest.mark.capability("ING-15")
@pytest.mark.parametrize(
    "day", [date(2026, 11, 28), date(2026, 11, 29), date(2026, 11, 26), date(2025, 1, 9)]
)
def test_weekends_holidays_and_days_of_mourning_have_no_session(day: date) -> None:
    frame = sessions("XNYS", day, day)
    assert frame.is_empty()
    assert frame.schema == pl.Schema(SESSION_SCHEMA)


def test_a_venue_that_never_closes_has_utc_days() -> None:
    frame = sessions("24/7", date(2024, 2, 28), date(2024, 3, 1))
    assert frame["session"].to_list() == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert frame["minutes"].to_list() == [1440] * 3
    assert frame["close_ts"][0] == frame["open_ts"][1] == datetime(2024, 2, 29)
    assert frame.schema == pl.Schema(SESSION_SCHEMA)


def test_days_before_the_library_s_window_are_known() -> None:
    row = only(sessions("XNYS", date(1990, 1, 2), date(1990, 1, 2)))
    assert row["open_ts"] == datetime(1990, 1, 2, 14, 30)


def test_a_midday_break_is_not_trading() -> None:
    row = only(sessions("XHKG", date(2026, 1, 5), date(2026, 1, 5)))
    assert (row["open_ts"], row["close_ts"]) == (datetime(2026, 1, 5, 1, 30), datetime(2026, 1, 5, 8))
    assert row["minutes"] == 330


def test_a_session_may_begin_the_evening_before() -> None:
    row = only(sessions("CMES", date(2024, 1, 3), date(2024, 1, 3)))
    assert row["open_ts"] == datetime(2024, 1, 2, 23)


def test_nothing_lies_between_a_day_and_the_day_before() -> None:
    for calendar in ("24/7", "XNYS"):
        assert sessions(calendar, date(2026, 1, 6), date(2026, 1, 5)).is_empty()


def test_the_user_s_closure_and_hours_win() -> None:
    overrides = [
        Override("XNYS", date(2026, 6, 2), closed=True),
        Override("XNYS", date(2026, 6, 3), close="16:00"),
        Override("XNYS", date(2026, 6, 6), open="14:00", close="15:00"),
        Override("XLON", date(2026, 6, 4), closed=True),
        Override("XNYS", date(2026, 7, 1), closed=True),
    ]
    frame = sessions("XNYS", date(2026, 6, 1), date(2026, 6, 7), overrides)
    assert frame["session"].dt.day().to_list() == [1, 3, 4, 5, 6]
    assert frame["minutes"].to_list() == [390, 150, 390, 390, 60]
    assert frame["is_early_close"].to_list() == [False, True, False, False, False]


def test_hours_that_are_no_session_are_refused() -> None:
    with pytest.raises(CalendarError, match="2026-06-06: the hours 14:00 to"):
        sessions(
            "XNYS", date(2026, 6, 6), date(2026, 6, 6), [Override("XNYS", date(2026, 6, 6), open="14:00")]
        )


def test_an_unknown_calendar_names_its_neighbours() -> None:
    with pytest.raises(CalendarError, match=r"no calendar is called 'XNIS'; did you mean .*XNYS"):
        sessions("XNIS", date(2026, 1, 5), date(2026, 1, 5))
