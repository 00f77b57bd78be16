"""One minute on from the past at hand: new windows, indicators and anomalies, and the past of the next minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from pipelines.analytics import detectors
from pipelines.analytics.baseline import judge
from pipelines.analytics.history import Bars
from pipelines.analytics.history import rows as whole_rows
from pipelines.analytics.indicators import of_series
from pipelines.analytics.newest import Block, newest_rows
from pipelines.analytics.params import VOLUME_COLUMNS, IndicatorParams, columns, hidden_columns
from pipelines.baselines import judged_by
from pipelines.calendars import bars_per_year, by_source
from pipelines.derived import NEEDS_PAST, Derived, Plan, detect
from pipelines.market import Interval
from pipelines.recent.arrivals import Arrivals
from pipelines.recent.closing import check_open, closed_windows, due_windows
from pipelines.recent.matrices import TS, Booleans, Floats, Integers, Matrices, NotAtHandError, Rows
from pipelines.recent.past import Past
from pipelines.recent.places import Places, timestamps


@dataclass(frozen=True)
class Step:
    """One interval taken further: its matrices, and what the new rows are."""

    bars: Matrices
    state: Matrices
    rows: pl.DataFrame


def advance(
    past: Past, new: Arrivals, batches: Mapping[str, str], clocks: Mapping[str, datetime], plan: Plan
) -> tuple[Derived, Past]:
    """What the minute writes, and the past it leaves (its mark is set once it is committed).

    batches: source -> id of the delivery. clocks: source -> market time (naive UTC) up to which its minutes are over.
    Raises NotAtHandError where the lake has to be read; everything is as `pipelines.derive` would have it.
    """
    places = Places(past.series, past.sessions)
    reached = {source: max(until, past.progress.get(source, until)) for source, until in clocks.items()}
    check_open(past, places, new.touched, plan.intervals)
    due = due_windows(past, reached, plan.intervals)
    bars, state = dict(past.bars), dict(past.state)
    windows, judged = [], []
    for interval in (Interval(60), *due):
        name = str(interval)
        if name == "1m":
            arrived, behind = new.rows, new.behind
        else:
            arrived = closed_windows(past, bars["1m"], interval, due[interval])
            behind = np.zeros(past.series.height, dtype=np.int64)
        if not len(arrived.series):
            continue
        step = _step(past, places, interval, arrived, behind, plan)
        bars[name], state[name] = step.bars, step.state
        judged.append(step.rows)
        if name != "1m":
            windows.append(_stored_windows(step.rows, arrived))
    found = [detect(rows, Interval.parse(rows["interval"][0]), plan) for rows in judged]
    derived = Derived(
        batches=tuple(batches.values()),
        clocks=dict(clocks),
        windows=pl.concat(windows) if windows else pl.DataFrame(),
        rows=pl.concat(judged) if judged else pl.DataFrame(),
        anomalies=pl.concat(found) if found else pl.DataFrame(),
        baselines=pl.DataFrame(),
        all_new=not new.behind.any(),
    )
    later = replace(
        past,
        progress={**past.progress, **reached},
        newest={**past.newest, **batches},
        bars={name: held.trimmed(past.bars[name].width) for name, held in bars.items()},
        state=state,
    )
    return derived, later


def _step(
    past: Past, places: Places, interval: Interval, arrived: Rows, behind: Integers, plan: Plan
) -> Step:
    """The rows of one interval in place of each series' last `behind` ones, with their indicators and judgement."""
    name = str(interval)
    old, former = past.bars[name], past.state[name]
    nothing = np.full(len(arrived.series), np.nan)
    bars = old.replaced(behind, Rows(arrived.series, {n: arrived.values.get(n, nothing) for n in old.names}))
    counts = arrived.counts(past.series.height)
    at = _columns_of(arrived.series, counts, bars.width)
    bars["ret_log"][arrived.series, at] = _returns(bars, arrived.series, at, interval.seconds)
    seeds = _seeds(bars, former, behind, counts)
    computed = _indicators(bars, seeds, counts, arrived.series, plan.params)
    for column in bars.names:
        if column in computed:
            bars[column][arrived.series, at] = computed[column]
    kept = Rows(arrived.series, {TS: arrived.ts, **{n: computed[n] for n in former.names if n != TS}})
    state = former.replaced(behind, kept).trimmed(former.width)
    frame = _frame(past, places, interval, arrived, bars["ret_log"][arrived.series, at])
    _check_baselines(past, frame)
    judged = judge(judged_by(frame, past.baseline.filter(pl.col("interval") == name), plan.min_sessions))
    return Step(
        bars, state, _judged(judged, computed, _before(bars, arrived.series, at, name), interval, plan, past)
    )


def _columns_of(series: Integers, counts: Integers, width: int) -> Integers:
    """The column in which each of the new rows stands."""
    first = np.cumsum(counts) - counts
    return width - counts[series] + np.arange(len(series)) - first[series]


def _returns(bars: Matrices, series: Integers, at: Integers, width: int) -> Floats:
    """Log returns between neighbours; NaN over a hole or a night."""
    before = np.maximum(at - 1, 0)
    close, ts = bars["close"], bars[TS]
    joined = (at > 0) & (ts[series, at] - ts[series, before] == width)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(joined, np.log(close[series, at] / close[series, before]), np.nan)


def _seeds(bars: Matrices, state: Matrices, behind: Integers, counts: Integers) -> dict[str, Floats]:
    """Each series' stored row before its first new bar, by column; NaN where there is none."""
    grown = counts > 0
    if (behind[grown] >= state.width).any():
        raise NotAtHandError("a correction of an older bar than indicators' states are kept of")
    series = np.arange(len(counts))
    found = state.data[:, series, state.width - 1 - np.minimum(behind, state.width - 1)]
    last = np.where(
        counts < bars.width, bars[TS][series, bars.width - 1 - np.minimum(counts, bars.width - 1)], np.nan
    )
    if (grown & ~np.isnan(last) & (found[0] != last)).any():
        raise NotAtHandError("a bar without a stored row of indicators before it")
    return dict(zip(state.names, found, strict=True))


def _indicators(
    bars: Matrices, seeds: Mapping[str, Floats], counts: Integers, series: Integers, params: IndicatorParams
) -> dict[str, Floats]:
    """Indicators of the new bars, in the order of their rows."""
    valid = bars.ends()
    old, seen = valid - counts, np.nan_to_num(seeds["bars_seen"])
    is_young = ~(seen >= params.warm_up)
    if ((counts > 0) & (old < np.where(is_young, seen, np.minimum(seen, params.lookback)))).any():
        raise NotAtHandError("a series of which more bars are needed")
    flat = Bars(*(bars[name].ravel() for name in ("high", "low", "close", "volume", "ret_log")))
    start = np.arange(len(counts)) * bars.width + bars.width - valid
    together = (counts > 0) & ~is_young
    out: dict[str, Floats] = {}
    if together.any():
        state = {name: values[together] for name, values in seeds.items()}
        found = newest_rows(flat, Block(start[together], old[together], counts[together], state), params)
        out = {name: _put(values, together[series]) for name, values in found.items()}
    young = (counts > 0) & is_young
    if young.any():
        at_hand = (~np.isnan(bars[TS]) & young[:, None]).ravel()
        edges = [0, *np.cumsum(valid[young]).tolist()]
        is_new = np.concatenate(
            [np.arange(v) >= v - c for v, c in zip(valid[young], counts[young], strict=True)]
        )
        for name, values in whole_rows(flat.take(at_hand), edges, params).items():
            out.setdefault(name, np.full(len(series), np.nan))[young[series]] = values[is_new]
    return out


def _put(values: Floats, where: Booleans) -> Floats:
    if where.all():
        return values
    out = np.full(len(where), np.nan)
    out[where] = values
    return out


def _frame(past: Past, places: Places, interval: Interval, arrived: Rows, ret_log: Floats) -> pl.DataFrame:
    """The new bars as `warehouse.tails.new_rows` gives them, with their returns."""
    anchor, _ = places.of(arrived.series, arrived.ts)
    one = np.ones(len(arrived.series))
    values = {
        name: arrived.values[name]
        for name in ("open", "high", "low", "close", "volume", "turnover", "trades")
    }
    counted = {name: arrived.values.get(name, one) for name in ("minutes", "minutes_expected", "is_complete")}
    frame = pl.DataFrame(
        {
            "source": past.series["source"].gather(arrived.series),
            "symbol": past.series["symbol"].gather(arrived.series),
            "ts": timestamps(arrived.ts),
            **values,
            **counted,
            "anchor": timestamps(anchor),
            "bucket": (arrived.ts - anchor) // 60,
            "ret_log": ret_log,
        }
    )
    return frame.with_columns(
        pl.col("turnover", "ret_log").fill_nan(None),
        pl.col("trades").fill_nan(None).cast(pl.Int64),
        pl.col("minutes", "minutes_expected", "bucket").cast(pl.Int32),
        pl.col("is_complete") == 1,
        interval=pl.lit(str(interval)),
        session=pl.col("anchor").dt.date(),
        is_new=pl.lit(True),
    ).drop("anchor")


def _check_baselines(past: Past, new: pl.DataFrame) -> None:
    """Raises NotAtHandError where a bar is of another session than the baselines at hand, or of a minute beyond them."""
    spans = new.group_by("source", "interval").agg(
        pl.col("session").min().alias("oldest"), pl.col("session").max().alias("newest"),
        pl.col("bucket").min().alias("low"), pl.col("bucket").max().alias("high"),
    )  # fmt: skip
    held = spans.join(past.reach, on=["source", "interval"]).filter(
        pl.col("oldest") == pl.col("session"), pl.col("newest") == pl.col("session"),
        pl.col("low") >= pl.col("first"), pl.col("high") <= pl.col("last"),
    )  # fmt: skip
    if held.height < spans.height:
        raise NotAtHandError("a bar whose baseline is not at hand")


def _before(bars: Matrices, series: Integers, at: Integers, interval: str) -> dict[str, Floats]:
    """What detectors hold a bar against: the RSI before it, and the median volatility of the bars before it."""
    if interval not in NEEDS_PAST or "rsi_14" not in bars.names:
        return {}
    usual = np.full(len(series), np.nan)
    for column in np.unique(at):
        here = at == column
        past = bars["volatility_20"][series[here], max(column - detectors.VOLATILITY_BARS, 0) : column]
        enough = (~np.isnan(past)).sum(axis=1) >= detectors.VOLATILITY_MIN_BARS
        with np.errstate(invalid="ignore"):
            medians = np.full(len(past), np.nan)
            medians[enough] = np.nanmedian(past[enough], axis=1)
        usual[here] = medians
    return {"rsi_prev": bars["rsi_14"][series, np.maximum(at - 1, 0)], "volatility_median": usual}


def _judged(
    new: pl.DataFrame, computed: Mapping[str, Floats], before: Mapping[str, Floats], interval: Interval,
    plan: Plan, past: Past,
) -> pl.DataFrame:  # fmt: skip
    """The new bars with all their indicators, as the detectors and the alert rules read them."""
    names = [n for n in (*columns(plan.params), *hidden_columns(plan.params)) if n in computed]
    calendars = by_source(past.series.select("source", "symbol", "calendar").iter_rows())
    year = bars_per_year(calendars, interval, plan.session_minutes)
    extra = {"rsi_prev": None, "volatility_median": None, **before}
    found = pl.DataFrame({name: computed[name] for name in names}).fill_nan(None)
    held = pl.DataFrame(
        {n: pl.Series(v, dtype=pl.Float64) if v is not None else pl.repeat(None, new.height, dtype=pl.Float64, eager=True)
         for n, v in extra.items()}
    ).fill_nan(None)  # fmt: skip
    whole = new.hstack(found).hstack(held)
    return whole.with_columns(
        volatility_ann=pl.col("volatility_20") * of_series(year).sqrt(),
        bars_seen=pl.col("bars_seen").cast(pl.Int64),
    ).select(
        *(n for n in new.columns if n not in VOLUME_COLUMNS),
        *columns(plan.params), *hidden_columns(plan.params), "rsi_prev", "volatility_median",
    )  # fmt: skip


def _stored_windows(rows: pl.DataFrame, arrived: Rows) -> pl.DataFrame:
    """The columns of calc.windows."""
    more = {name: arrived.values[name] for name in ("vwap", "std_dprice", "std_logret")}
    whole = rows.hstack(pl.DataFrame(more).fill_nan(None))
    return whole.select(
        "source", "symbol", "interval", "ts", "open", "high", "low", "close", "volume", "vwap", "turnover", "trades",
        "minutes", "minutes_expected", "is_complete", "ret_log", "std_dprice", "std_logret",
    )  # fmt: skip
