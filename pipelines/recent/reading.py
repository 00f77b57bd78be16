"""The past read from the lake: of every series of some sources the newest bars, and what judges the coming ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl

from pipelines.analytics.params import IndicatorParams, carried
from pipelines.baselines import TABLE
from pipelines.calendars import by_source, reach
from pipelines.market import CONTINUOUS, MINUTE, Interval
from pipelines.recent.matrices import TS, Floats, Matrices, spliced
from pipelines.recent.past import Past
from pipelines.recent.places import Places, moment, seconds
from warehouse import build, recent
from warehouse.changes import newest_mark

WATCHED = (
    "bars", "series", "ledger", "derived", "progress", "sessions", "windows", "indicators", "volume_baseline",
)  # fmt: skip
"""Tables that the past is read from: it holds as long as these do."""
MINUTES = 250
"""Minutes of a series at hand: a window of four hours is made of them."""
ROWS_OF_STATE = 8
"""Newest bars of which the indicators' state is at hand: so far back a correction may reach."""
FURTHER = timedelta(days=3)
BEFORE, AHEAD = timedelta(minutes=10), timedelta(minutes=65)
"""Which baselines are at hand, from the source's clock."""
OF_MINUTES = (
    TS,
    "open",
    "high",
    "low",
    "close",
    "volume",
    "turnover",
    "trades",
    "revision",
    "imported",
    "ret_log",
)
OF_WINDOWS = (TS, "high", "low", "close", "volume", "ret_log")
JUDGED_BY_PAST = ("rsi_14", "volatility_20")


class Wanted(NamedTuple):
    """What is kept of the past: its sources, widths, indicators' periods; `with_past` needs earlier indicators."""

    sources: tuple[str, ...]
    intervals: tuple[Interval, ...]
    params: IndicatorParams
    with_past: frozenset[str]

    @property
    def digest(self) -> str:
        return repr((self.sources, [str(i) for i in self.intervals], self.params.digest))


def read(con: duckdb.DuckDBPyConnection, wanted: Wanted) -> Past | None:
    """The past as this transaction sees it; None while batches wait to be derived, or where a source has no clock yet."""
    progress = build.progress(con)
    if not set(wanted.sources) <= progress.keys() or recent.has_pending(con):
        return None
    series = recent.series(con, wanted.sources)
    calendars = by_source(series.select("source", "symbol", "calendar").iter_rows())
    bars, state = {}, {}
    for interval in (Interval(60), *wanted.intervals):
        name = str(interval)
        width = max(wanted.params.lookback, MINUTES) if name == "1m" else wanted.params.lookback
        span = max((reach(c, interval, width) for c in calendars.values()), default=timedelta())
        since = min(progress[source] for source in wanted.sources) - span
        held = _newest_bars(con, series, name, width, (since, since - 2 * span - FURTHER))
        state[name], judging = _state(con, series, name, held, wanted)
        bars[name] = Matrices((*held.names, *judging.names), np.concatenate([held.data, judging.data]))
    past = Past(
        mark=newest_mark(con, WATCHED),
        digest=wanted.digest,
        series=series,
        sessions=recent.sessions(con, set(calendars.values()) - {CONTINUOUS}),
        progress=progress,
        newest=recent.newest_batches(con, wanted.sources),
        bars=bars,
        state=state,
        baseline=pl.DataFrame(),
        reach=pl.DataFrame(),
    )
    return with_baselines(con, past, wanted)


def is_near_its_end(past: Past) -> bool:
    """Whether some baseline of the coming minutes is not at hand."""
    clocks = past.reach.select("source", "until").unique().iter_rows()
    return any(past.progress[source] + 5 * MINUTE >= until for source, until in clocks)


def with_baselines(con: duckdb.DuckDBPyConnection, past: Past, wanted: Wanted) -> Past:
    """The past with the baselines of the coming hour, read from the lake in the state that it is of.

    A session for which no baseline is stored, though a bar of it has been judged, has none.
    """
    known = recent.baseline_sessions(con, wanted.sources)
    rows = []
    for source in wanted.sources:
        number = past.series.with_row_index("n").filter(pl.col("source") == source)["n"].to_numpy()
        for name, bars in past.bars.items():
            newest = bars[TS][number, -1] if len(number) else np.empty(0)
            if not len(newest) or np.isnan(newest).all():
                continue
            places = Places(past.series, past.sessions)
            last = int(number[np.nanargmax(newest)])
            anchor, _ = places.of(np.array([last]), np.array([np.nanmax(newest)]))
            judged = moment(anchor[0]).date()
            session = max(known.get((name, source), judged), judged)
            clock = seconds(pl.Series([past.progress[source]]))
            now, _ = places.of(np.array([last]), clock)
            bucket = int((clock[0] - now[0]) // 60)
            width = Interval.parse(name).minutes
            first, until = bucket - width - BEFORE // MINUTE, bucket + AHEAD // MINUTE
            rows.append((name, source, session, first, until, past.progress[source] + AHEAD))
    found = pl.DataFrame(
        rows,
        schema={
            "interval": pl.String, "source": pl.String, "session": pl.Date, "first": pl.Int32, "last": pl.Int32,
            "until": pl.Datetime("us"),
        },
        orient="row",
    )  # fmt: skip
    return replace(past, reach=found, baseline=recent.baselines(con, found, TABLE))


def _newest_bars(
    con: duckdb.DuckDBPyConnection, series: pl.DataFrame, interval: str, width: int, since: Sequence[datetime]
) -> Matrices:
    """The newest bars; a series that has fewer since then is looked for further back, at last from its beginning."""
    names = OF_MINUTES if interval == "1m" else OF_WINDOWS
    missing, parts = series.select("source", "symbol"), []
    for start in (*since, datetime(1970, 1, 1)):
        rows = recent.newest_bars(con, interval, missing, start, width)
        enough = rows.group_by("source", "symbol").len().filter(pl.col("len") >= width)
        if start.year > 1970:
            rows = rows.join(enough, on=["source", "symbol"], how="semi")
        parts.append(rows)
        missing = missing.join(enough, on=["source", "symbol"], how="anti")
        if missing.is_empty():
            break
    return _matrices(pl.concat(parts), series, names, width)


def _state(
    con: duckdb.DuckDBPyConnection, series: pl.DataFrame, interval: str, bars: Matrices, wanted: Wanted
) -> tuple[Matrices, Matrices]:
    """The carried columns of the newest bars, and for some intervals the indicators that later bars are held against."""
    with_past = interval in wanted.with_past
    width = bars.width if with_past else ROWS_OF_STATE
    held = bars[TS][:, -width:]
    since = np.nanmin(held) if not np.isnan(held).all() else 0.0
    names = carried(wanted.params)
    listed = [*names, *(JUDGED_BY_PAST if with_past else ())]
    rows = recent.newest_indicators(con, interval, wanted.sources, moment(since), width, listed)
    found = _matrices(rows, series, (TS, *listed), width)
    same = found[TS] == held
    data = np.where(same, found.data, np.nan)
    state = Matrices((TS, *names), np.ascontiguousarray(data[: len(names) + 1, :, -ROWS_OF_STATE:]))
    return state, Matrices(JUDGED_BY_PAST, data[len(names) + 1 :]) if with_past else Matrices(
        (), bars.data[:0]
    )


def _matrices(rows: pl.DataFrame, series: pl.DataFrame, names: Sequence[str], width: int) -> Matrices:
    """rows: source, symbol and the names, `ts` among them as a timestamp."""
    numbered = series.select("source", "symbol").with_row_index("number")
    ordered = rows.join(numbered, on=["source", "symbol"]).sort("number", TS)
    counts = np.bincount(ordered["number"].to_numpy(), minlength=series.height)
    values = np.stack([_floats(ordered[name]) for name in names])
    empty = np.full((len(names), series.height, width), np.nan)
    data = spliced(empty, np.zeros(series.height, dtype=np.int64), counts.astype(np.int64), values)
    return Matrices(tuple(names), np.ascontiguousarray(data[:, :, -width:]))


def _floats(column: pl.Series) -> Floats:
    if column.dtype == pl.Datetime:
        return seconds(column)
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
