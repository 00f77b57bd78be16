"""The trading sessions of a venue, from the exchange's own calendar or the plain UTC day.

The only module that imports exchange_calendars (over a second, with pandas): the minute reads the
warehouse's `sessions` table, which this module fills.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Protocol

import exchange_calendars
import polars as pl

from pipelines.market import CONTINUOUS
from warehouse.errors import TapewatchError

SESSION_SCHEMA: dict[str, pl.DataType] = {
    "calendar": pl.String(),
    "session": pl.Date(),
    "open_ts": pl.Datetime("us"),
    "close_ts": pl.Datetime("us"),
    "minutes": pl.Int64(),
    "is_early_close": pl.Boolean(),
}


class Override(Protocol):
    """A session that differs from the exchange's calendar; hours in UTC as in `18:00`."""

    @property
    def calendar(self) -> str: ...
    @property
    def date(self) -> date: ...
    @property
    def closed(self) -> bool: ...
    @property
    def open(self) -> str: ...
    @property
    def close(self) -> str: ...


class CalendarError(TapewatchError):
    """No exchange calendar has this name."""


def sessions(calendar: str, first: date, last: date, overrides: Iterable[Override] = ()) -> pl.DataFrame:
    """The sessions from `first` to `last`, both included, oldest first; empty where there is none.

    Columns: calendar, session, open_ts, close_ts (naive UTC, close excluded), minutes, is_early_close.
    A session with a midday break counts its open minutes only. Raises CalendarError for an unknown name.
    """
    if calendar == CONTINUOUS:
        listed = _days(first, last)
    else:
        listed = _exchange_sessions(check_calendar(calendar), first, last)
    return _overridden(listed, calendar, first, last, overrides).sort("session")


def check_calendar(name: str) -> str:
    """`name` if it is a calendar; else CalendarError with those that look like it."""
    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name == CONTINUOUS or name in known:
        return name
    close = difflib.get_close_matches(name.upper(), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "write 24/7 or an exchange code such as XNYS"
    raise CalendarError(f"no calendar is called {name!r}; {hint}")


def _days(first: date, last: date) -> pl.DataFrame:
    """Each UTC day as one session of 1440 minutes."""
    if last < first:
        return pl.DataFrame(schema=SESSION_SCHEMA)
    session = pl.date_range(first, last, eager=True)
    return pl.DataFrame({"session": session}).select(
        calendar=pl.lit(CONTINUOUS),
        session="session",
        open_ts=pl.col("session").cast(pl.Datetime("us")),
        close_ts=pl.col("session").cast(pl.Datetime("us")) + timedelta(days=1),
        minutes=pl.lit(1440, dtype=pl.Int64),
        is_early_close=pl.lit(False),
    )


def _exchange_sessions(name: str, first: date, last: date) -> pl.DataFrame:
    """The exchange's own sessions; the calendar is built around the dates, however old they are."""
    if last < first:
        return pl.DataFrame(schema=SESSION_SCHEMA)
    calendar = _calendar(name, first.year, last.year)
    schedule = calendar.schedule.loc[first.isoformat() : last.isoformat()]
    early = set(calendar.early_closes)
    rows = [
        (name, day.date(), _naive(row.open), _naive(row.close), _open_minutes(row), day in early)
        for day, row in zip(schedule.index, schedule.itertuples(index=False), strict=True)
    ]
    return pl.DataFrame(rows, schema=SESSION_SCHEMA, orient="row")


@lru_cache(maxsize=64)
def _calendar(name: str, first_year: int, last_year: int) -> Any:
    """The calendar over whole years, since the default one begins only twenty years ago.

    Where its holidays are not recorded for all of these years, the default window is all there is.
    """
    try:
        return exchange_calendars.get_calendar(name, start=f"{first_year}-01-01", end=f"{last_year}-12-31")
    except ValueError:
        return exchange_calendars.get_calendar(name)


def _open_minutes(row: Any) -> int:
    """Minutes between open and close without the midday break."""
    rest = row.break_end - row.break_start
    return int(((row.close - row.open) - (rest if rest == rest else timedelta())) / timedelta(minutes=1))


def _naive(moment: Any) -> datetime:
    at: datetime = moment.to_pydatetime()
    return at.astimezone(UTC).replace(tzinfo=None)


def _overridden(
    listed: pl.DataFrame, calendar: str, first: date, last: date, overrides: Iterable[Override]
) -> pl.DataFrame:
    """`listed` with the user's own closures and hours in place of the calendar's."""
    for override in overrides:
        if override.calendar == calendar and first <= override.date <= last:
            is_day = pl.col("session") == override.date
            usual = next(listed.filter(is_day).iter_rows(named=True), None)
            listed = listed.filter(~is_day)
            if not override.closed:
                listed = listed.vstack(_other_hours(override, usual))
    return listed


def _other_hours(override: Override, usual: dict[str, Any] | None) -> pl.DataFrame:
    """The one session of an override; hours it does not name are the usual ones."""
    opens = _at(override.date, override.open) or (usual and usual["open_ts"])
    closes = _at(override.date, override.close) or (usual and usual["close_ts"])
    if not opens or not closes or closes <= opens:
        raise CalendarError(
            f"[[session]] {override.calendar} {override.date}: the hours {override.open or '?'} to "
            f"{override.close or '?'} UTC are no session; write open and close, the close after the open"
        )
    is_early = bool(usual and (closes < usual["close_ts"] or usual["is_early_close"]))
    minutes = int((closes - opens) / timedelta(minutes=1))
    row = (override.calendar, override.date, opens, closes, minutes, is_early)
    return pl.DataFrame([row], schema=SESSION_SCHEMA, orient="row")


def _at(day: date, hour: str) -> datetime | None:
    return datetime.combine(day, time.fromisoformat(hour)) if hour else None
