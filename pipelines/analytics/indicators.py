"""Technical indicators as TA-Lib defines them, for whole histories and for the newest bars alone.

`full` computes every bar of every series. `advance` computes only the new bars, from the stored row before
them and the last `params.lookback` bars; both give the same numbers (to 1e-9), because windows go through
the same functions and the recursive averages (EMA, Wilder) carry their state on.

Two deliberate differences from TA-Lib: RSI is null, not 0, where the price has not moved at all (nobody has
oversold a flat line), and there the bands have exactly no width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from pipelines.analytics.baseline import judge
from pipelines.analytics.history import Bars, Before, rows, starts
from pipelines.analytics.onward import Block, newest_rows
from pipelines.analytics.params import (
    SPAN,
    VOLUME_COLUMNS,
    IndicatorParams,
    carried,
    columns,
    hidden_columns,
)
from pipelines.analytics.windows import Floats, Integers

__all__ = ["LOOKBACK", "SPAN", "IndicatorParams", "advance", "carried", "columns", "full", "hidden_columns"]

LOOKBACK = IndicatorParams().lookback
"""Earlier bars that the tail of `advance` needs with the usual periods; `params.lookback` with any."""

BarsPerYear = float | Mapping[str, float]
"""Bars in a year, for the annualised volatility: one number, or one per source and `source:SYMBOL`."""

_KEYS = ("source", "symbol", "ts")
_CATCH_UP = 16
"""New bars of one series above which going through the series beats stepping through the matrix."""


def full(bars: pl.DataFrame, params: IndicatorParams, bars_per_year: BarsPerYear) -> pl.DataFrame:
    """Indicators of every bar: source, symbol, ts, the public columns, the hidden ones; one row a bar.

    bars: one interval, many series; source, symbol, ts, high, low, close, volume and ret_log (null at a
    session's first bar); no price is null. With the baseline's columns (`baseline.COLUMNS`) volume_ratio and
    volume_robust_z are filled. Rows come back sorted by source, symbol, ts; a value is null until there are
    enough bars for it.
    """
    bars = _sorted(bars)
    edges = [*starts(bars), bars.height]
    return _frame(bars, [rows(Bars.of(bars), edges, params)] if bars.height else [], params, bars_per_year)


def advance(
    tail: pl.DataFrame, state: pl.DataFrame, params: IndicatorParams, bars_per_year: BarsPerYear
) -> pl.DataFrame:
    """Indicators of the new bars only: the rows that `full` would give them, in the same shape.

    tail:  as for `full`, plus is_new: of each series the last `params.lookback` bars before its first new
           one (all, if there are fewer) and then its new bars
    state: the stored row just before each series' first new bar (at least `carried(params)`); a series
           without one begins with its tail

    A late or revised bar makes every bar from it on new. Raises ValueError where the state lacks a
    configured period.
    """
    tail = _sorted(tail)
    arrays, first = Bars.of(tail), np.asarray(starts(tail), dtype=np.int64)
    is_new = tail["is_new"].to_numpy()
    new = np.add.reduceat(is_new.astype(np.int64), first) if len(first) else first
    old = np.diff(np.append(first, tail.height)) - new
    stored = _stored(tail, first, state, params)
    young = ~(stored["bars_seen"] >= params.warm_up)
    together = ~young & (new > 0) & (new <= _CATCH_UP)
    order: list[Integers] = []
    pieces: list[dict[str, Floats]] = []
    if together.any():
        before = {name: values[together] for name, values in stored.items()}
        pieces.append(
            newest_rows(arrays, Block(first[together], old[together], new[together], before), params)
        )
        order.append(np.flatnonzero(is_new & np.repeat(together, old + new)))
    for chosen, is_young in ((young & (new > 0), True), (~young & ~together & (new > 0), False)):
        if chosen.any():
            counts = (old + new)[chosen]
            onward = None if is_young else Before({n: v[chosen] for n, v in stored.items()}, new[chosen])
            whole = arrays.take(np.repeat(chosen, old + new))
            found = rows(whole, [0, *np.cumsum(counts).tolist()], params, onward)
            wanted = is_new[np.repeat(chosen, old + new)]
            pieces.append({name: values[wanted] for name, values in found.items()})
            order.append(np.flatnonzero(is_new & np.repeat(chosen, old + new)))
    return _frame(tail[np.concatenate(order)] if order else tail.clear(), pieces, params, bars_per_year).sort(
        _KEYS
    )


def _stored(
    tail: pl.DataFrame, starts: Integers, state: pl.DataFrame, params: IndicatorParams
) -> dict[str, Floats]:
    """Each column of the stored rows as one value a series of the tail, NaN where there is none."""
    names = carried(params)
    if missing := [name for name in names if name not in state.columns]:
        raise ValueError(
            f"indicator state: no columns {missing}; the periods have changed, recompute with full()"
        )
    known = (
        tail[starts]
        .select("source", "symbol")
        .join(
            state.select("source", "symbol", pl.col(names).cast(pl.Float64)),
            on=["source", "symbol"],
            how="left",
            maintain_order="left",
        )
    )
    stored = {name: known[name].fill_null(np.nan).to_numpy() for name in names}
    grown = stored["bars_seen"] >= params.warm_up
    if empty := [name for name in names if np.isnan(stored[name][grown]).any()]:
        raise ValueError(
            f"indicator state: {empty} are null in old series; the periods have changed, use full()"
        )
    return stored


def _sorted(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.sort(_KEYS)


def of_series(values: Mapping[str, float]) -> pl.Expr:
    """Each row's value: that of its `source:SYMBOL` where it has one of its own, else that of its `source`."""
    usual = {
        name: value
        for name, value in values.items()
        if name.partition(":")[0] not in values or ":" not in name
    }
    own = {name: value for name, value in values.items() if name not in usual}
    by_source = pl.col("source").replace_strict(usual, return_dtype=pl.Float64)
    if not own:
        return by_source
    name = pl.concat_str("source", "symbol", separator=":")
    return name.replace_strict(own, default=None, return_dtype=pl.Float64).fill_null(by_source)


def _frame(
    bars: pl.DataFrame,
    pieces: Sequence[Mapping[str, Floats]],
    params: IndicatorParams,
    bars_per_year: BarsPerYear,
) -> pl.DataFrame:
    """Keys, public and hidden columns of `bars`, whose rows the pieces hold in order; NaN becomes null."""
    public, hidden = columns(params), hidden_columns(params)
    computed = [n for n in (*public, *hidden) if n not in (*VOLUME_COLUMNS, "volatility_ann")]
    values = {n: np.concatenate([p[n] for p in pieces]) if pieces else np.empty(0) for n in computed}
    judged = judge(bars)
    year = of_series(bars_per_year) if isinstance(bars_per_year, Mapping) else pl.lit(float(bars_per_year))
    return (
        judged.select(*_KEYS, *VOLUME_COLUMNS)
        .hstack(pl.DataFrame(values).fill_nan(None))
        .with_columns(
            volatility_ann=pl.col("volatility_20") * year.sqrt(), bars_seen=pl.col("bars_seen").cast(pl.Int64)
        )
        .select(*_KEYS, *public, *hidden)
    )
