"""Where a bar lies in its session: arithmetic on the stored sessions, for many bars of many series at once."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from pipelines.market import CONTINUOUS
from pipelines.recent.matrices import Floats, Integers

DAY = 86_400.0


class Places:
    """The sessions of every series' calendar."""

    def __init__(self, series: pl.DataFrame, sessions: pl.DataFrame) -> None:
        names = [CONTINUOUS, *sorted(set(series["calendar"]) - {CONTINUOUS})]
        self.calendar = np.array([names.index(name) for name in series["calendar"]], dtype=np.int64)
        self.spans = {
            number: _spans(sessions.filter(pl.col("calendar") == name))
            for number, name in enumerate(names)
            if number
        }

    def of(self, series: Integers, ts: Floats) -> tuple[Floats, Floats]:
        """The start and the end of each bar's session: the UTC day where trading never stops or none is on."""
        anchor = np.floor(ts / DAY) * DAY
        closes = anchor + DAY
        for number, (opens, ends) in self.spans.items():
            here = np.flatnonzero(self.calendar[series] == number)
            at = np.searchsorted(opens, ts[here], side="right") - 1
            inside = (at >= 0) & (ts[here] < ends[at])
            anchor[here[inside]], closes[here[inside]] = opens[at[inside]], ends[at[inside]]
        return anchor, closes


def seconds(times: pl.Series) -> Floats:
    """Naive UTC timestamps as seconds since 1970; null is NaN."""
    return times.cast(pl.Datetime("us")).to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6


def moment(second: float) -> datetime:
    """One time in seconds as a naive UTC datetime."""
    return datetime(1970, 1, 1) + timedelta(seconds=float(second))


def timestamps(ts: Floats) -> pl.Series:
    """Seconds since 1970 as naive UTC timestamps."""
    return pl.Series((ts * 1e6).astype(np.int64)).cast(pl.Datetime("us"))


def _spans(sessions: pl.DataFrame) -> tuple[Floats, Floats]:
    ordered = sessions.sort("open_ts")
    return np.append(seconds(ordered["open_ts"]), np.inf), np.append(seconds(ordered["close_ts"]), -np.inf)
