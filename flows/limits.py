"""The alert budget: each night's limits from history, as a file beside the warehouse that the minute reads."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from pipelines.analytics.budget import LIMITS, limits
from pipelines.derived import JUDGED
from pipelines.settings import Settings
from warehouse.buckets import counted_from, with_closing
from warehouse.stage import frame, literal, literals

LOOK_BACK = timedelta(days=90)
"""Some sixty sessions: twenty exceedances of the 95 % quantile in each half hour of a five-minute series."""
_HISTORY = """
SELECT source, symbol, interval, anchor::DATE AS session, (epoch(ts - counted) // 60)::INTEGER AS bucket,
       dev_20_pct, volume_ratio
FROM (
    SELECT i.*, CASE WHEN i.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', i.ts) END AS anchor,
           {counted} AS counted
    FROM (
        SELECT source, symbol, interval, ts, dev_20_pct, volume_ratio, calendar
        FROM calc.indicators JOIN core.series USING (source, symbol)
        WHERE ts >= {since} AND ts < {until} AND interval IN {intervals}
    ) AS i
    ASOF LEFT JOIN {sessions} AS s ON i.calendar = s.calendar AND i.ts >= s.open_ts
)
"""


def limits_path(settings: Settings) -> Path:
    """Can be deleted: without it the fixed limits hold until the next night."""
    return settings.data_dir / "limits.parquet"


def known_limits(settings: Settings) -> pl.DataFrame:
    """The limits in force (`budget.LIMITS`); empty without a budget, before the first night, or of another budget."""
    nothing = pl.DataFrame(schema=LIMITS)
    if not settings.anomalies.budget_per_day:
        return nothing
    try:
        known = pl.read_parquet(limits_path(settings))
    except (OSError, pl.exceptions.PolarsError):
        return nothing
    is_ours = dict(known.schema) == LIMITS and (known["per_day"] == settings.anomalies.budget_per_day).all()
    return known if is_ours else nothing


def renew_limits(con: duckdb.DuckDBPyConnection, settings: Settings, clock: datetime) -> int:
    """Computes the limits from the bars before `clock` (naive UTC) and keeps them; returns how many."""
    per_day = settings.anomalies.budget_per_day
    if not per_day:
        return 0
    intervals = sorted({*JUDGED["price_spike"], *JUDGED["volume"]})
    history = frame(
        con,
        _HISTORY.format(
            since=literal(clock - LOOK_BACK),
            until=literal(clock),
            intervals=literals(intervals),
            sessions=with_closing("calc.sessions"),
            counted=counted_from("i.ts"),
        ),
    )
    found = limits(history, per_day)
    path = limits_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    found.write_parquet(draft)
    os.replace(draft, path)
    return found.height
