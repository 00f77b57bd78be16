"""Yahoo's windows: intervals, ranges and how far back each reaches, sessions and trading periods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipelines.replica import nyse
from pipelines.replica.columns import Ints
from pipelines.replica.instruments import Instrument

DAY_S = 86400
WIDTHS = {
    "1m": 60,
    "2m": 120,
    "5m": 300,
    "15m": 900,
    "30m": 3600,  # asked for 30 minutes, Yahoo gives hours
    "60m": 3600,
    "90m": 5400,
    "1h": 3600,
    "1d": DAY_S,
    "5d": 5 * DAY_S,
    "1wk": 7 * DAY_S,
    "1mo": 31 * DAY_S,
    "3mo": 93 * DAY_S,
}
RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
_REACH_DAYS = {"1m": 30, "2m": 60, "5m": 60, "15m": 60, "30m": 60, "90m": 60, "60m": 730, "1h": 730}
_DAYS_A_REQUEST = 8
_PRE_S, _POST_S = 5.5 * 3600, 4 * 3600


class RefusalError(Exception):
    """A chart error: HTTP status, code and description."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


@dataclass(frozen=True)
class Call:
    """A checked request: [start, end) in epoch seconds."""

    symbol: str
    inst: Instrument
    interval: str
    range: str
    start: float
    end: float
    extended: bool
    now: float

    @property
    def width(self) -> int:
        return WIDTHS[self.interval]

    @property
    def intraday(self) -> bool:
        return self.width < DAY_S


def window(params: dict[str, str], spelled: str, inst: Instrument, now: float) -> tuple[float, float]:
    if "period1" in params:
        try:
            start, end = float(params["period1"]), float(params.get("period2") or now + 1)
        except ValueError:
            raise bad("period1 and period2 must be epoch seconds") from None
        if start >= end:
            raise bad("startDate=period1 must be before endDate=period2")
        return start, end
    return _range_start(spelled or "1d", inst, now), now + 1


def _range_start(spelled: str, inst: Instrument, now: float) -> float:
    if spelled == "max":
        return 0
    if spelled == "ytd":
        return datetime(datetime.fromtimestamp(now, UTC).year, 1, 1, tzinfo=UTC).timestamp()
    match = re.fullmatch(r"(\d+)(m|h|d|wk|mo|y)", spelled)
    if not match:
        raise bad(f"range={spelled} is not supported. Valid ranges: [{', '.join(RANGES)}]")
    count, unit = int(match[1]), match[2]
    if unit == "d":
        return _sessions_back(inst, count, now)
    seconds = {"m": 60, "h": 3600, "wk": 7 * DAY_S, "mo": 30 * DAY_S, "y": 365 * DAY_S}[unit]
    latest = min(now, session_at(inst, now)[1]) if unit in ("m", "h") else now
    return latest - count * seconds


def _sessions_back(inst: Instrument, count: int, now: float) -> float:
    """The open of the `count`-th latest session."""
    if inst.continuous:
        return now // DAY_S * DAY_S - (count - 1) * DAY_S
    found = [one for one in nyse.sessions(now - (2 * count + 12) * DAY_S, now + 1) if one.open_s <= now]
    return found[-min(count, len(found))].open_s


def check_reach(interval: str, start: float, end: float, now: float) -> None:
    asked = f"{interval} data not available for startTime={int(start)} and endTime={int(end)}."
    if interval == "1m" and end - start > _DAYS_A_REQUEST * DAY_S + 1:
        raise _unprocessable(
            f"{asked} Only {_DAYS_A_REQUEST} days worth of 1m granularity data are allowed to be fetched "
            "per request."
        )
    days = _REACH_DAYS.get(interval)
    if days and start < now - days * DAY_S:
        raise _unprocessable(f"{asked} The requested range must be within the last {days} days.")


def bad(text: str) -> RefusalError:
    return RefusalError(400, "Bad Request", f"Invalid input - {text}")


def _unprocessable(text: str) -> RefusalError:
    return RefusalError(422, "Unprocessable Entity", text)


def with_extra_row(call: Call) -> float:
    """The end of the window: now and then a row past period2 slips in, as it does at Yahoo."""
    slips = call.interval == "1m" and call.end % 60 == 0 and int(call.end) // 60 % 4 == 0
    return call.end + 60 if slips else call.end


def session_at(inst: Instrument, at_s: float) -> tuple[int, int]:
    """Open and close of the session under way, else of the last one."""
    if inst.continuous:
        start = int(at_s // DAY_S) * DAY_S
        return start, start + DAY_S
    latest = nyse.latest_session(at_s)
    return latest.open_s, latest.close_s


def sessions_of(inst: Instrument, start: float, end: float) -> list[tuple[int, int]]:
    """Open and close of the sessions that overlap [start, end), oldest first."""
    if inst.continuous:
        return [(day * DAY_S, (day + 1) * DAY_S) for day in range(int(start // DAY_S), int(-(-end // DAY_S)))]
    return [(one.open_s, one.close_s) for one in nyse.sessions(start, end)]


def buckets(ts: Ints, call: Call) -> Ints:
    """Bucket of each minute: intraday from the session's open, days at the open, weeks and months by date."""
    if not len(ts):
        return ts
    starts = np.array([one[0] for one in sessions_of(call.inst, float(ts[0]), float(ts[-1]) + 60)], np.int64)
    if not len(starts):
        return ts // call.width * call.width
    own = starts[np.maximum(np.searchsorted(starts, ts, side="right") - 1, 0)]
    if call.intraday:
        return own + (ts - own) // call.width * call.width
    if call.interval == "1d":
        return own
    days = (own // DAY_S).astype("datetime64[D]")
    if call.interval.endswith("mo"):
        return days.astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)
    return days.astype("datetime64[W]").astype("datetime64[s]").astype(np.int64)


def offset(inst: Instrument, at_s: float) -> int:
    if inst.continuous:
        return 0
    offset = datetime.fromtimestamp(at_s, nyse.NEW_YORK).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def zone(inst: Instrument, at_s: float) -> str:
    return "UTC" if inst.continuous else datetime.fromtimestamp(at_s, nyse.NEW_YORK).strftime("%Z")


def _period(inst: Instrument, start: float, end: float) -> dict[str, Any]:
    return {
        "timezone": zone(inst, start),
        "start": int(start),
        "end": int(end),
        "gmtoffset": offset(inst, start),
    }


def periods_around(inst: Instrument, open_s: int, close_s: int) -> dict[str, Any]:
    pre, post = (0.0, 0.0) if inst.continuous else (_PRE_S, _POST_S)
    return {
        "pre": _period(inst, open_s - pre, open_s),
        "regular": _period(inst, open_s, close_s),
        "post": _period(inst, close_s, close_s + post),
    }


def trading_periods(call: Call) -> Any:
    """A list of lists; with pre- and post-market a dict of three such lists."""
    found = sessions_of(call.inst, call.start, min(call.end, call.now + DAY_S))
    around = [periods_around(call.inst, open_s, close_s) for open_s, close_s in found]
    if call.extended:
        return {part: [[one[part]] for one in around] for part in ("pre", "regular", "post")}
    return [[one["regular"]] for one in around]
