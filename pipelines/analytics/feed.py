"""What is abnormal about a feed or a pair: one measured number against its limit, as rows of `anomalies`."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pipelines.analytics.detectors import SCHEMA, SEVERITY, TOLERANCE, Thresholds, anomaly_id, number
from pipelines.market import naive


def latency(
    source: str, symbol: str, interval: str, ts: datetime, milliseconds: float, limits: Thresholds
) -> pl.DataFrame:
    """Receipt to landing took more than `latency_ms`; no row if not."""
    reason = (
        f"{number(milliseconds)} ms from receipt to the landing zone; up to {limits.latency_ms:g} is usual"
    )
    return _judged("latency", (source, symbol, interval, ts), milliseconds, limits.latency_ms, reason)


def stale(
    source: str, symbol: str, interval: str, ts: datetime, seconds: float, limits: Thresholds
) -> pl.DataFrame:
    """No new bar for more than `stale_s` while the market trades; `ts` is the last bar there is."""
    reason = f"no new bar for {number(seconds)} s while the market trades; up to {limits.stale_s:g} is usual"
    return _judged("stale", (source, symbol, interval, ts), seconds, limits.stale_s, reason)


def gap(
    source: str, symbol: str, interval: str, ts: datetime, minutes: int, limits: Thresholds
) -> pl.DataFrame:
    """More than `gap_minutes` bars are missing from `ts` on."""
    reason = f"{minutes} minute{'s' if minutes != 1 else ''} missing from {ts:%Y-%m-%d %H:%M} UTC"
    return _judged("gap", (source, symbol, interval, ts), float(minutes), limits.gap_minutes, reason)


def spread(
    source: str, pair: str, interval: str, ts: datetime, zscore: float | None, limits: Thresholds
) -> pl.DataFrame:
    """A cointegrated pair's spread more than `spread_z` of its standard deviations from its mean."""
    z = 0.0 if zscore is None else zscore
    side = "above" if z > 0 else "below"
    sigmas = f"{abs(z):.2f} standard deviations {side} its mean"
    reason = f"the spread is {sigmas}; up to {limits.spread_z:g} is usual"
    row = _judged("spread", (source, pair, interval, ts), abs(z), limits.spread_z, reason)
    return row.with_columns(value=pl.lit(z), zscore=pl.lit(z))


def _judged(
    kind: str, key: tuple[str, str, str, datetime], value: float, limit: float, reason: str
) -> pl.DataFrame:
    """One anomaly if `value` is beyond `limit`, else none; NaN is none."""
    if not value > limit * (1 + TOLERANCE):
        return pl.DataFrame(schema=SCHEMA)
    source, symbol, interval, at = key
    ts = naive(at)
    row = {
        "id": anomaly_id(source, symbol, interval, ts, kind),
        "source": source,
        "symbol": symbol,
        "interval": interval,
        "ts": ts,
        "kind": kind,
        "value": value,
        "baseline": limit,
        "ratio": value / limit if limit else None,
        "zscore": None,
        "severity": SEVERITY[kind][2],
        "reason": reason,
    }
    return pl.DataFrame([row], schema=SCHEMA)
