"""What a run derives, and by which plan: the words that `derive` (from the lake) and `recent` (at hand) share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from pipelines.analytics import detectors
from pipelines.analytics.budget import LIMITS, with_limits
from pipelines.analytics.params import IndicatorParams
from pipelines.market import Interval

UP_TO_AN_HOUR = ("1m", "5m", "15m", "30m", "1h")
JUDGED = {
    "price_spike": UP_TO_AN_HOUR,
    "volume": UP_TO_AN_HOUR,
    "volatility": ("15m", "1h"),
    "rsi_extreme": ("1h",),
}
"""Kind -> intervals it is judged on: an RSI of minutes leaves 70/30 many times a day and says nothing."""
NEEDS_PAST = frozenset({*JUDGED["volatility"], *JUDGED["rsi_extreme"]})


@dataclass(frozen=True)
class Plan:
    """What is derived for every series; `session_minutes` is the usual session's length by calendar."""

    intervals: tuple[Interval, ...]
    params: IndicatorParams = field(default_factory=IndicatorParams)
    thresholds: detectors.Thresholds = field(default_factory=detectors.Thresholds)
    sessions: int = 20
    min_sessions: int = 5
    session_minutes: Mapping[str, float] = field(default_factory=lambda: {"XNYS": 390.0})
    limits: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LIMITS), compare=False)
    """Limits of price and volume from the alert budget (`budget.LIMITS`); none: those of `thresholds`."""


@dataclass(frozen=True)
class Derived:
    """What one run would write. `rows` holds the judged bars: each one's OHLCV beside its indicators.

    all_new: no bar of `rows` and `windows` has been stored before. by_series: `baselines` is of some series of its
    sources only, the others keep theirs.
    """

    batches: tuple[str, ...]
    clocks: dict[str, datetime]
    windows: pl.DataFrame
    rows: pl.DataFrame
    anomalies: pl.DataFrame
    baselines: pl.DataFrame
    all_new: bool = False
    by_series: bool = False


def detect(judged: pl.DataFrame, interval: Interval, plan: Plan) -> pl.DataFrame:
    """The anomalies an interval is judged for: price and volume up to an hour, RSI and volatility on hours."""
    if plan.limits.height:
        for kind, column in detectors.OWN_LIMITS.items():
            judged = with_limits(judged, plan.limits, kind, column)
    kinds = [kind for kind, intervals in JUDGED.items() if str(interval) in intervals]
    return together(
        [pl.DataFrame(schema=detectors.SCHEMA)]
        + [detectors.DETECTORS[kind](judged, plan.thresholds) for kind in kinds]
    )


def together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The frames one below the other; empty ones need not have columns."""
    filled = [frame for frame in frames if frame.height]
    return pl.concat(filled) if filled else (frames[0] if frames else pl.DataFrame())
