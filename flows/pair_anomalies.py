"""What is abnormal about the pairs of a run: stretched spreads of cointegrated ones, correlations that have broken."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from flows import anomalies
from flows.pair_universe import slug
from pipelines.analytics import breaks, feed
from pipelines.analytics.detectors import SCHEMA, Thresholds
from pipelines.analytics.examine import Scan
from pipelines.analytics.windows import Integers
from pipelines.market import Interval


def pair_anomalies(
    con: duckdb.DuckDBPyConnection, scan: Scan, which: Integers, stats: pl.DataFrame, limits: Thresholds
) -> pl.DataFrame:
    """Rows of `anomalies` of the pairs that `which` names, judged as of their fits in `stats`; of each episode the first."""
    found = pl.concat([pl.DataFrame(schema=SCHEMA), *_spreads(stats, limits), *_breaks(scan, which, limits)])
    return anomalies.fresh(con, found)


def _spreads(stats: pl.DataFrame, limits: Thresholds) -> list[pl.DataFrame]:
    held = stats.filter(pl.col("is_cointegrated"), pl.col("zscore").abs() > limits.spread_z)
    columns = held.select("source_y", "pair", "interval", "fitted_at", "zscore")
    return [
        feed.spread(source, pair, interval, fitted_at, zscore, limits)
        for source, pair, interval, fitted_at, zscore in columns.iter_rows()
    ]


def _breaks(scan: Scan, which: Integers, limits: Thresholds) -> list[pl.DataFrame]:
    step, interval = Interval.parse(scan.params.interval).seconds, scan.params.interval
    wanted, rows = set(which.tolist()), []
    for panel in scan.panels:
        places = np.array(
            [at for at, pair in enumerate(panel.pairs.tolist()) if pair in wanted], dtype=np.int64
        )
        if not places.size or not len(panel.ts):
            continue
        seconds = panel.ts.dt.epoch("s").to_numpy()
        found = breaks.breaks(panel.prices, seconds, step, panel.y[places], panel.x[places])
        if found is None:
            continue
        for at in found.beyond(limits).tolist():
            pair = scan.pairs[panel.pairs[places[at]]]
            source = pair[0].split(":", 1)[0]
            rows.append(breaks.anomaly(source, slug(pair), interval, panel.ts[-1], found, at, limits))
    return rows
