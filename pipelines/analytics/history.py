"""Indicators of whole histories: many series behind one another in flat arrays, computed in pieces that fit a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import polars as pl

from pipelines.analytics import moments, smoothing
from pipelines.analytics.moments import Join, Sample, Scratch
from pipelines.analytics.params import PV_WINDOW, RETURNS, SPAN, IndicatorParams
from pipelines.analytics.windows import Floats

State = Mapping[str, float]
"""The public and hidden columns of one stored row."""

_CHUNK = 1 << 14
"""Bars whose windows are computed at a time."""
_LANES = 512
"""Series whose averages are computed side by side."""
_BATCH = 1 << 18
"""Bars, in whole series, whose missing returns are left out at a time."""


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

    def slice(self, start: int, stop: int) -> Bars:
        return Bars(*(getattr(self, f.name)[start:stop] for f in fields(self)))


def series_rows(
    bars: Bars, params: IndicatorParams, state: State | None = None, new: int = 0
) -> dict[str, Floats]:
    """Indicators of one series: one value a bar, by column name.

    Without a `state` the bars are the series' whole history. With one it is the row before the last `new`
    bars: the recursive columns continue from it, and only the values of those last bars are meant to be read.
    """
    count = len(bars.close)
    if state is None:
        return rows(bars, [0, count], params)
    first = count - new
    out = _empty(count, [*_averages(params), "bars_seen"])
    before = {name: np.array([value], dtype=np.float64) for name, value in state.items()}
    matrix = (bars.close[None], bars.high[None], bars.low[None])
    smoothing.smoothed(*matrix, params, {n: out[n][None] for n in _averages(params)}, before, first)
    out["bars_seen"] = state["bars_seen"] - first + np.arange(1.0, count + 1)
    return out | windowed(bars, [0, count], params) | of_returns(bars, [0, count])


def rows(bars: Bars, edges: Sequence[int], params: IndicatorParams) -> dict[str, Floats]:
    """Indicators of every bar of every series, by column name.

    edges: the first bar of each series and the end of the last one
    """
    out = windowed(bars, edges, params) | averaged(bars, edges, params) | of_returns(bars, edges)
    lengths = np.diff(np.asarray(edges))
    out["bars_seen"] = np.arange(1.0, len(bars.close) + 1) - np.repeat(np.asarray(edges)[:-1], lengths)
    return out


def windowed(bars: Bars, edges: Sequence[int], params: IndicatorParams) -> dict[str, Floats]:
    """Columns of the last so many closes: averages, bands, and the deviation from the bars before."""
    count, bands = len(bars.close), params.bollingers
    names = [f"sma_{p}" for p in params.smas] + ["dev_20_pct", "zscore_20"]
    names += [f"bb_{part}{suffix}" for suffix in bands for part in ("mid", "upper", "lower")]
    out, scratch = _empty(count, names), Scratch()
    widths = {width for width, _ in bands.values()} | {RETURNS}
    reach = max(*params.smas, *widths, RETURNS + 1) - 1
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for start, stop, since in _chunks(count, reach):
            close = bars.close[since:stop]
            scratch.clear()
            for width, (sums,) in moments.sliding(moments.total, params.smas, close, new=scratch).items():
                piece = _ending(sums, start, stop)
                np.divide(piece, width, out=out[f"sma_{width}"][stop - len(piece) : stop])
            spreads = moments.sliding(moments.spread, widths, close, new=scratch)
            for suffix, (width, sigmas) in bands.items():
                if width in spreads:
                    _band(spreads[width], width, sigmas, suffix, out, start, stop)
            if RETURNS in spreads:
                _deviation(spreads[RETURNS], close, out, start, stop)
    blank = {f"sma_{p}": p - 1 for p in params.smas} | {"dev_20_pct": RETURNS, "zscore_20": RETURNS}
    blank |= {f"bb_{part}{s}": w - 1 for s, (w, _) in bands.items() for part in ("mid", "upper", "lower")}
    _blank(out, edges, blank)
    return out


def averaged(bars: Bars, edges: Sequence[int], params: IndicatorParams) -> dict[str, Floats]:
    """Columns of the exponential averages."""
    out = _empty(len(bars.close), _averages(params))
    for lanes in _lanes(edges):
        spans = [(edges[i], edges[i + 1]) for i in lanes]
        close, high, low = (_matrix(values, spans) for values in (bars.close, bars.high, bars.low))
        target = {name: _matrix(values, spans, fill=False) for name, values in out.items()}
        with np.errstate(invalid="ignore", over="ignore"):
            smoothing.smoothed(close, high, low, params, target)
        if not _is_block(spans):
            for name, values in out.items():
                for lane, (start, stop) in enumerate(spans):
                    values[start:stop] = target[name][lane, : stop - start]
    return out


def of_returns(bars: Bars, edges: Sequence[int]) -> dict[str, Floats]:
    """Columns of the newest 20 and 60 log returns, if these lie within SPAN bars."""
    return {
        "volatility_20": _over_valid(moments.spread, RETURNS, _deviation_of_20, edges, bars.ret_log),
        "pv_corr_60": _over_valid(
            moments.together, PV_WINDOW, pearson, edges, bars.ret_log, _change(bars, edges)
        ),
    }


def deviation_pct(close: Floats, average: Floats) -> Floats:
    """Percent of `close` above `average`; exactly 5 for 105 against 100."""
    return (close - average) * 100.0 / np.where(average != 0, average, np.nan)


def sigmas(value: Floats, mean: Floats, squares: Floats, freedom: int) -> Floats:
    """How many standard deviations (squares / freedom) the value lies above the mean; NaN where there are none."""
    return (value - mean) / np.sqrt(np.where(squares > 0, squares, np.nan) / freedom)


def pearson(moment: Sample) -> Floats:
    """Correlation of co-moments; NaN where either has no variance."""
    *_, xx, yy, xy = moment
    scale = np.sqrt(xx) * np.sqrt(yy)
    return np.asarray(np.clip(xy / np.where(scale > 0, scale, np.nan), -1.0, 1.0))


def band(mean: Floats, squares: Floats, width: int, sigmas: float) -> tuple[Floats, Floats]:
    """Upper and lower: population standard deviations around the mean."""
    reach = sigmas * np.sqrt(squares / width)
    return mean + reach, mean - reach


def _deviation_of_20(moment: Sample) -> Floats:
    return np.asarray(np.sqrt(moment[1] / (RETURNS - 1)))


def _band(
    moment: Sample, width: int, sigmas: float, suffix: str, out: Mapping[str, Floats], start: int, stop: int
) -> None:
    mean, squares = (_ending(values, start, stop) for values in moment)
    at = slice(stop - len(mean), stop)
    out[f"bb_mid{suffix}"][at] = mean
    out[f"bb_upper{suffix}"][at], out[f"bb_lower{suffix}"][at] = band(mean, squares, width, sigmas)


def _deviation(moment: Sample, close: Floats, out: Mapping[str, Floats], start: int, stop: int) -> None:
    """The window before each bar is the one that ended a bar ago."""
    mean, squares = (_ending(values[:-1], start, stop) for values in moment)
    at = slice(stop - len(mean), stop)
    value = close[len(close) - len(mean) :]
    out["dev_20_pct"][at] = deviation_pct(value, mean)
    out["zscore_20"][at] = sigmas(value, mean, squares, RETURNS - 1)


def _ending(values: Floats, start: int, stop: int) -> Floats:
    """The part of one chunk's windows that end in [start, stop)."""
    return values[max(len(values) - (stop - start), 0) :]


def _over_valid(
    join: Join, width: int, finish: Callable[[Sample], Floats], edges: Sequence[int], *series: Floats
) -> Floats:
    """`finish` of the newest `width` bars with a value in every series, if they lie within SPAN bars."""
    out = np.full(len(series[0]), np.nan)
    scratch = Scratch()
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for first, last in _batches(edges):
            start, stop = edges[first], edges[last]
            present = ~np.isnan(sum(values[start:stop] for values in series))
            valid = np.flatnonzero(present)
            if len(valid) < width:
                continue
            compact = np.empty(len(valid) - width + 1)
            kept = [values[start:stop][valid] for values in series]
            for begin, end, since in _chunks(len(valid), width - 1):
                scratch.clear()
                found = moments.sliding(join, (width,), *(values[since:end] for values in kept), new=scratch)
                if found:
                    piece = tuple(_ending(values, begin, end) for values in found[width])
                    compact[end - width + 1 - len(piece[0]) : end - width + 1] = finish(piece)
            # Where each window ends and begins, and which bars it is the newest of.
            ends, begins = valid[width - 1 :], valid[: len(compact)]
            lengths = np.diff(np.append(ends, stop - start))
            at = np.arange(ends[0], stop - start)
            own = np.repeat(
                np.asarray(edges[first:last]) - start, np.diff(np.asarray(edges[first : last + 1]))
            )
            oldest = np.repeat(begins, lengths)
            is_near = (oldest > at - SPAN) & (oldest >= own[ends[0] :])
            out[start + ends[0] : stop] = np.where(is_near, np.repeat(compact, lengths), np.nan)
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


def _chunks(count: int, reach: int) -> Iterator[tuple[int, int, int]]:
    """start, stop, and where the windows that end in [start, stop) begin."""
    for start in range(0, count, _CHUNK):
        yield start, min(start + _CHUNK, count), max(start - reach, 0)


def _batches(edges: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of whole series with about _BATCH bars."""
    first = 0
    for last in range(1, len(edges)):
        if last + 1 == len(edges) or edges[last + 1] - edges[first] > _BATCH:
            yield first, last
            first = last


def _lanes(edges: Sequence[int]) -> Iterator[list[int]]:
    """Series in groups of about one length, so that few lanes run on empty."""
    lengths = np.diff(np.asarray(edges))
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


def _finite(values: Floats) -> Floats:
    if np.isinf(values).any():
        return np.where(np.isinf(values), np.nan, values)
    return values
