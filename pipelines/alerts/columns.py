"""The columns a rule may name, by what it judges (series, pair or feed), and their words in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import polars as pl

from pipelines.alerts.expression import Columns, Kind

Subject = Literal["series", "pair", "feed"]

_SERIES_NUMBERS = (
    "open high low close volume turnover trades vwap minutes minutes_expected ret_log std_dprice std_logret "
    "sma_20 sma_50 sma_200 ema_12 ema_26 rsi_14 macd macd_signal macd_hist bb_upper bb_mid bb_lower atr_14 "
    "zscore_20 volatility_20 volatility_ann pv_corr_60 volume_ratio volume_robust_z dev_20_pct"
)
_PAIR_NUMBERS = (
    "n beta_ols alpha_ols beta_theil_sen beta_lo beta_hi beta_kalman r2 eg_stat eg_p eg_stat_swapped "
    "eg_p_swapped p_max q_bh johansen_trace_0 johansen_trace_1 half_life_bars half_life_lo half_life_hi "
    "lags lags_swapped tested adf_p_y adf_p_x holdout_p corr zscore"
)
_NUMBERS: dict[Subject, str] = {
    "series": _SERIES_NUMBERS,
    "pair": _PAIR_NUMBERS,
    # latency_p99_ms: received to landed; stale_s: since the newest closed bar was due, null while the market
    # is shut; gap_minutes: minutes of open gaps.
    "feed": "latency_p99_ms stale_s gap_minutes",
}
_TRUTHS: dict[Subject, str] = {"series": "is_complete", "pair": "is_cointegrated break_flag", "feed": ""}


def _kinds(numbers: str, truths: str) -> dict[str, Kind]:
    named: dict[str, Kind] = dict.fromkeys(numbers.split(), "number")
    return named | dict.fromkeys(truths.split(), "truth")


COLUMNS: Mapping[Subject, Columns] = {
    subject: _kinds(numbers, _TRUTHS[subject]) for subject, numbers in _NUMBERS.items()
}


def with_configured(names: Iterable[str]) -> dict[Subject, Columns]:
    """The catalogue plus the indicators that the configuration adds (`rsi_7`)."""
    return {**COLUMNS, "series": {**COLUMNS["series"], **dict.fromkeys(names, "number")}}


def kinds_of(schema: Mapping[str, pl.DataType]) -> dict[str, Kind]:
    """The columns of a frame that a rule can use; texts and times are left out."""
    return {
        name: "truth" if dtype == pl.Boolean else "number"
        for name, dtype in schema.items()
        if dtype == pl.Boolean or dtype.is_numeric()
    }


class Words(NamedTuple):
    """How a column is called in a message; `unit` follows the number."""

    label: str
    unit: str = ""


WORDS: Mapping[str, Words] = {
    "volume_ratio": Words("Volume", "×"),
    "volume_robust_z": Words("Volume robust z"),
    "dev_20_pct": Words("Price against the mean of the 20 bars before", " %"),
    "rsi_14": Words("RSI 14"),
    "zscore": Words("Spread z"),
    "zscore_20": Words("Price z (20)"),
    "volatility_20": Words("Volatility (20)"),
    "close": Words("Close"),
    "volume": Words("Volume"),
    "latency_p99_ms": Words("Latency p99 (received to landed)", " ms"),
    "stale_s": Words("Silent for", " s"),
    "gap_minutes": Words("Missing minutes", " min"),
    "corr": Words("Correlation"),
    "half_life_bars": Words("Half-life", " bars"),
}
"""Columns without an entry are called by their own name."""

ANOMALY_OF: Mapping[str, str] = {
    "volume_ratio": "volume",
    "dev_20_pct": "price_spike",
    "rsi_14": "rsi_extreme",
    "zscore": "spread",
    "volatility_20": "volatility",
    "gap_minutes": "gap",
    "stale_s": "stale",
    "latency_p99_ms": "latency",
}
"""The kind of anomaly that looks at the same column."""

REFERENCE_OF: Mapping[str, str] = {
    "price_spike": "mean",
    "rsi_extreme": "limit",
    "spread": "limit",
    "latency": "limit",
    "stale": "limit",
    "gap": "limit",
}
"""What the `baseline` of a kind of anomaly is: `limit`, the most that is allowed; `mean`, of the bars before."""
USUAL = "usual"
"""What it is of every other kind: the value that is usual."""

COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "volume_ratio": ("volume",),
    "dev_20_pct": ("close",),
    "zscore": ("p_max", "q_bh", "half_life_bars", "n"),
    "rsi_14": ("close",),
}
"""What belongs into the evidence beside the columns that a rule names."""
