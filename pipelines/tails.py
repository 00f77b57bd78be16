"""Each series' new bars behind the old ones that its indicators need, and the stored state before them.

Most minutes need the last bars of every series and nothing else. A series with holes in them is looked for further
back; one without a usable state, or with much that is new, is read from its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.analytics.params import IndicatorParams, carried
from pipelines.calendars import reach
from pipelines.kept_tails import Kept
from pipelines.market import CONTINUOUS, Interval
from warehouse import tails

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
    kept: Kept | None = None,
) -> Tail:
    """The tail of every series in `fronts` (source, symbol, first_new, rows: how many are new), staged before and after.

    kept: the tails of the run before; a series that only grew since needs no more.
    """
    front = fronts["first_new"].min()
    assert isinstance(front, datetime)
    span = max(
        reach(calendars.get(s, CONTINUOUS), interval, params.lookback) for s in fronts["source"].unique()
    )
    missing, parts = fronts, [Tail(pl.DataFrame(), _no_state(params))]
    if kept:
        parts.append(_grown(con, interval, fronts, kept))
        missing = missing.join(parts[-1].state, on=_SERIES, how="anti")
    for distance in (span, 3 * span + FURTHER):
        few = missing.filter(pl.col("rows") <= MANY)
        if few.height:
            if few.height < fronts.height:
                tails.stage_fronts(con, few)
            parts.append(_near(con, interval, few, front, max(front - distance, BEGINNING), params))
            missing = missing.join(parts[-1].state, on=_SERIES, how="anti")
    if missing.height:
        tails.stage_fronts(con, missing)
        parts.append(Tail(tails.tail(con, str(interval), BEGINNING, front, None), _no_state(params)))
    if len(parts) > 2 or missing.height:
        tails.stage_fronts(con, fronts)
    return Tail(
        pl.concat([part.bars for part in parts if part.bars.height]),
        pl.concat([part.state for part in parts]),
    )


def keep(tail: Tail, computed: pl.DataFrame, kept: Kept | None, params: IndicatorParams) -> Kept:
    """What the next run will look back on: the newest bars and indicator rows, of other series what was kept."""
    ends = _ends(tail.bars)
    bars = tail.bars.filter(pl.Series(ends <= params.lookback)).drop("is_new")
    newest = computed.unique(subset=_SERIES, keep="last", maintain_order=True)
    state = newest.select(*_SERIES, "ts", pl.col(carried(params)).cast(pl.Float64))
    others = kept.state.join(state, on=_SERIES, how="anti") if kept else state.clear()
    if not kept or others.is_empty():
        return Kept(bars, state)
    rest = kept.bars.join(others, on=_SERIES, how="semi")
    return Kept(pl.concat([bars, rest]).sort(*_SERIES, "ts"), pl.concat([state, others]))


def _grown(con: duckdb.DuckDBPyConnection, interval: Interval, fronts: pl.DataFrame, kept: Kept) -> Tail:
    """The tails of series whose new bars all follow the kept ones."""
    ready = fronts.join(kept.state.rename({"ts": "newest"}), on=_SERIES).filter(
        pl.col("first_new") > pl.col("newest")
    )
    series = ready.select(_SERIES).sort(_SERIES).with_row_index("number")
    old = kept.bars.with_columns(is_new=pl.lit(False))
    bars = pl.concat([old, tails.arrivals(con, str(interval)).select(old.columns)]).join(series, on=_SERIES)
    # Two sorted runs: sorting one integer a row takes a tenth of sorting names and times.
    key = (bars["number"].cast(pl.Int64).to_numpy() << 44) + bars["ts"].to_physical().to_numpy() // 1_000_000
    bars = bars[np.argsort(key, kind="stable")].drop("number")
    state = ready.drop("first_new", "rows", "newest")
    return Tail(tails.with_returns(bars) if interval.seconds == 60 else bars.select(tails.COLUMNS), state)


def _ends(bars: pl.DataFrame) -> npt.NDArray[np.int64]:
    """How many rows from its series' last one each row of sorted bars lies, the last one being 1."""
    changes = bars.select(pl.any_horizontal(pl.col(_SERIES).ne_missing(pl.col(_SERIES).shift()))).to_series()
    number = np.cumsum(changes.fill_null(True).to_numpy()) - 1
    last = np.append(np.flatnonzero(np.diff(number)), bars.height - 1)
    return np.asarray(last[number] - np.arange(bars.height) + 1, dtype=np.int64)


def _near(
    con: duckdb.DuckDBPyConnection,
    interval: Interval,
    few: pl.DataFrame,
    front: datetime,
    since: datetime,
    params: IndicatorParams,
) -> Tail:
    """The bars since a time, of the series that have enough of them and a stored row right before the new ones."""
    lookback = params.lookback
    is_dense = front - since <= interval.delta * (lookback + 1)
    bars = tails.tail(con, str(interval), since, front, None if is_dense else lookback)
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
