"""What is abnormal about closed bars, as rows of `anomalies`: a number, what is usual, and a sentence.

Each detector takes judged bars (see `judged_bars`) and returns only the abnormal ones. A partial window
(is_complete false) is never judged, nor is a value that has nothing to be compared with (null).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import polars as pl

from pipelines.analytics.baseline import MIN_SESSIONS

TOLERANCE = 1e-9
"""Relative: a limit is passed only by more than the rounding of decimal prices can do."""
VOLATILITY_BARS = 200
"""Earlier bars whose median volatility is the usual one."""
VOLATILITY_MIN_BARS = 20

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "symbol": pl.String(),
    "interval": pl.String(),
    "ts": pl.Datetime("us"),
    "kind": pl.String(),
    "value": pl.Float64(),
    "baseline": pl.Float64(),
    "ratio": pl.Float64(),
    "zscore": pl.Float64(),
    "severity": pl.String(),
    "reason": pl.String(),
}
"""An anomaly: `value` against `baseline`, `ratio` = value / baseline, `ts` the open of the judged bar."""


@dataclass(frozen=True)
class Thresholds:
    """Limits that must be exceeded; equal to the limit is still usual."""

    price_pct: float = 5.0
    volume_ratio: float = 3.0
    volume_z: float = 3.0
    """Where a robust z exists it must exceed this too, or thin series would be abnormal every calm day."""
    min_sessions: int = MIN_SESSIONS
    rsi_high: float = 70.0
    rsi_low: float = 30.0
    volatility_ratio: float = 3.0
    latency_ms: float = 100.0
    stale_s: float = 180.0
    gap_minutes: float = 0.0
    spread_z: float = 2.0
    corr_z: float = 5.0
    corr_change: float = 0.3


SEVERITY: Mapping[str, tuple[str, str, str]] = {
    "price_spike": ("price_pct", "percent from the mean of the 20 closes before", "critical"),
    "stale": ("stale_s", "seconds without a new bar", "critical"),
    "gap": ("gap_minutes", "minutes missing", "high"),
    "spread": ("spread_z", "standard deviations of a cointegrated pair's spread", "high"),
    "corr_break": (
        "corr_z",
        "standard errors between a pair's newest correlation and the usual one",
        "medium",
    ),
    "volume": ("volume_ratio", "times the usual volume of that minute of the session", "medium"),
    "rsi_extreme": ("rsi_high", "RSI entering the zone above this, or below its counterpart", "medium"),
    "volatility": ("volatility_ratio", "times the median volatility of the bars before", "medium"),
    "latency": ("latency_ms", "milliseconds from receipt to the landing zone", "medium"),
}
"""Kind -> its field of Thresholds, what is measured, and how serious it is to exceed it."""


OWN_LIMITS: Mapping[str, str] = {"price_spike": "price_limit", "volume": "volume_limit"}
"""Kind -> column of the judged bars that holds a bar's own limit (see `budget`), where the bars have it."""


def detect(bars: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """Every anomaly of the judged bars, by time; `rsi_anomalies` judges each interval it is given."""
    found = [find(bars, limits) for find in DETECTORS.values()]
    return pl.concat(found).sort("ts", "source", "symbol", "interval", "kind")


def judged_bars(history: pl.DataFrame) -> pl.DataFrame:
    """The new bars with what the bars before them say: rsi_prev and volatility_median.

    history: one interval; source, symbol, ts, rsi_14, volatility_20, is_new and whatever else the detectors
    read, sorted; at least VOLATILITY_BARS rows before each series' first new one, if it has them.
    volatility_median is of those bars, without the judged one, null below VOLATILITY_MIN_BARS.
    """
    usual = pl.col("volatility_20").shift(1).rolling_median(VOLATILITY_BARS, min_samples=VOLATILITY_MIN_BARS)
    return history.with_columns(
        rsi_prev=pl.col("rsi_14").shift(1).over("source", "symbol"),
        volatility_median=usual.over("source", "symbol"),
    ).filter("is_new")


def price_anomalies(bars: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """Closes more than `price_pct` percent, or the bar's own limit, from the mean of the 20 closes before them.

    bars: source, symbol, interval, ts, is_complete, close, dev_20_pct, zscore_20; price_limit where there is a budget;
    is_joined where it is known: false of a bar with a hole among the 20 before it, which is not judged
    """
    usual = pl.col("close") / (1 + pl.col("dev_20_pct") / 100)
    own, limit = _own_limit(bars, "price_spike"), pl.lit(limits.price_pct)
    joined = pl.col("is_joined") if "is_joined" in bars.columns else pl.lit(True)
    rows = _complete(bars).filter(joined, _beyond(pl.col("dev_20_pct").abs(), pl.coalesce(own, limit)))
    rows = rows.select(
        *_KEYS, "dev_20_pct", value="close", baseline=usual, zscore="zscore_20", own=own, limit=limit
    )
    return _anomalies(rows, "price_spike", _price_reason)


def volume_anomalies(bars: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """Volumes more than `volume_ratio` times the usual, and beyond `volume_z` where that exists.

    bars: source, symbol, interval, ts, is_complete, volume, volume_ratio, volume_robust_z, median, sessions; bars of the
    baseline, if known; volume_limit where there is a budget: it stands in for both

    A baseline of fewer than `min_sessions` sessions judges nothing: the ratio would say nothing.
    """
    own, limit = _own_limit(bars, "volume"), pl.lit(limits.volume_ratio)
    unusual = pl.col("volume_robust_z").is_null() | _beyond(pl.col("volume_robust_z"), limits.volume_z)
    rows = _complete(bars).filter(
        pl.col("sessions") >= limits.min_sessions,
        _beyond(pl.col("volume_ratio"), pl.coalesce(own, limit)),
        # A limit of its own has been chosen by history already.
        unusual | own.is_not_null(),
    )
    sample = pl.col("bars") if "bars" in bars.columns else pl.col("sessions")
    rows = rows.select(
        *_KEYS,
        "sessions",
        bars=sample,
        value="volume",
        baseline="median",
        zscore="volume_robust_z",
        own=own,
        limit=limit,
    )
    return _anomalies(rows, "volume", _volume_reason)


def rsi_anomalies(bars: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """The bars that enter the zone above `rsi_high` or below `rsi_low`; staying there is no news.

    bars: source, symbol, interval, ts, is_complete, rsi_14, rsi_prev (the bar before; null: none)
    """
    now, before = pl.col("rsi_14"), pl.col("rsi_prev")
    high, low = pl.lit(limits.rsi_high), pl.lit(limits.rsi_low)
    entered = ((now > high) & ~(before > high).fill_null(False)) | (
        (now < low) & ~(before < low).fill_null(False)
    )
    limit = pl.when(now > high).then(high).otherwise(low)
    rows = _complete(bars).filter(entered).select(*_KEYS, value=now, baseline=limit, zscore=_NOTHING)
    return _anomalies(rows, "rsi_extreme", _rsi_reason)


def volatility_anomalies(bars: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """Volatilities of 20 returns more than `volatility_ratio` times their own median over the bars before.

    bars: source, symbol, interval, ts, is_complete, volatility_20, volatility_median
    """
    now, usual = pl.col("volatility_20"), pl.col("volatility_median")
    rows = _complete(bars).filter(usual > 0, _beyond(now / usual, limits.volatility_ratio))
    limit = pl.lit(limits.volatility_ratio)
    rows = rows.select(*_KEYS, value=now, baseline=usual, zscore=_NOTHING, own=_NOTHING, limit=limit)
    return _anomalies(rows, "volatility", _volatility_reason)


DETECTORS: Mapping[str, Callable[[pl.DataFrame, Thresholds], pl.DataFrame]] = {
    "price_spike": price_anomalies,
    "volume": volume_anomalies,
    "rsi_extreme": rsi_anomalies,
    "volatility": volatility_anomalies,
}


def anomaly_id(source: str, symbol: str | None, interval: str | None, ts: datetime, kind: str) -> str:
    """The same for the same bar and kind whenever it is computed, so that its address stays valid."""
    key = "|".join((source, symbol or "", interval or "", ts.isoformat(), kind))
    return blake2b(key.encode(), digest_size=8).hexdigest()


def number(value: float) -> str:
    """Four significant digits, never with an exponent: 0.874, 67251, 0.00001234."""
    text = f"{value:.4g}"
    if "e" not in text:
        return text
    exponent = int(text.split("e")[1])
    return f"{value:.{max(0, 3 - exponent)}f}"


Row = Mapping[str, Any]

_KEYS = ("source", "symbol", "interval", "ts")
_NOTHING = pl.lit(None, dtype=pl.Float64)


def _complete(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.filter(pl.col("is_complete").fill_null(True))


def _own_limit(bars: pl.DataFrame, kind: str) -> pl.Expr:
    column = OWN_LIMITS[kind]
    return pl.col(column) if column in bars.columns else _NOTHING


def _limit_in_words(row: Row, unit: str) -> str:
    if row["own"] is None:
        return f"; the limit is {row['limit']:g}{unit}"
    return f"; this half hour's own limit is {row['own']:.3g}{unit}, by the alert budget"


def _beyond(measure: pl.Expr, limit: float | pl.Expr) -> pl.Expr:
    return measure > limit * (1 + TOLERANCE)


def _anomalies(rows: pl.DataFrame, kind: str, reason: Callable[[Row], str]) -> pl.DataFrame:
    """`rows` (keys, value, baseline, zscore) as anomalies of `kind`."""
    found = rows.to_dicts()
    return rows.with_columns(
        pl.Series("id", [_id(row, kind) for row in found], pl.String),
        pl.Series("reason", [reason(row) for row in found], pl.String),
        kind=pl.lit(kind),
        ratio=pl.when(pl.col("baseline") != 0).then(pl.col("value") / pl.col("baseline")),
        severity=pl.lit(SEVERITY[kind][2]),
    ).select(pl.col(name).cast(kind_) for name, kind_ in SCHEMA.items())


def _id(row: Row, kind: str) -> str:
    return anomaly_id(row["source"], row["symbol"], row["interval"], row["ts"], kind)


def _price_reason(row: Row) -> str:
    side = "above" if row["dev_20_pct"] > 0 else "below"
    return (
        f"close {number(row['value'])} is {abs(row['dev_20_pct']):.3g} % {side} the mean of the 20 "
        f"bars before ({number(row['baseline'])})" + _limit_in_words(row, " %")
    )


def _times(row: Row) -> str:
    ratio = row["value"] / row["baseline"]
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def _volume_reason(row: Row) -> str:
    is_coarse = (row["bars"] or 0) > row["sessions"]
    when = "half hour" if is_coarse else "minute"
    sample = (
        f"{row['bars']} bars in {row['sessions']} sessions" if is_coarse else f"{row['sessions']} sessions"
    )
    return (
        f"volume {number(row['value'])} is {_times(row)} times the usual {number(row['baseline'])} of this {when} of "
        f"the session (median of {sample} before)" + _limit_in_words(row, " times")
    )


def _rsi_reason(row: Row) -> str:
    zone = "overbought, above" if row["value"] > row["baseline"] else "oversold, below"
    return f"RSI {row['value']:.1f} has become {zone} {row['baseline']:g}"


def _volatility_reason(row: Row) -> str:
    return (
        f"volatility {100 * row['value']:.3g} % a bar over 20 returns is "
        f"{_times(row)} times its median over the bars before "
        f"({100 * row['baseline']:.3g} %)" + _limit_in_words(row, " times")
    )
