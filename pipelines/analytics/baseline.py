"""The usual volume of a minute of the session, and how far a bar's volume lies from it.

Baselines are per series, interval and bucket (minute since the session's open; minute of the UTC day where
trading never stops), over the last sessions strictly before the judged one: no bar is ever part of its own
baseline. The warehouse computes them in SQL; `baseline` is the same in polars, the reference the SQL is
tested against.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from warehouse.buckets import SLOT

SESSIONS = 20
MIN_SESSIONS = 5
COLUMNS = ("median", "mad", "mean", "std", "log_median", "log_mad", "log_mean_ad", "sessions", "bars")
"""`log_*` are of ln(volume) over the sessions in which there was any; null below MIN_SESSIONS of those."""

_SERIES = ("source", "symbol", "interval")
_KEYS = (*_SERIES, "bucket")


def baseline(
    volumes: pl.DataFrame, judged: date, sessions: int = SESSIONS, min_sessions: int = MIN_SESSIONS
) -> pl.DataFrame:
    """One row per source, symbol, interval, bucket: COLUMNS, from_session and to_session; the baseline of
    `judged`.

    volumes: source, symbol, interval, bucket, session (date), volume (base units); one row a bar
    Uses the last `sessions` sessions before `judged` that have the bucket (a half day has no afternoon). For a
    bucket with fewer than `min_sessions` all bars of its SLOT stand in, over the last sessions that have any; without
    enough of these either it has no row.
    """
    before = volumes.filter(pl.col("session") < judged).with_columns(slot=pl.col("bucket") // SLOT)
    own = _measured(before, _KEYS, sessions, min_sessions)
    coarse = _measured(before, (*_SERIES, "slot"), sessions, min_sessions)
    thin = own.filter(pl.col("sessions") < min_sessions).select(*_KEYS, slot=pl.col("bucket") // SLOT)
    rows = pl.concat([own, thin.join(coarse, on=[*_SERIES, "slot"]).select(own.columns)])
    return rows.filter(pl.col("sessions") >= min_sessions).sort(_KEYS)


def _measured(bars: pl.DataFrame, key: tuple[str, ...], sessions: int, min_sessions: int) -> pl.DataFrame:
    """COLUMNS over the last sessions that have the key."""
    log = pl.when(pl.col("volume") > 0).then(pl.col("volume").log())
    return (
        bars.filter(pl.col("session").rank("dense", descending=True).over(key) <= sessions)
        .with_columns(log=log)
        .group_by(key)
        .agg(
            median=pl.col("volume").median(),
            mad=_deviations("volume").median(),
            mean=pl.col("volume").mean(),
            std=pl.col("volume").std(),
            log_median=_enough(pl.col("log").median(), min_sessions),
            log_mad=_enough(_deviations("log").median(), min_sessions),
            log_mean_ad=_enough(_deviations("log").mean(), min_sessions),
            sessions=pl.col("session").n_unique().cast(pl.Int64),
            bars=pl.len().cast(pl.Int64),
            from_session=pl.col("session").min(),
            to_session=pl.col("session").max(),
        )
    )


def robust_z(x: pl.Expr, median: pl.Expr, mad: pl.Expr, mean_ad: pl.Expr) -> pl.Expr:
    """Iglewicz and Hoaglin's 0.6745 (x - median) / MAD; at MAD 0 (x - median) / (1.2533 mean AD); else null.

    Volume goes in as its logarithm, because volumes multiply: twice and half the usual are equally far.
    """
    return (
        pl.when(mad > 0)
        .then(0.6745 * (x - median) / mad)
        .when(mean_ad > 0)
        .then((x - median) / (1.2533 * mean_ad))
    )


def judge(bars: pl.DataFrame) -> pl.DataFrame:
    """`bars` with volume_ratio (volume / median) and volume_robust_z (of ln volume).

    bars: volume and, joined by bucket, COLUMNS; null where there is no baseline, where it is 0, and for the
    z where the bar has no volume. Without those columns both are null.
    """
    if "median" not in bars.columns:
        nothing = pl.lit(None, dtype=pl.Float64)
        return bars.with_columns(volume_ratio=nothing, volume_robust_z=nothing)
    log = pl.when(pl.col("volume") > 0).then(pl.col("volume").log())
    return bars.with_columns(
        volume_ratio=pl.when(pl.col("median") > 0).then(pl.col("volume") / pl.col("median")),
        volume_robust_z=robust_z(log, pl.col("log_median"), pl.col("log_mad"), pl.col("log_mean_ad")),
    )


def _deviations(column: str) -> pl.Expr:
    return (pl.col(column) - pl.col(column).median()).abs()


def _enough(statistic: pl.Expr, min_sessions: int) -> pl.Expr:
    return pl.when(pl.col("log").count() >= min_sessions).then(statistic)
