"""The look-ahead certificate: a stored value must follow from what was known at its bar, and from nothing later.

Each sampled value is computed again from the bars up to its own and held against what is stored. A value that
used a later bar, a baseline that holds the bar it judges, a spread whose line was fitted on bars to come: all of
them come out different. A clean warehouse differs by exactly nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from pipelines.analytics import indicators, usual
from pipelines.analytics.indicators import BarsPerYear
from pipelines.analytics.params import VOLUME_COLUMNS, IndicatorParams, columns
from pipelines.analytics.windows import Floats

TOLERANCE = 1e-9
"""Relative difference that is rounding, not foresight: of averages whose oldest bars are not there any more."""
FINDING: dict[str, pl.DataType] = {
    "metric": pl.String(),
    "series": pl.String(),
    "interval": pl.String(),
    "ts": pl.Datetime("us"),
    "stored": pl.Float64(),
    "recomputed": pl.Float64(),
}
Path = Callable[[Floats, Floats], Mapping[str, Floats]]
"""Prices of both legs, oldest first -> values bar by bar, by metric."""


def reach(params: IndicatorParams) -> int:
    """Bars after which nothing is left of an average's beginning: (1 - 1/n) ** 60 n is 1e-26."""
    return max(
        params.lookback,
        60 * max(*params.emas, *params.rsis, *params.atrs, *(m[1] for m in params.macds.values())),
    )


def of_indicators(
    history: pl.DataFrame, stored: pl.DataFrame, params: IndicatorParams, bars_per_year: BarsPerYear
) -> pl.DataFrame:
    """FINDING rows of every indicator column of the sampled rows.

    history: source, symbol, ts, high, low, close, volume, ret_log; one interval, from `reach` bars before the oldest
    sample on. stored: sampled rows of `indicators`, interval among their columns. The volume's columns are
    `of_volumes`'s.
    """
    names = [name for name in columns(params) if name not in VOLUME_COLUMNS]
    pieces: list[pl.DataFrame] = []
    for row in stored.iter_rows(named=True):
        known = history.filter(
            pl.col("source") == row["source"], pl.col("symbol") == row["symbol"], pl.col("ts") <= row["ts"]
        )
        pieces.append(known.sort("ts").tail(reach(params)).with_columns(symbol=pl.lit(f"{len(pieces):06}")))
    if not pieces:
        return pl.DataFrame(schema=FINDING)
    again = indicators.full(pl.concat(pieces), params, bars_per_year)
    newest = {row["symbol"]: row for row in again.group_by("symbol").tail(1).iter_rows(named=True)}
    rows = []
    for number, row in enumerate(stored.iter_rows(named=True)):
        found = newest.get(f"{number:06}", {})
        is_there = found.get("ts") == row["ts"]
        for name in names:
            rows.append((name, *_where(row), row[name], found[name] if is_there else None))
    return pl.DataFrame(rows, schema=FINDING, orient="row")


def of_volumes(stored: pl.DataFrame, samples: Sequence[Sequence[float]], min_sessions: int) -> pl.DataFrame:
    """FINDING rows of volume_ratio and volume_robust_z.

    stored: sampled rows with their own volume. samples: of each row the volumes of the same minute of the sessions
    before its own
    """
    width = max((len(sample) for sample in samples), default=0)
    if not width:
        return pl.DataFrame(schema=FINDING)
    matrix = np.full((stored.height, width), np.nan)
    for number, sample in enumerate(samples):
        matrix[number, : len(sample)] = sample
    again = usual.judge(stored["volume"].to_numpy(), usual.usual(matrix, min_sessions))
    rows = [
        (name, *_where(row), row[name], _number(values[number]))
        for name, values in zip(VOLUME_COLUMNS, again, strict=True)
        for number, row in enumerate(stored.iter_rows(named=True))
    ]
    return pl.DataFrame(rows, schema=FINDING, orient="row")


def of_path(
    path: Path, y: Floats, x: Floats, ts: Sequence[datetime], at: Sequence[int], pair: str, interval: str
) -> pl.DataFrame:
    """FINDING rows of a pair's values at the bars `at`: by all bars, and by those up to each alone."""
    whole, rows = path(y, x), []
    for bar in at:
        known = path(y[: bar + 1], x[: bar + 1])
        for name, values in whole.items():
            rows.append((name, pair, interval, ts[bar], _number(values[bar]), _number(known[name][bar])))
    return pl.DataFrame(rows, schema=FINDING, orient="row")


def verdicts(findings: pl.DataFrame, tolerance: float = TOLERANCE) -> pl.DataFrame:
    """One row a metric: metric, checked, worst (largest relative difference), leaks (values that differ), example.

    A number where nothing can be known, or none where there is one, differs as well (worst is infinite then).
    """
    apart = (pl.col("stored") - pl.col("recomputed")).abs()
    scale = pl.max_horizontal(pl.col("stored").abs(), pl.col("recomputed").abs(), pl.lit(1e-300))
    only_one = pl.col("stored").is_null() != pl.col("recomputed").is_null()
    measured = findings.with_columns(
        difference=pl.when(only_one).then(float("inf")).otherwise((apart / scale).fill_null(0.0))
    )
    where = pl.format("{} {} {}", "series", "interval", pl.col("ts").dt.strftime("%Y-%m-%d %H:%M"))
    return (
        measured.sort("difference", descending=True)
        .group_by("metric", maintain_order=True)
        .agg(
            checked=pl.len(),
            worst=pl.col("difference").max(),
            leaks=(pl.col("difference") > tolerance).sum(),
            example=where.first(),
        )
        .sort("metric")
    )


def _where(row: Mapping[str, object]) -> tuple[object, ...]:
    return f"{row['source']}:{row['symbol']}", row["interval"], row["ts"]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
