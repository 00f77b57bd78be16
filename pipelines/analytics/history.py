"""Indicators of whole histories: many series behind one another in flat arrays, computed in pieces that fit a cache."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.analytics import endings, moments, smoothing, trailing
from pipelines.analytics.moments import Sample, Scratch
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.trailing import chunks, ending
from pipelines.analytics.windows import Floats, Integers

_LANES = 512
"""Series whose averages are computed side by side."""
_BATCH = 1 << 18
"""Bars, in whole series, whose missing returns are left out at a time."""
WORTH = 4_000_000
"""Bars from which loading numba (a second) pays."""


@dataclass(frozen=True)
class Bars:
    """Bars as arrays of equal length, oldest first; `ret_log` is NaN where there is none."""

    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    ret_log: Floats

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Bars:
        """The arrays of a frame's columns, null and infinity as NaN: no number follows from either."""
        return cls(
            *(_finite(frame[f.name].cast(pl.Float64).fill_null(np.nan).to_numpy()) for f in fields(cls))
        )

    def take(self, rows: npt.ArrayLike) -> Bars:
        """The chosen rows: a slice, a mask, or numbers."""
        return Bars(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Before:
    """Where series go on from: their stored rows, one value a series, and how many of their last bars are new."""

    state: Mapping[str, Floats]
    new: Integers


def starts(bars: pl.DataFrame) -> list[int]:
    """The first row of each series (source, symbol) in sorted bars."""
    if bars.is_empty():
        return []
    changes = bars.select(pl.col("source", "symbol").ne_missing(pl.col("source", "symbol").shift()))
    return changes.select(pl.any_horizontal(pl.all()).arg_true()).to_series().to_list()


def rows(
    bars: Bars,
    edges: Sequence[int],
    params: IndicatorParams,
    before: Before | None = None,
    fast: bool | None = None,
) -> dict[str, Floats]:
    """Indicators of every bar of every series, by column name: one value a bar.

    edges: the first bar of each series and the end of the last one. before: the averages continue from there, and
    only the values of the new bars are meant to be read; None: the bars are whole histories. fast: compiled or not;
    where it is not said, by the amount of work, if numba is installed. Compiled or not, the bits are the same.
    """
    return prices(bars, edges, params, before, fast) | of_returns(bars, edges, fast)


def prices(
    bars: Bars,
    edges: Sequence[int],
    params: IndicatorParams,
    before: Before | None = None,
    fast: bool | None = None,
) -> dict[str, Floats]:
    """The columns that follow from closes, highs and lows."""
    averages = averaged(bars, edges, params, before, fast)
    return windowed(bars, edges, params, fast) | averages | {"bars_seen": _seen(edges, before)}


def windowed(
    bars: Bars, edges: Sequence[int], params: IndicatorParams, fast: bool | None = None
) -> dict[str, Floats]:
    """Columns of the last so many closes: averages, bands, and the deviation from the bars before."""
    count, bands = len(bars.close), params.bollingers
    names = [f"sma_{p}" for p in params.smas] + ["dev_20_pct", "zscore_20"]
    names += [f"bb_{part}{suffix}" for suffix in bands for part in ("mid", "upper", "lower")]
    out, scratch, engine = _empty(count, names), Scratch(), _engine(count, fast)
    joins, ends = engine or moments, engine or endings
    widths = {width for width, _ in bands.values()} | {RETURNS}
    reach = max(*params.smas, *widths, RETURNS + 1) - 1
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for start, stop, since in chunks(count, reach):
            close = bars.close[since:stop]
            scratch.clear()
            for width, (sums,) in moments.sliding(joins.total, params.smas, close, new=scratch).items():
                piece = ending(sums, start, stop)
                np.divide(piece, width, out=out[f"sma_{width}"][stop - len(piece) : stop])
            spreads = moments.sliding(joins.spread, widths, close, new=scratch)
            for suffix, (width, sigmas) in bands.items():
                if width in spreads:
                    _band(ends, spreads[width], width, sigmas, suffix, out, start, stop)
            if RETURNS in spreads:
                _deviation(ends, spreads[RETURNS], close, out, start, stop)
    blank = {f"sma_{p}": p - 1 for p in params.smas} | {"dev_20_pct": RETURNS, "zscore_20": RETURNS}
    blank |= {f"bb_{part}{s}": w - 1 for s, (w, _) in bands.items() for part in ("mid", "upper", "lower")}
    _blank(out, edges, blank)
    return out


def averaged(
    bars: Bars,
    edges: Sequence[int],
    params: IndicatorParams,
    before: Before | None = None,
    fast: bool | None = None,
) -> dict[str, Floats]:
    """Columns of the exponential averages."""
    out = _empty(len(bars.close), _averages(params))
    engine = None if before else _engine(len(bars.close), fast)
    if engine:
        engine.averaged(bars.close, bars.high, bars.low, edges, params, out)
        return out
    spans = list(pairwise(edges))
    if before:
        # What is carried on needs the last old bar's close and nothing else of the past.
        spans = [(max(b - n - 1, a), b) for (a, b), n in zip(spans, before.new.tolist(), strict=True)]
    for lanes in _lanes([b - a for a, b in spans]):
        mine = [spans[i] for i in lanes]
        close, high, low = (_matrix(values, mine) for values in (bars.close, bars.high, bars.low))
        target = {name: _matrix(values, mine, fill=False) for name, values in out.items()}
        state = {name: values[lanes] for name, values in before.state.items()} if before else None
        with np.errstate(invalid="ignore", over="ignore"):
            smoothing.smoothed(close, high, low, params, target, state, first=1 if state else 0)
        if not _is_block(mine):
            for name, values in out.items():
                for lane, (start, stop) in enumerate(mine):
                    values[start:stop] = target[name][lane, : stop - start]
    return out


def of_returns(bars: Bars, edges: Sequence[int], fast: bool | None = None) -> dict[str, Floats]:
    """Columns of the newest 20 and 60 log returns, if these lie within SPAN bars."""
    engine, change = _engine(len(bars.close), fast) or trailing, _change(bars, edges)
    return {
        "volatility_20": _newest(engine, engine.volatility, RETURNS, edges, bars.ret_log),
        "pv_corr_60": _newest(engine, engine.correlation, PV_WINDOW, edges, bars.ret_log, change),
    }


def _band(
    ends: Any, moment: Sample, width: int, sigmas: float, suffix: str, out: Mapping[str, Floats], start: int, stop: int
) -> None:  # fmt: skip
    mean, squares = (ending(values, start, stop) for values in moment)
    at = slice(stop - len(mean), stop)
    out[f"bb_mid{suffix}"][at] = mean
    upper, lower = out[f"bb_upper{suffix}"], out[f"bb_lower{suffix}"]
    upper[at], lower[at] = ends.band(mean, squares, width, sigmas)


def _deviation(
    ends: Any, moment: Sample, close: Floats, out: Mapping[str, Floats], start: int, stop: int
) -> None:
    """The window before each bar is the one that ended a bar ago."""
    mean, squares = (ending(values[:-1], start, stop) for values in moment)
    at = slice(stop - len(mean), stop)
    value = close[len(close) - len(mean) :]
    out["dev_20_pct"][at] = ends.deviation_pct(value, mean)
    out["zscore_20"][at] = ends.sigmas(value, mean, squares, RETURNS - 1)


def _newest(
    engine: Any, statistic: Callable[..., Floats], width: int, edges: Sequence[int], *series: Floats
) -> Floats:
    """The statistic of the newest `width` bars with a value in every series, if they lie within SPAN bars."""
    out = np.empty(len(series[0]))
    for first, last in _batches(edges):
        bounds = np.asarray(edges[first : last + 1], dtype=np.int64) - edges[first]
        mine = slice(edges[first], edges[last])
        pieces = [values[mine] for values in series]
        if all(engine.only_first_missing(piece, bounds) for piece in pieces):
            # Only the first bar of each series has no return.
            out[mine][width - 1 :] = statistic(width, *pieces)
            _blank({"": out[mine]}, bounds.tolist(), {"": width})
        else:
            out[mine] = _over_valid(statistic, width, bounds[:-1], pieces)
    return out


def _over_valid(
    statistic: Callable[..., Floats], width: int, starts: Integers, series: Sequence[Floats]
) -> Floats:
    """As `_newest`, of one batch of series with holes: the bars without a value are left out."""
    present = ~np.isnan(sum(series))
    out, valid = np.full(len(present), np.nan), np.flatnonzero(present)
    if len(valid) < width:
        return out
    found = statistic(width, *(values[valid] for values in series))
    # Which bars each window is the newest of, and whether it began near enough and in the same series.
    ends, begins = valid[width - 1 :], valid[: len(found)]
    lengths = np.diff(np.append(ends, len(present)))
    at = np.arange(ends[0], len(present))
    own = np.repeat(starts, np.diff(np.append(starts, len(present))))
    oldest = np.repeat(begins, lengths)
    is_near = (oldest > at - SPAN) & (oldest >= own[ends[0] :])
    out[ends[0] :] = np.where(is_near, np.repeat(found, lengths), np.nan)
    return out


def _seen(edges: Sequence[int], before: Before | None) -> Floats:
    """How many bars of its series there were up to each bar, it included."""
    spans = list(pairwise(edges))
    ramp = np.arange(1.0, max((b - a for a, b in spans), default=0) + 1)
    out = np.empty(edges[-1])
    for i, (start, stop) in enumerate(spans):
        known = before.state["bars_seen"][i] + before.new[i] - (stop - start) if before else 0.0
        np.add(ramp[: stop - start], known, out=out[start:stop])
    return out


def _change(bars: Bars, edges: Sequence[int]) -> Floats:
    """The volume against that of the bar before; NaN at a series' first."""
    out = np.full_like(bars.volume, np.nan)
    np.subtract(bars.volume[1:], bars.volume[:-1], out=out[1:])
    out[np.asarray(edges[:-1], dtype=np.int64)] = np.nan
    return out


def _empty(count: int, names: Sequence[str]) -> dict[str, Floats]:
    return {name: np.empty(count) for name in names}


def _averages(params: IndicatorParams) -> list[str]:
    """The columns that `smoothing.smoothed` fills."""
    chains = smoothing.Chains.of(params)
    names = [c.name for c in (*chains.direct, *chains.signals) if not c.name.endswith("_slow")]
    names += [f"rsi_{p}" for p in params.rsis]
    return names + [f"{part}{s}" for s in params.macds for part in ("macd", "macd_hist")]


def _blank(out: Mapping[str, Floats], edges: Sequence[int], missing: Mapping[str, int]) -> None:
    """No value for the first so many bars of each series."""
    for start, stop in pairwise(edges):
        for name, bars in missing.items():
            out[name][start : min(start + bars, stop)] = np.nan


def _batches(edges: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of whole series with about _BATCH bars."""
    first = 0
    for last in range(1, len(edges)):
        if last + 1 == len(edges) or edges[last + 1] - edges[first] > _BATCH:
            yield first, last
            first = last


def _lanes(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Series in groups of about one length, so that few lanes run on empty."""
    group: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if group and (len(group) == _LANES or lengths[i] > 1.25 * lengths[group[0]] + 64):
            yield group
            group = []
        if lengths[i]:
            group.append(i)
    if group:
        yield group


def _is_block(spans: Sequence[tuple[int, int]]) -> bool:
    """Whether the series lie behind one another and are equally long."""
    return spans[-1][1] - spans[0][0] == len(spans) * (spans[0][1] - spans[0][0]) and all(
        a[1] == b[0] and a[1] - a[0] == b[1] - b[0] for a, b in pairwise(spans)
    )


def _matrix(values: Floats, spans: Sequence[tuple[int, int]], fill: bool = True) -> Floats:
    """(series, bars): a view where they lie as a block, else a copy with NaN behind each series' last bar."""
    if _is_block(spans):
        return values[spans[0][0] : spans[-1][1]].reshape(len(spans), -1)
    longest = max(stop - start for start, stop in spans)
    out = np.full((len(spans), longest), np.nan) if fill else np.empty((len(spans), longest))
    if fill:
        for lane, (start, stop) in enumerate(spans):
            out[lane, : stop - start] = values[start:stop]
    return out


def _engine(bars: int, fast: bool | None) -> Any:
    """`history_fast`, or None where it is not wanted, not worth its loading or not to be had."""
    if fast is None:
        fast = bars >= WORTH and importlib.util.find_spec("numba") is not None
    return importlib.import_module("pipelines.analytics.history_fast") if fast else None


def _finite(values: Floats) -> Floats:
    if np.isinf(values).any():
        return np.where(np.isinf(values), np.nan, values)
    return values
