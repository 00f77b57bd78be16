"""Anomalies into episodes: what a reader wants once, not once a minute."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from pipelines.market import Interval, naive

QUIET = timedelta(minutes=15)
_RANK = {"critical": 0, "high": 1, "medium": 2, "info": 3}


def badness() -> pl.Expr:
    """How far out of the ordinary an anomaly is, in the measure that its line shows, so that words and rank agree.

    The distance of the ratio from 1 (volume, price, volatility, feeds), the points beyond an RSI's limit, a
    pair's |z|; comparable within one kind. Never null.
    """
    shown = (
        pl.when(pl.col("kind").is_in(["spread", "corr_break"]))
        .then(pl.col("zscore").abs())
        .when(pl.col("kind") == "rsi_extreme")
        .then((pl.col("value") - pl.col("baseline")).abs())
        .otherwise((pl.col("ratio") - 1).abs())
    )
    return pl.coalesce(shown, pl.col("zscore").abs(), pl.col("value").abs(), pl.lit(0.0))


def episodes(
    anomalies: pl.DataFrame, until: datetime, quiet: timedelta = QUIET, worst_first: bool = False
) -> pl.DataFrame:
    """One row per run of anomalies of a (source, symbol, kind) without a pause over `quiet`.

    anomalies: id, source, symbol, interval, ts (open of the bar), kind, value, baseline, ratio, zscore,
    severity, reason. `quiet` is at least twice the bar's own length.
    Gives source, symbol, kind, severity (the gravest), interval, since (the first bar's open), last (the last
    bar's open), ends (the latest end, each bar by its own width), bars (those of `interval`), others (the other
    widths that saw it, narrowest first), worst_id, worst_ts, value, baseline, ratio, zscore, reason (all of the
    worst bar) and state: `open` if the last is at most `quiet` before `until`, else `over`. Gravest first, then
    the newest, or the worst.
    """
    if anomalies.is_empty():
        return anomalies.select("source", "symbol", "kind").head(0)
    key = ["source", "symbol", "kind"]
    length = pl.max_horizontal(pl.lit(quiet), 2 * _length())
    numbered = (
        anomalies.with_columns(quiet=length, rank=pl.col("severity").replace_strict(_RANK, default=9))
        .sort("ts", "interval")
        .with_columns(badness=badness())
        .with_columns(new=(pl.col("ts").diff() > pl.col("quiet")).fill_null(True).cum_sum().over(key))
    )
    gravest = numbered.sort("rank", "badness", "ts", descending=[False, True, False])
    is_shown = pl.col("interval").eq_missing(pl.col("interval").first())
    shown = ["severity", "interval", "value", "baseline", "ratio", "zscore", "reason"]
    return (
        gravest.group_by([*key, "new"], maintain_order=True)
        .agg(
            *[pl.col(name).first() for name in shown],
            pl.col("rank", "badness").first(),
            worst_id=pl.col("id").first(),
            worst_ts=pl.col("ts").first(),
            since=pl.col("ts").min(),
            last=pl.col("ts").max(),
            ends=(pl.col("ts") + _length()).max(),
            bars=pl.col("ts").filter(is_shown).n_unique(),
            others=pl.col("interval")
            .filter(~is_shown)
            .sort_by(_length().filter(~is_shown))
            .unique(maintain_order=True),
            quiet=pl.col("quiet").max(),
        )
        .with_columns(
            state=pl.when(pl.lit(naive(until)) - pl.col("last") <= pl.col("quiet"))
            .then(pl.lit("open"))
            .otherwise(pl.lit("over"))
        )
        .sort("rank", "badness" if worst_first else "last", descending=[False, True])
        .drop("rank", "badness", "new", "quiet")
    )


def begun(started_at: datetime, interval: str | None) -> datetime:
    """Since when an alert's subject is abnormal: the open of the bar at whose close it started, as an episode's `since`.

    A feed's alert (no interval) began when it started.
    """
    return started_at - Interval.parse(interval).delta if interval else started_at


def _length() -> pl.Expr:
    """The interval `5m` as a duration; an anomaly without one (a feed's) has none."""
    unit = (
        pl.col("interval").str.slice(-1).replace_strict({"s": 1, "m": 60, "h": 3600, "d": 86400}, default=0)
    )
    return pl.duration(seconds=(pl.col("interval").str.extract(r"^(\d+)").cast(pl.Int64) * unit).fill_null(0))
