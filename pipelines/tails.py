"""Each series' new bars behind the old ones that its indicators need, and the stored state before them.

Most minutes need the last bars of every series and nothing else. A series with holes in them is looked for further
back; one without a usable state, or with much that is new, is read from its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import duckdb
import polars as pl

from pipelines.analytics.params import IndicatorParams, carried
from pipelines.calendars import reach, those_of
from pipelines.market import CONTINUOUS, Interval
from warehouse import tails
from warehouse.facts import IN_LAKE, Facts

BEGINNING = datetime(1970, 1, 1)
FURTHER = timedelta(days=3)
MANY = 2_000
"""New bars of one series from which its whole history is read; below, only its tail."""
_SERIES = ["source", "symbol"]


class Tail(NamedTuple):
    """What `indicators.advance` takes: bars with is_new, and the stored row before each series' first new one."""

    bars: pl.DataFrame
    state: pl.DataFrame


def read_tail(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    fronts: pl.DataFrame,
    params: IndicatorParams,
    calendars: Mapping[str, str],
    facts: Facts = IN_LAKE,
) -> Tail:
    """The tail of every series in `fronts` (source, symbol, first_new, rows: how many are new), staged before and after."""
    front = fronts["first_new"].min()
    assert isinstance(front, datetime)
    followed = {c for s in fronts["source"].unique() for c in those_of(s, calendars) or {CONTINUOUS}}
    span = max(reach(calendar, interval, params.lookback) for calendar in followed)
    missing, parts = fronts, [Tail(pl.DataFrame(), _no_state(params))]
    for distance in (span, 3 * span + FURTHER):
        few = missing.filter(pl.col("rows") <= MANY)
        if few.height:
            if few.height < fronts.height:
                tails.stage_fronts(con, few)
            parts.append(_near(con, interval, few, front, max(front - distance, BEGINNING), params, facts))
            missing = missing.join(parts[-1].state, on=_SERIES, how="anti")
    if missing.height:
        tails.stage_fronts(con, missing)
        parts.append(Tail(tails.tail(con, str(interval), BEGINNING, front, None, facts), _no_state(params)))
    if len(parts) > 2 or missing.height:
        tails.stage_fronts(con, fronts)
    return Tail(
        pl.concat([part.bars for part in parts if part.bars.height]),
        pl.concat([part.state for part in parts]),
    )


def _near(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    few: pl.DataFrame,
    front: datetime,
    since: datetime,
    params: IndicatorParams,
    facts: Facts,
) -> Tail:
    """The bars since a time, of the series that have enough of them and a stored row right before the new ones."""
    lookback = params.lookback
    is_dense = front - since <= interval.delta * (lookback + 1)
    bars = tails.tail(con, str(interval), since, front, None if is_dense else lookback, facts)
    old = bars.filter(~pl.col("is_new")).group_by(_SERIES).agg(pl.col("ts").last(), old=pl.len())
    state = tails.stored_state(con, str(interval), old, carried(params))
    enough = pl.col("old") >= pl.min_horizontal(pl.lit(lookback), "bars_seen")
    usable = state.join(old.drop("ts"), on=_SERIES).filter(enough).drop("old")
    if usable.height < few.height:
        bars = bars.join(usable, on=_SERIES, how="semi")
    return Tail(bars, usable.select("source", "symbol", pl.col(carried(params)).cast(pl.Float64)))


def _no_state(params: IndicatorParams) -> pl.DataFrame:
    return pl.DataFrame(
        schema={"source": pl.String, "symbol": pl.String} | dict.fromkeys(carried(params), pl.Float64)
    )
