"""What is abnormal about a feed or a pair: one measured number against its limit, as rows of `anomalies`.

A row about a whole feed has no symbol, one about a feed no interval; a pair's name stands as its symbol.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from pipelines.analytics.detectors import SCHEMA, SEVERITY, TOLERANCE, Thresholds, anomaly_id, number
from pipelines.market import floor_minute, naive


def of_feeds(health: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """Slow and silent feeds. A silence is one row, of its beginning, however long it lasts.

    health: source, ts (the market's clock, naive UTC), latency_p99_ms, stale_s; null where it was not measured
    """
    found = [pl.DataFrame(schema=SCHEMA)]
    for row in health.iter_rows(named=True):
        source, ts = row["source"], row["ts"]
        if (milliseconds := row["latency_p99_ms"]) is not None:
            found.append(latency(source, None, None, floor_minute(ts), milliseconds, limits))
        if (seconds := row["stale_s"]) is not None:
            found.append(stale(source, None, None, ts - timedelta(seconds=seconds), seconds, limits))
    return pl.concat(found)


def of_gaps(opened: pl.DataFrame, limits: Thresholds) -> pl.DataFrame:
    """Gaps (source, symbol, from_ts, minutes) as they were found."""
    rows = [
        gap(source, symbol, None, from_ts, minutes, limits)
        for source, symbol, from_ts, minutes in opened.select(
            "source", "symbol", "from_ts", "minutes"
        ).iter_rows()
    ]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *rows])


def latency(
    source: str,
    symbol: str | None,
    interval: str | None,
    ts: datetime,
    milliseconds: float,
    limits: Thresholds,
) -> pl.DataFrame:
    """Receipt to landing took more than `latency_ms`; no row if not."""
    reason = (
        f"{number(milliseconds)} ms from receipt to the landing zone; the limit is {limits.latency_ms:g} ms"
    )
    return _judged("latency", (source, symbol, interval, ts), milliseconds, limits.latency_ms, reason)


def stale(
    source: str, symbol: str | None, interval: str | None, ts: datetime, seconds: float, limits: Thresholds
) -> pl.DataFrame:
    """No new bar for more than `stale_s` while the market trades; `ts` is when the first bar that is missing opened."""
    reason = f"no new bar for {number(seconds)} s while the market trades; the limit is {limits.stale_s:g} s"
    return _judged("stale", (source, symbol, interval, ts), seconds, limits.stale_s, reason)


def gap(
    source: str, symbol: str | None, interval: str | None, ts: datetime, minutes: int, limits: Thresholds
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
    reason = f"the spread is {sigmas}; the limit is {limits.spread_z:g}"
    row = _judged("spread", (source, pair, interval, ts), abs(z), limits.spread_z, reason)
    return row.with_columns(value=pl.lit(z), zscore=pl.lit(z))


def _judged(
    kind: str, key: tuple[str, str | None, str | None, datetime], value: float, limit: float, reason: str
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
