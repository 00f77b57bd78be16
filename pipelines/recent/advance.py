"""One minute on from a source's past at hand: new windows, indicators and anomalies, and the past of the next minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
import polars as pl

from pipelines.analytics import detectors
from pipelines.analytics.baseline import judge
from pipelines.analytics.history import Bars, rows
from pipelines.analytics.newest import Recent, newest_row
from pipelines.analytics.onward import WORTH, Bar, Onward
from pipelines.analytics.params import RETURNS, VOLUME_COLUMNS, IndicatorParams, columns, hidden_columns
from pipelines.calendars import bars_per_year, longest_hole
from pipelines.derived import NEEDS_PAST, Plan, detect, together
from pipelines.market import Interval
from pipelines.recent.arrivals import Arrivals
from pipelines.recent.closing import check_open, closed_windows, due_windows
from pipelines.recent.matrices import TS, Booleans, Floats, Integers, Matrices, NotAtHandError, Rows
from pipelines.recent.past import Baseline, Group
from pipelines.recent.places import buckets, places, timestamps

PRICES = ("close", "volume", "ret_log", "high", "low")
STORED_WINDOW = (
    "source", "symbol", "interval", "ts", "open", "high", "low", "close", "volume", "vwap", "turnover", "trades",
    "minutes", "minutes_expected", "is_complete", "ret_log", "std_dprice", "std_logret", "lent",
)  # fmt: skip


@dataclass(frozen=True)
class Advanced:
    """What one source's minute gives: rows as in `Derived`, and the past that it leaves."""

    windows: pl.DataFrame
    rows: pl.DataFrame
    anomalies: pl.DataFrame
    past: Group


def advance(past: Group, new: Arrivals, clock: datetime | None, plan: Plan) -> Advanced:
    """Everything that follows from the new bars and the clock (market time up to which minutes are over, naive UTC).

    It is what `pipelines.derive` has from the lake. Raises NotAtHandError where the lake has to be read.
    """
    until = max(clock or past.until, past.until)
    check_open(past, new.touched, plan.intervals)
    due = due_windows(past, until, plan.intervals) if past.symbols else {}
    bars, state = dict(past.bars), dict(past.state)
    windows, judged, found = [], [], []
    for interval in (Interval(60), *due):
        name = str(interval)
        if name == "1m":
            arrived, behind = new.rows, new.behind
        else:
            arrived = closed_windows(bars["1m"], interval, due[interval])
            behind = np.zeros_like(new.behind)
        if not len(arrived.series):
            continue
        step = _step(past, interval, arrived, behind, plan)
        bars[name], state[name] = step.bars, step.state
        judged.append(step.rows)
        found.append(detect(step.rows, interval, plan))
        if name != "1m":
            windows.append(_stored_windows(step.rows, arrived))
    later = replace(past, until=until, newest=max(new.batch_id, past.newest), bars=bars, state=state)
    return Advanced(together(windows), together(judged), together(found), later)


@dataclass(frozen=True)
class _Step:
    bars: Matrices
    state: Matrices
    rows: pl.DataFrame


def _step(past: Group, interval: Interval, arrived: Rows, behind: Integers, plan: Plan) -> _Step:
    """One interval with its new rows: their indicators and judgement, and the matrices that go on from them."""
    name = str(interval)
    old, former = past.bars[name], past.state[name]
    arrived = arrived.having({"ret_log": _returns(old, behind, arrived, interval.seconds)})
    computed = _indicators(old, former, behind, arrived, plan.params)
    whole = arrived.having(computed)
    bars = old.grown(behind, whole).trimmed(len(old.old))
    state = former.grown(behind, whole).trimmed(len(former.old))
    baseline = past.baseline.get(name)
    before = _before(bars, whole) if name in NEEDS_PAST else {}
    limit = longest_hole(past.calendar, interval, RETURNS).total_seconds()
    rows = _judged(past, interval, whole, baseline, before, computed, plan)
    return _Step(bars, state, rows.with_columns(is_joined=_longest_steps(bars, whole) <= limit))


def _returns(old: Matrices, behind: Integers, arrived: Rows, width: int) -> Floats:
    """Log returns between neighbours; NaN over a hole or a night."""
    close, ts = arrived.values["close"], arrived.ts
    is_first = np.append(True, np.diff(arrived.series) != 0)
    series = arrived.series[is_first]
    near = old.tail(int(behind.max()) + 1)
    last = near[len(near) - 1 - behind[series], :, series]
    before = {"close": np.append(np.nan, close[:-1]), TS: np.append(np.nan, ts[:-1])}
    for column, values in before.items():
        values[is_first] = last[:, old.names.index(column)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(ts - before[TS] == width, np.log(close / before["close"]), np.nan)


def _indicators(
    old: Matrices, state: Matrices, behind: Integers, arrived: Rows, params: IndicatorParams
) -> dict[str, Floats]:
    """Indicators of the new bars, in the order of their rows."""
    counts = arrived.counts(old.series)
    seeds = _seeds(old, state, behind, counts > 0)
    newest = old.tail(params.lookback + int(behind.max()))
    held = Matrices.of(PRICES, newest[:, [old.names.index(name) for name in PRICES]])
    kept = (~np.isnan(held.old[:, 0])).sum(axis=0) - behind
    seen = np.nan_to_num(seeds["bars_seen"])
    is_young = ~(seen >= params.warm_up)
    if ((counts > 0) & (kept < np.where(is_young, seen, np.minimum(seen, params.lookback)))).any():
        raise NotAtHandError("a series of which more bars are needed")
    look = held.grown(behind, arrived)
    out = {name: np.full(len(arrived.series), np.nan) for name in _computed(params)}
    _continue(look, seeds, counts, (counts > 0) & ~is_young, params, out)
    young = (counts > 0) & is_young
    if young.any():
        _begin(look, kept + counts, counts, young, params, out)
    return out


def _continue(
    look: Matrices, seeds: Mapping[str, Floats], counts: Integers, which: Booleans, params: IndicatorParams,
    out: dict[str, Floats],
) -> None:  # fmt: skip
    """The new bars of series whose state is carried on, step by step, the oldest of all first."""
    most, first = int(counts[which].max(initial=0)), np.cumsum(counts) - counts
    whole = look.tail(params.lookback + most)
    if most >= WORTH and (counts[which] == most).all():
        chosen = np.flatnonzero(which)
        parts = whole[:, :, slice(None) if len(chosen) == look.series else chosen]
        state = {name: values[chosen] for name, values in seeds.items()}
        close, volume, ret_log = parts[:-most, :3].transpose(1, 0, 2)
        onward = Onward(close, volume, ret_log, state, params)
        for back in range(most, 0, -1):
            for name, values in onward.take(Bar(*parts[len(parts) - back])).items():
                out[name][first[chosen] + most - back] = values
        return
    state = dict(seeds)
    for back in range(most, 0, -1):
        chosen = np.flatnonzero(which & (counts >= back))
        every = slice(None) if len(chosen) == look.series else chosen
        end = len(whole) - back + 1
        cut = dict(zip(PRICES, whole[:end][:, :, every].transpose(1, 0, 2), strict=True))
        recent = Recent(cut["close"], cut["volume"], cut["ret_log"], cut["high"][-1], cut["low"][-1])
        found = newest_row(recent, {name: values[every] for name, values in state.items()}, params)
        for name, values in found.items():
            out[name][first[chosen] + counts[chosen] - back] = values
            if name in state:
                state[name] = state[name].copy()
                state[name][every] = values


def _begin(
    look: Matrices, bars: Integers, counts: Integers, young: Booleans, params: IndicatorParams,
    out: dict[str, Floats],
) -> None:  # fmt: skip
    """The new bars of series that are at hand from their first bar on."""
    whole = look.tail(1 << 30)
    number = np.flatnonzero(young)
    pieces = [whole[len(whole) - bars[n] :, :, n] for n in number]
    flat = dict(zip(PRICES, np.concatenate(pieces).T, strict=True))
    edges = [0, *np.cumsum(bars[number]).tolist()]
    found = rows(Bars(**flat), edges, params)
    is_new = np.concatenate([np.arange(bars[n]) >= bars[n] - counts[n] for n in number])
    is_theirs = np.repeat(young, counts)
    for name in out:
        out[name][is_theirs] = found[name][is_new]


def _seeds(old: Matrices, state: Matrices, behind: Integers, has_new: Booleans) -> dict[str, Floats]:
    """Each series' stored row before its first new bar, by column; NaN where there is none."""
    most = int(behind.max())
    near = state.tail(most + 1)
    if len(near) <= most:
        raise NotAtHandError("a correction of an older bar than indicators' states are kept of")
    series = np.arange(old.series)
    found = near[len(near) - 1 - behind, :, series].T
    last = old.tail(most + 1)[most - behind, 0, series]
    if (has_new & ~np.isnan(last) & (found[0] != last)).any():
        raise NotAtHandError("a bar without a stored row of indicators before it")
    return dict(zip(state.names, found, strict=True))


def _computed(params: IndicatorParams) -> list[str]:
    return [
        name
        for name in (*columns(params), *hidden_columns(params))
        if name not in (*VOLUME_COLUMNS, "volatility_ann")
    ]


def _before(bars: Matrices, arrived: Rows) -> dict[str, Floats]:
    """What detectors hold a bar against: the RSI before it, and the median volatility of the bars before it."""
    counts = arrived.counts(bars.series)
    first = np.cumsum(counts) - counts
    most = int(counts.max())
    tail = bars.tail(detectors.VOLATILITY_BARS + most)
    volatility, rsi = (tail[:, bars.names.index(name)] for name in ("volatility_20", "rsi_14"))
    usual, previous = np.full(len(arrived.series), np.nan), np.full(len(arrived.series), np.nan)
    for back in range(1, most + 1):
        chosen = np.flatnonzero(counts >= back)
        at, row = first[chosen] + counts[chosen] - back, len(tail) - back
        past = volatility[max(row - detectors.VOLATILITY_BARS, 0) : row, chosen]
        enough = (~np.isnan(past)).sum(axis=0) >= detectors.VOLATILITY_MIN_BARS
        usual[at[enough]] = np.nanmedian(past[:, enough], axis=0) if enough.any() else np.nan
        previous[at] = rsi[row - 1, chosen] if row else np.nan
    return {"rsi_prev": previous, "volatility_median": usual}


def _longest_steps(bars: Matrices, arrived: Rows) -> Floats:
    """Of each new bar the longest time between neighbours among it and the RETURNS bars before it, in seconds."""
    counts = arrived.counts(bars.series)
    first, most = np.cumsum(counts) - counts, int(counts.max())
    steps = np.diff(bars.column(TS, RETURNS + most), axis=0)
    longest = np.full(len(arrived.series), np.nan)
    for back in range(1, most + 1):
        chosen = np.flatnonzero(counts >= back)
        end = len(steps) - back + 1
        if end >= RETURNS:
            longest[first[chosen] + counts[chosen] - back] = steps[end - RETURNS : end, chosen].max(axis=0)
    return longest


def _judged(
    past: Group, interval: Interval, arrived: Rows, baseline: Baseline | None, before: Mapping[str, Floats],
    computed: Mapping[str, Floats], plan: Plan,
) -> pl.DataFrame:  # fmt: skip
    """The new bars with their indicators and what they are judged by, as detectors and alert rules read them."""
    anchor, _ = places(arrived.ts, past.sessions)
    values, count = arrived.values, len(arrived.series)
    one, none = np.ones(count), np.full(count, np.nan)
    whole, lent = values.get("is_complete", one) == 1, values["lent"] == 1
    bucket = buckets(arrived.ts, past.sessions)
    session = timestamps(anchor).dt.date()
    year = bars_per_year({past.source: past.calendar}, interval, plan.session_minutes)[past.source]
    frame = pl.DataFrame(
        {
            "source": pl.repeat(past.source, count, eager=True),
            "symbol": pl.Series(past.symbols, dtype=pl.String).gather(arrived.series),
            "interval": pl.repeat(str(interval), count, eager=True),
            "ts": timestamps(arrived.ts),
            **{name: values[name] for name in ("open", "high", "low", "close", "volume", "turnover")},
            "trades": pl.Series(values["trades"], nan_to_null=True).cast(pl.Int64),
            "minutes": values.get("minutes", one).astype(np.int32),
            "minutes_expected": values.get("minutes_expected", one).astype(np.int32),
            "is_complete": whole,
            "lent": lent,
            "session": session,
            "bucket": bucket.astype(np.int32),
            **_usual(baseline, arrived.series, session, bucket, whole & ~lent, plan.min_sessions),
            "ret_log": values["ret_log"],
            "is_new": np.full(count, True),
            **computed,
            "volatility_ann": values["volatility_20"] * np.sqrt(year),
            "bars_seen": computed["bars_seen"].astype(np.int64),
            "rsi_prev": before.get("rsi_prev", none),
            "volatility_median": before.get("volatility_median", none),
        },
        nan_to_null=True,
    )
    return judge(frame)


def _usual(
    baseline: Baseline | None, series: Integers, session: pl.Series, bucket: Integers, whole: Booleans,
    min_sessions: int,
) -> dict[str, object]:  # fmt: skip
    """The volumes usual for each bar, as `pipelines.baselines.with_baseline` joins them; none for a partial window and for lent minutes.

    Raises NotAtHandError for a bar of another session than the baselines at hand, or of a minute beyond them.
    """
    days: set[date] = set(session.unique().to_list())
    if baseline is None or days != {baseline.session}:
        raise NotAtHandError("a bar of another session than the baselines at hand")
    row = bucket - baseline.first
    if (row < 0).any() or (row >= len(baseline.usual.old)).any():
        raise NotAtHandError("a bar of a minute beyond the baselines at hand")
    values = baseline.usual.old[row, :, series].T
    found = dict(zip(baseline.usual.names, np.where(whole, values, np.nan), strict=True))
    enough = found["sessions"] >= min_sessions
    enough_logs = enough & (found.pop("log_sessions") >= min_sessions)
    usual = {
        name: np.where(enough_logs if name.startswith("log_") else enough, column, np.nan)
        for name, column in found.items()
    }
    counts = {name: pl.Series(usual[name], nan_to_null=True).cast(pl.Int32) for name in ("sessions", "bars")}
    return {**usual, **counts}


def _stored_windows(judged: pl.DataFrame, arrived: Rows) -> pl.DataFrame:
    """The columns of calc.windows."""
    more = {name: arrived.values[name] for name in ("vwap", "std_dprice", "std_logret")}
    return judged.hstack(pl.DataFrame(more, nan_to_null=True)).select(STORED_WINDOW)
