"""Regular sessions of the New York Stock Exchange by rule, 2012 to 2030.

Our own small table, because a calendar library costs more than a second to import and the replica must
start at once; a test holds it against exchange_calendars.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
DAY_S = 86400

# Closures no rule foretells: Hurricane Sandy, days of mourning for Presidents Bush and Carter.
_AD_HOC = frozenset({date(2012, 10, 29), date(2012, 10, 30), date(2018, 12, 5), date(2025, 1, 9)})


@dataclass(frozen=True)
class Session:
    """One regular session; `open_s` and `close_s` are epoch seconds, half-open."""

    day: date
    open_s: int
    close_s: int
    is_early_close: bool

    @property
    def minutes(self) -> int:
        return (self.close_s - self.open_s) // 60


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=last.weekday())


def _easter(year: int) -> date:
    """Gregorian Easter Sunday (the anonymous Gregorian algorithm of Meeus, Jones and Butcher)."""
    century, rest = divmod(year, 100)
    golden = year % 19
    moon = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    week = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    late = (golden + 11 * moon + 22 * week) // 451
    month, day = divmod(moon + week - 7 * late + 114, 31)
    return date(year, month, day + 1)


def _observed(holiday: date) -> date:
    """Saturday's holiday is kept on Friday, Sunday's on Monday."""
    return holiday + timedelta(days={5: -1, 6: 1}.get(holiday.weekday(), 0))


@lru_cache(maxsize=64)
def holidays(year: int) -> frozenset[date]:
    """Weekdays of `year` without a session."""
    new_year = date(year, 1, 1)
    days = {
        _nth_weekday(year, 1, 0, 3),
        _nth_weekday(year, 2, 0, 3),
        _easter(year) - timedelta(days=2),
        _last_monday_of_may(year),
        _observed(date(year, 7, 4)),
        _nth_weekday(year, 9, 0, 1),
        _nth_weekday(year, 11, 3, 4),
        _observed(date(year, 12, 25)),
    }
    # A New Year's Day on Saturday is not made up: the Friday belongs to the year's closing books.
    if new_year.weekday() != 5:
        days.add(_observed(new_year))
    if year >= 2022:
        days.add(_observed(date(year, 6, 19)))
    return frozenset(days | {day for day in _AD_HOC if day.year == year})


@lru_cache(maxsize=64)
def early_closes(year: int) -> frozenset[date]:
    """Days of `year` that close at 13:00: after Thanksgiving, Christmas Eve, the eve of Independence Day."""
    days = {_nth_weekday(year, 11, 3, 4) + timedelta(days=1), date(year, 12, 24)}
    # From 2013 on a Wednesday, too, shortens 3 July; on Friday the day is the holiday's observance or none.
    if date(year, 7, 3).weekday() in ((0, 1, 3) if year < 2013 else (0, 1, 2, 3)):
        days.add(date(year, 7, 3))
    return frozenset(day for day in days if day.weekday() < 5 and day not in holidays(year))


@lru_cache(maxsize=8192)
def session(day: date) -> Session | None:
    """The regular session of `day`, None on weekends and holidays."""
    if day.weekday() >= 5 or day in holidays(day.year):
        return None
    early = day in early_closes(day.year)
    return Session(day, _at(day, time(9, 30)), _at(day, time(13) if early else time(16)), early)


def _at(day: date, clock: time) -> int:
    return int(datetime.combine(day, clock, NEW_YORK).timestamp())


def sessions(start_s: float, end_s: float) -> list[Session]:
    """Sessions that overlap [start_s, end_s), oldest first."""
    day = datetime.fromtimestamp(start_s, UTC).date() - timedelta(days=1)
    last = datetime.fromtimestamp(end_s, UTC).date()
    found = (session(day + timedelta(days=offset)) for offset in range((last - day).days + 1))
    return [one for one in found if one and one.open_s < end_s and one.close_s > start_s]


def latest_session(at_s: float) -> Session:
    """The session under way at `at_s`, else the last one that opened before it."""
    return [one for one in sessions(at_s - 12 * DAY_S, at_s + 1) if one.open_s <= at_s][-1]
