"""Where a bar lies in its session: arithmetic on the stored sessions, for many bars of a source at once."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from pipelines.recent.matrices import Floats, Integers

DAY = 86_400.0


def places(ts: Floats, sessions: pl.DataFrame) -> tuple[Floats, Floats]:
    """The start and the end of each bar's session: the UTC day where trading never stops or none is on.

    sessions: open_ts, close_ts, sorted; empty for 24/7
    """
    anchor = np.floor(ts / DAY) * DAY
    closes = anchor + DAY
    if len(sessions):
        opens, ends = (seconds(sessions[name]) for name in ("open_ts", "close_ts"))
        at = np.searchsorted(opens, ts, side="right") - 1
        inside = (at >= 0) & (ts < ends[at])
        anchor[inside], closes[inside] = opens[at[inside]], ends[at[inside]]
    return anchor, closes


def buckets(ts: Floats, sessions: pl.DataFrame) -> Integers:
    """The minute of the session by which each bar's volume is judged: `warehouse.buckets` for bars at hand.

    sessions: open_ts, close_ts, closing_ts, counted_from, sorted; empty for 24/7
    """
    counted, _ = places(ts, sessions)
    if len(sessions):
        opens, ends, closing, usual = (
            seconds(sessions[name]) for name in ("open_ts", "close_ts", "closing_ts", "counted_from")
        )
        at = np.searchsorted(opens, ts, side="right") - 1
        late = (at >= 0) & (ts < ends[at]) & (ts >= closing[at])
        counted[late] = usual[at[late]]
    return ((ts - counted) // 60).astype(np.int64)


def seconds(times: pl.Series) -> Floats:
    """Naive UTC timestamps as seconds since 1970; null is NaN."""
    return times.cast(pl.Datetime("us")).to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6


def second(at: datetime) -> float:
    """One naive UTC time in seconds since 1970."""
    return (at - datetime(1970, 1, 1)) / timedelta(seconds=1)


def moment(at: float) -> datetime:
    """One time in seconds as a naive UTC datetime."""
    return datetime(1970, 1, 1) + timedelta(seconds=float(at))


def timestamps(ts: Floats) -> pl.Series:
    """Seconds since 1970 as naive UTC timestamps."""
    return pl.Series((ts * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
