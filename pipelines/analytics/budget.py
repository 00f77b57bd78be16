"""How unusual a bar must be so that there are about so many alerts a day: limits from each series' own history.

A limit is a series' usual large value (its 95 % quantile in that half hour of the session) times one factor for all
series. The factor is chosen so that history would have given the wished number of alerts: counted as episodes, since
one event is not thirty alerts, and with quantiles of the sessions that do not hold the counted bar, since a sample
never exceeds its own quantile as often as a new one does.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipelines.analytics.windows import Floats, Integers

SLOT = 30
"""Minutes of the session that share a limit."""
EPISODE = 30
"""Minutes after an alert in which the same series gives no other of its kind."""
USUAL = 0.95
FOLDS = 5
MIN_SAMPLES = 60
"""Below it the half hour's quantile says little: that of the whole session stands in."""
LIMITS: dict[str, pl.DataType] = {
    **dict.fromkeys(("source", "symbol", "interval", "kind"), pl.String()),
    "slot": pl.Int64(),
    "limit": pl.Float64(),
    "samples": pl.Int64(),
    "sessions": pl.Int64(),
    "per_day": pl.Float64(),
}
_SERIES = ["source", "symbol", "interval"]


def scores(judged: pl.DataFrame) -> dict[str, pl.Expr]:
    """Kind -> what is measured of a bar, larger being more unusual; null where it cannot be judged.

    Of volume the logarithm of its ratio, because volumes multiply; a limit of it is a ratio again in `limits`.
    """
    return {
        "price_spike": pl.col("dev_20_pct").abs(),
        "volume": pl.when(pl.col("volume_ratio") > 1).then(pl.col("volume_ratio").log()),
    }


def limits(history: pl.DataFrame, per_day: float) -> pl.DataFrame:
    """LIMITS rows, so that all kinds and intervals together give about `per_day` alerts a day.

    history: source, symbol, interval, session (date), bucket (minutes since the open), dev_20_pct, volume_ratio of
    judged (complete) bars; some twenty sessions or more. The budget is divided evenly among kinds and intervals.
    Empty where there are fewer than five sessions.
    """
    kinds = scores(history)
    intervals = history["interval"].unique().sort().to_list()
    share = per_day / max(len(intervals) * len(kinds), 1)
    found = [pl.DataFrame(schema=LIMITS)]
    for interval in intervals:
        bars = history.filter(interval=interval)
        for kind, score in kinds.items():
            one = _limits(bars.with_columns(score=score).drop_nulls("score"), share)
            if one.height:
                limit = pl.col("limit").exp() if kind == "volume" else pl.col("limit")
                one = one.with_columns(kind=pl.lit(kind), per_day=pl.lit(float(per_day)), limit=limit)
                found.append(one.select(pl.col(name).cast(type_) for name, type_ in LIMITS.items()))
    return pl.concat(found)


def with_limits(judged: pl.DataFrame, known: pl.DataFrame, kind: str, column: str) -> pl.DataFrame:
    """The judged bars with the limit of their half hour as `column`; null where there is none.

    judged: source, symbol, interval, bucket and more; known: LIMITS rows
    """
    mine = known.filter(kind=kind).select(*_SERIES, "slot", pl.col("limit").alias(column))
    slotted = judged.with_columns(slot=(pl.col("bucket") // SLOT).cast(pl.Int64))
    return slotted.join(mine, on=[*_SERIES, "slot"], how="left", maintain_order="left").drop("slot")


def episodes(series: Integers, minute: Integers, score: Floats, limit: float) -> int:
    """How many alerts a limit gives: bars above it, none within EPISODE minutes of the alert before in their series.

    Sorted by series and minute; a minute counts from any fixed beginning.
    """
    above = np.flatnonzero(score > limit)
    count, last_series, last_minute = 0, -1, 0
    for i in above.tolist():
        if series[i] != last_series or minute[i] - last_minute >= EPISODE:
            count, last_series, last_minute = count + 1, series[i], minute[i]
    return count


def _limits(bars: pl.DataFrame, per_day: float) -> pl.DataFrame:
    """One kind and interval; bars: keys, session, bucket, score."""
    days = bars["session"].n_unique()
    if days < FOLDS:
        return pl.DataFrame()
    slotted = bars.with_columns(
        slot=pl.col("bucket") // SLOT, fold=pl.col("session").rank("dense").cast(pl.Int64) % FOLDS
    )
    # Each fold of the sessions is measured by the quantiles of the others.
    others = [
        _usual(slotted.filter(pl.col("fold") != fold)).with_columns(fold=pl.lit(fold, pl.Int64))
        for fold in range(FOLDS)
    ]
    measured = (
        slotted.join(pl.concat(others), on=[*_SERIES, "slot", "fold"])
        .filter(pl.col("usual") > 0)
        .with_columns(score=pl.col("score") / pl.col("usual"))
        .with_columns(
            series=pl.struct(_SERIES).rank("dense").cast(pl.Int64),
            minute=pl.col("session").to_physical().cast(pl.Int64) * 1440 + pl.col("bucket"),
        )
        .sort("series", "minute")
    )
    factor = _factor(measured, per_day * days)
    known = _usual(slotted).with_columns(limit=pl.col("usual") * factor)
    return known.with_columns(sessions=pl.lit(days)).filter(pl.col("limit") > 0)


def _usual(bars: pl.DataFrame) -> pl.DataFrame:
    """The 95 % quantile of each half hour; of the whole session where the half hour holds too little."""
    whole = bars.group_by(_SERIES).agg(all_day=pl.col("score").quantile(USUAL, "linear"))
    slots = bars.group_by(*_SERIES, "slot").agg(
        own=pl.col("score").quantile(USUAL, "linear"), samples=pl.len()
    )
    usual = pl.when(pl.col("samples") >= MIN_SAMPLES).then("own").otherwise("all_day")
    return slots.join(whole, on=_SERIES).with_columns(usual=usual).drop("own", "all_day")


def _factor(measured: pl.DataFrame, wanted: float) -> float:
    """The factor at which history gives `wanted` episodes, by halving between none and many."""
    score = measured["score"].to_numpy()
    series, minute = measured["series"].to_numpy(), measured["minute"].to_numpy()
    # Only the largest can be alerts: an episode holds at most some EPISODE bars.
    most = min(len(score), int(wanted * 20) + 100)
    low = float(np.partition(score, len(score) - most)[len(score) - most]) if len(score) else 0.0
    high = float(score.max(initial=0.0))
    kept = score >= low
    series, minute, score = series[kept], minute[kept], score[kept]
    for _ in range(60):
        middle = (low + high) / 2
        if episodes(series, minute, score, middle) > wanted:
            low = middle
        else:
            high = middle
    return high
