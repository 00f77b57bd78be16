"""A series' newest bars in a handful of numbers, and whether its price returns to its mean."""

from __future__ import annotations

import polars as pl

from pipelines.analytics.adf import Lags, unit_root
from pipelines.analytics.cointegration import MIN_BARS

SCHEMA: dict[str, pl.DataType] = {
    **dict.fromkeys(("source", "symbol", "interval"), pl.String()),
    "lookback": pl.Int64(),
    **dict.fromkeys(("mean", "std", "min", "max", "volume", "return", "adf_stat", "adf_p"), pl.Float64()),
    "is_mean_reverting": pl.Boolean(),
    "n": pl.Int64(),
    "as_of": pl.Datetime("us"),
    "reason": pl.String(),
}


def symbol_stats(
    bars: pl.DataFrame, interval: str, lookback: int, lags: Lags = "aic", alpha: float = 0.05
) -> pl.DataFrame:
    """One row of SCHEMA a series over its newest `lookback` bars.

    bars: source, symbol, ts, close, volume; final bars of one interval
    mean, std (ddof 1), min, max are of the closes, volume is the sum, return is last close / first - 1,
    as_of the newest bar. is_mean_reverting: the unit root of the log closes (with a constant) is rejected at
    `alpha`; null, with a reason, below 100 bars or where the test cannot be made.
    """
    newest = (
        bars.drop_nulls("close").sort("ts").group_by("source", "symbol", maintain_order=True).tail(lookback)
    )
    rows = newest.group_by("source", "symbol").agg(
        mean=pl.col("close").mean(),
        std=pl.col("close").std(),
        min=pl.col("close").min(),
        max=pl.col("close").max(),
        volume=pl.col("volume").sum(),
        **{"return": pl.col("close").last() / pl.col("close").first() - 1},
        n=pl.len().cast(pl.Int64),
        as_of=pl.col("ts").last(),
        logs=pl.when(pl.col("close") > 0).then(pl.col("close").log()),
    )
    tests = pl.DataFrame(
        [_unit_root(logs, lags, alpha) for logs in rows["logs"]],
        schema={
            "adf_stat": pl.Float64,
            "adf_p": pl.Float64,
            "is_mean_reverting": pl.Boolean,
            "reason": pl.String,
        },
        orient="row",
    )
    keyed = rows.hstack(tests).with_columns(interval=pl.lit(interval), lookback=pl.lit(lookback))
    return keyed.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()).sort("source", "symbol")


def _unit_root(
    logs: pl.Series, lags: Lags, alpha: float
) -> tuple[float | None, float | None, bool | None, str | None]:
    """Statistic, p, verdict and, where there is none, why."""
    if logs.null_count():
        return None, None, None, "a close is not positive"
    if logs.len() < MIN_BARS:
        return None, None, None, f"{logs.len()}/{MIN_BARS} bars"
    if logs.max() == logs.min():
        return None, None, None, "the price has not moved"
    try:
        test = unit_root(logs.to_numpy(), lags, constant=True)
    except ValueError as error:
        return None, None, None, str(error)
    return test.stat, test.p, test.p < alpha, None
