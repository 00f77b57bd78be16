"""The past read from the lake: of every series of the polled sources the newest bars, and what judges the coming ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl

from pipelines.analytics.params import IndicatorParams, carried
from pipelines.calendars import reach
from pipelines.market import CONTINUOUS, MINUTE, Interval
from pipelines.recent.matrices import TS, Floats, Matrices, spliced
from pipelines.recent.past import SESSIONS, Baseline, Group, Past
from pipelines.recent.places import buckets, moment, places, second, seconds
from warehouse import build, recent
from warehouse.changes import newest_mark

WATCHED = (
    "bars", "series", "ledger", "derived", "sessions", "windows", "indicators", "volume_baseline",
)  # fmt: skip
"""Tables that the past is read from: it holds as long as these do."""
MINUTES = 256
"""Minutes of a series at hand: a window of four hours is made of them, and some that come after it."""
ROWS_OF_STATE = 8
"""Newest bars of which the indicators' state is at hand: so far back a correction may reach."""
FURTHER = timedelta(days=3)
BEFORE, AHEAD = 10, 65
"""Minutes around the source's clock of which the baselines are at hand."""
OF_MINUTES = (
    TS, "open", "high", "low", "close", "volume", "turnover", "trades", "revision", "imported", "lent", "ret_log",
)  # fmt: skip
OF_WINDOWS = (TS, "high", "low", "close", "volume", "ret_log")
JUDGED_BY_PAST = ("rsi_14", "volatility_20")
USUAL = ("median", "sessions", "log_median", "log_mad", "log_mean_ad", "log_sessions", "bars")


class Wanted(NamedTuple):
    """What is kept of the past: its sources, widths, indicators' periods; `with_past` needs earlier indicators."""

    sources: tuple[str, ...]
    intervals: tuple[Interval, ...]
    params: IndicatorParams
    with_past: frozenset[str]

    @property
    def digest(self) -> str:
        kept = (OF_MINUTES, OF_WINDOWS, USUAL, SESSIONS)
        return repr((self.sources, [str(i) for i in self.intervals], self.params.digest, kept))


def read(con: duckdb.DuckDBPyConnection, wanted: Wanted) -> Past | None:
    """The past as this transaction sees it; None while batches wait to be derived, or where a source has no clock yet."""
    progress = build.progress(con)
    if not set(wanted.sources) <= progress.keys() or recent.has_pending(con):
        return None
    series = recent.series(con, wanted.sources)
    newest = recent.newest_batches(con, wanted.sources)
    groups = []
    for source in wanted.sources:
        own = series.filter(pl.col("source") == source)
        for calendar in own["calendar"].unique(maintain_order=True).to_list() or [CONTINUOUS]:
            listed = own.filter(pl.col("calendar") == calendar)
            bars, state = {}, {}
            for interval in (Interval(60), *wanted.intervals) if listed.height else ():
                name = str(interval)
                bars[name], state[name] = _read(con, listed, interval, calendar, progress[source], wanted)
            group = Group(
                source=source,
                calendar=calendar,
                symbols=tuple(listed["symbol"]),
                sessions=recent.sessions(con, calendar if calendar != CONTINUOUS else ""),
                until=progress[source],
                newest=newest.get(source, ""),
                bars=bars,
                state=state,
                baseline={},
                judged_until=progress[source],
            )
            groups.append(group)
    return with_baselines(con, Past(newest_mark(con, WATCHED), wanted.digest, tuple(groups)))


def is_near_its_end(past: Past) -> bool:
    """Whether some baseline of the coming minutes is not at hand."""
    return any(group.until + 5 * MINUTE >= group.judged_until for group in past.groups)


def with_baselines(con: duckdb.DuckDBPyConnection, past: Past) -> Past:
    """The past with the baselines of the coming hour, read from the lake in the state that it is of.

    A session for which no baseline is stored, though a bar of it has been judged, has none.
    """
    known = recent.baseline_sessions(con, tuple({group.source for group in past.groups}))
    found = []
    for one in past.groups:
        first, last = _coming(one)
        baseline = {}
        for name, bars in one.bars.items():
            newest = bars.column(TS, 1)
            if np.isnan(newest).all():
                continue
            (judged,), _ = places(np.array([np.nanmax(newest)]), one.sessions)
            session = max(known.get((name, one.source), moment(judged).date()), moment(judged).date())
            begin = first - Interval.parse(name).minutes
            rows = recent.baselines(con, name, one.source, session, (begin, last))
            baseline[name] = Baseline(session, begin, _usual(rows, one.symbols, begin, last))
        found.append(replace(one, baseline=baseline, judged_until=one.until + AHEAD * MINUTE))
    return replace(past, groups=tuple(found))


def _coming(group: Group) -> tuple[int, int]:
    """The first and the last bucket of bars around the group's clock; before an early close some lie far ahead."""
    now = second(group.until)
    (anchor,), (closes,) = places(np.array([now]), group.sessions)
    first = int((now - anchor) // 60)
    ahead = np.arange(now, min(now + AHEAD * 60.0, closes), 60.0)
    return first - BEFORE, max(first + AHEAD, int(buckets(ahead, group.sessions).max(initial=0)))


def _usual(rows: pl.DataFrame, symbols: Sequence[str], first: int, last: int) -> Matrices:
    """rows: symbol, bucket, USUAL"""
    data = np.full((last - first + 1, len(USUAL), len(symbols)), np.nan)
    number = {symbol: at for at, symbol in enumerate(symbols)}
    series = np.array([number.get(symbol, -1) for symbol in rows["symbol"].to_list()], dtype=np.int64)
    bucket = rows["bucket"].to_numpy() - first
    for column, name in enumerate(USUAL):
        data[bucket[series >= 0], column, series[series >= 0]] = _floats(rows[name])[series >= 0]
    return Matrices.of(USUAL, data)


def _read(
    con: duckdb.DuckDBPyConnection, series: pl.DataFrame, interval: Interval, calendar: str, until: datetime,
    wanted: Wanted,
) -> tuple[Matrices, Matrices]:  # fmt: skip
    """One interval's newest bars and the state of their indicators."""
    name = str(interval)
    width = max(wanted.params.lookback, MINUTES) if name == "1m" else wanted.params.lookback
    span = reach(calendar, interval, width)
    names = OF_MINUTES if name == "1m" else OF_WINDOWS
    bars = _matrices(_newest_bars(con, series, name, width, until - span, span), series, names, width)
    with_past = name in wanted.with_past
    rows = width if with_past else ROWS_OF_STATE
    held = bars[-rows:, 0]
    since = float(np.nanmin(held)) if not np.isnan(held).all() else 0.0
    carry = (TS, *carried(wanted.params))
    listed = (*carry, *(JUDGED_BY_PAST if with_past else ()))
    found = recent.newest_indicators(con, name, series["source"][0], moment(since), rows, listed[1:])
    state = _matrices(found, series, listed, rows)
    state = np.where((state[:, 0] == held)[:, None], state, np.nan)
    if with_past:
        names = (*names, *JUDGED_BY_PAST)
        bars = np.concatenate([bars, state[:, len(carry) :]], axis=1)
    return Matrices.of(names, bars), Matrices.of(carry, state[-ROWS_OF_STATE:, : len(carry)])


def _newest_bars(
    con: duckdb.DuckDBPyConnection,
    series: pl.DataFrame,
    interval: str,
    width: int,
    since: datetime,
    span: timedelta,
) -> pl.DataFrame:
    """The newest bars; a series that has fewer since then is looked for further back, at last from its beginning."""
    missing, parts = series.select("source", "symbol"), []
    beginning = datetime(1970, 1, 1)
    for start in (since, since - 2 * span - FURTHER, beginning):
        rows = recent.newest_bars(con, interval, missing, start, width)
        enough = rows.group_by("source", "symbol").len().filter(pl.col("len") >= width)
        parts.append(rows if start == beginning else rows.join(enough, on=["source", "symbol"], how="semi"))
        missing = missing.join(enough, on=["source", "symbol"], how="anti")
        if missing.is_empty():
            break
    return pl.concat(parts)


def _matrices(rows: pl.DataFrame, series: pl.DataFrame, names: Sequence[str], height: int) -> Floats:
    """rows: source, symbol and the names, `ts` among them as a timestamp; (height, names, series)."""
    numbered = series.select("source", "symbol").with_row_index("number")
    ordered = rows.join(numbered, on=["source", "symbol"]).sort("number", TS)
    counts = np.bincount(ordered["number"].to_numpy(), minlength=series.height).astype(np.int64)
    values = np.stack([_floats(ordered[name]) for name in names])
    empty = np.full((height, len(names), series.height), np.nan)
    return spliced(empty, np.zeros_like(counts), counts, values)[-height:]


def _floats(column: pl.Series) -> Floats:
    if column.dtype == pl.Datetime:
        return seconds(column)
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
