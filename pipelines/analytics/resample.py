"""Windows of any width from one-minute bars in arrays: one pass, a piece that fits a cache at a time.

The bars of many series lie behind one another. A window begins where the number of a bar's window within its session
is not that of the bar before. Windows of equally many bars are the rows of a table, and a sum is a few additions of its
columns; most windows have all their minutes and so are one table. What a window says never depends on its neighbours,
not even in the last bit.
`pipelines.recent.closing` has the same for the newest minutes at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.analytics.history import starts
from pipelines.analytics.windows import Floats, Integers

Booleans = npt.NDArray[np.bool_]
SECOND, DAY = 1_000_000, 86_400_000_000
JOINED = 5 * DAY
"""How far apart days may lie for a return between them: a weekend and a holiday, not a halt."""
_CHUNK = 1 << 16
"""Bars that are taken at a time: more than a day, so that they hold a window of any width."""
_NARROW = 16
"""Bars in a window up to which adding columns beats adding along rows."""


@dataclass(frozen=True)
class Minutes:
    """One-minute bars, of each series sorted by time; times in microseconds since 1970, NaN: the venue has none.

    edges: the first bar of each series and the end of the last one. anchor, closes: begin and end of each bar's session;
    None: trading never stops, and windows are counted from midnight UTC. told_since, told_until: of a bar out of a file the
    span that the file tells of in full (an absent minute had no trade there), of any other bar an empty one; lent: bars of
    another venue, that stood in; None: there are none.
    """

    edges: Integers
    ts: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    turnover: Floats
    trades: Floats
    anchor: Integers | None = None
    closes: Integers | None = None
    told_since: Integers | None = None
    told_until: Integers | None = None
    lent: Booleans | None = None

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Minutes:
        """The arrays of a frame's columns: source, symbol, ts, OHLCV, turnover, trades, sorted; and, where it has them,
        anchor, closes, told_since, told_until and lent.
        """
        values = ("open", "high", "low", "close", "volume", "turnover", "trades")
        more = {
            name: frame[name].to_physical().to_numpy()
            for name in ("anchor", "closes", "told_since", "told_until", "lent")
            if name in frame.columns
        }
        return cls(
            np.array([*starts(frame), frame.height]),
            frame["ts"].to_physical().to_numpy(),
            *(frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in values),
            **more,
        )


@dataclass(frozen=True)
class Windows:
    """Windows with a bar in them, sorted by series and time; NaN: none. Columns as in `calc.windows`.

    series: its number in `edges`; ts, end: in microseconds since 1970
    """

    series: Integers
    ts: Integers
    end: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats
    turnover: Floats
    trades: Floats
    minutes: Integers
    is_complete: Booleans
    lent: Booleans
    ret_log: Floats
    std_dprice: Floats
    std_logret: Floats

    @property
    def minutes_expected(self) -> Integers:
        return (self.end - self.ts) // (60 * SECOND)


def resample(bars: Minutes, seconds: int) -> Windows:
    """All windows of `seconds` that have a bar, whether their time is over or not.

    A return starts at the close of the window that ends where this one begins, for days at that of the day before.
    """
    count = len(bars.ts)
    # More windows than bars there cannot be, and memory that is not written to costs nothing.
    out: dict[str, Any] = {name: np.empty(count) for name in _VALUES}
    out |= {name: np.empty(count, dtype=np.int64) for name in ("series", "ts", "end", "minutes")}
    out |= {name: np.empty(count, dtype=np.bool_) for name in ("is_complete", "lent")}
    done = 0
    for table in _tables(bars, seconds * SECOND):
        for name, values in _said(bars, table).items():
            out[name][table.at] = values
        done += len(table.ts)
    found = {name: values[:done] for name, values in out.items()}
    found["ret_log"] = _returns(found, days=seconds * SECOND >= DAY)
    return Windows(**found)


_VALUES = (
    "open", "high", "low", "close", "volume", "vwap", "turnover", "trades", "std_dprice", "std_logret",
)  # fmt: skip


class _Table(NamedTuple):
    """Windows with `width` bars each: where these bars are, one window's behind the other's; the windows' places in
    the answer, their series and times.
    """

    bars: slice | Integers
    width: int
    at: slice | Integers
    series: Integers
    ts: Integers
    end: Integers

    def ends(self, values: Floats) -> tuple[Floats, Floats]:
        """The first and the last value of each window."""
        return values[:: self.width], values[self.width - 1 :: self.width]

    def joined(self, join: np.ufunc, values: Any) -> Any:
        """All values of each window joined."""
        if self.width > _NARROW:
            return join.reduce(values.reshape(-1, self.width), axis=1)
        return _across(join, [values[n :: self.width] for n in range(self.width)])

    def deviation(self, steps: Floats) -> Floats:
        """Sample standard deviation of the steps from each bar to the next of its window; NaN below two."""
        inner = self.width - 1
        if inner < 2:
            return np.full(len(self.ts), np.nan)
        if self.width > _NARROW:
            return np.asarray(steps.reshape(-1, self.width)[:, :-1].std(axis=1, ddof=1))
        columns = [steps[n :: self.width] for n in range(inner)]
        mean = _across(np.add, columns)
        mean /= inner
        squares, apart = np.zeros_like(mean), np.empty_like(mean)
        for column in columns:
            np.subtract(column, mean, out=apart)
            np.multiply(apart, apart, out=apart)
            squares += apart
        squares /= inner - 1
        return np.asarray(np.sqrt(squares, out=squares))


def _across(join: np.ufunc, columns: list[Any]) -> Any:
    if len(columns) == 1:
        return columns[0].copy()
    out = join(columns[0], columns[1])
    for column in columns[2:]:
        join(out, column, out=out)
    return out


def _tables(bars: Minutes, width: int) -> Iterator[_Table]:
    start, done, count = 0, 0, len(bars.ts)
    while start < count:
        stop = min(start + _CHUNK, count)
        ts = _window_of(bars, slice(start, stop), width)
        is_first = np.empty(stop - start, dtype=np.bool_)
        is_first[0] = True
        np.not_equal(ts[1:], ts[:-1], out=is_first[1:])
        low, high = np.searchsorted(bars.edges, (start + 1, stop))
        is_first[bars.edges[low:high] - start] = True
        first = np.flatnonzero(is_first)
        if stop < count:
            # The last window may go on behind.
            stop, first = start + int(first[-1]), first[:-1]
        # The windows lie in as many series as there are edges among them, and one.
        among = np.searchsorted(first, bars.edges[low:high] - start)
        series = np.repeat(np.arange(low - 1, high), np.diff(among, prepend=0, append=len(first)))
        ts, first = ts[first], first + start
        end = _end_of(bars, ts, first, width)
        counts = np.diff(first, append=stop)
        if (counts == counts[0]).all():
            at = slice(done, done + len(first))
            yield _Table(slice(start, stop), int(counts[0]), at, series, ts, end)
        else:
            for one in np.unique(counts).tolist():
                mine = np.flatnonzero(counts == one)
                rows = (first[mine][:, None] + np.arange(one)).ravel()
                yield _Table(rows, one, mine + done, series[mine], ts[mine], end[mine])
        start, done = stop, done + len(first)


def _window_of(bars: Minutes, some: slice, width: int) -> Integers:
    """When each bar's window begins."""
    ts = bars.ts[some]
    if bars.anchor is None and DAY % width == 0:
        return ts // width * width
    anchor = ts // DAY * DAY if bars.anchor is None else bars.anchor[some]
    return anchor + (ts - anchor) // width * width


def _end_of(bars: Minutes, ts: Integers, first: Integers, width: int) -> Integers:
    """When the windows end that begin at `ts` with the bars `first`."""
    end = ts + width
    if bars.closes is not None:
        return np.minimum(end, bars.closes[first])
    return np.minimum(end, ts - ts % DAY + DAY) if DAY % width else end


def _said(bars: Minutes, table: _Table) -> dict[str, Any]:
    """What follows from each window's own bars."""
    close, volume, turnover, trades = (
        values[table.bars] for values in (bars.close, bars.volume, bars.turnover, bars.trades)
    )
    steps, ratios = np.empty_like(close), np.empty_like(close)
    steps[-1], ratios[-1] = 0.0, 1.0
    np.subtract(close[1:], close[:-1], out=steps[:-1])
    np.divide(close[1:], close[:-1], out=ratios[:-1])
    whole = (table.end - table.ts) // (60 * SECOND) == table.width
    if bars.told_since is not None and bars.told_until is not None:
        # A minute that is absent from a file had no trade; what lies before the file's first or behind its last is unknown.
        since, until = bars.told_since[table.bars], bars.told_until[table.bars]
        whole |= (table.joined(np.maximum, since) <= table.ts) & (
            table.joined(np.minimum, until) >= table.end
        )
    out = {
        "series": table.series,
        "ts": table.ts,
        "end": table.end,
        "minutes": table.width,
        "is_complete": whole,
        "lent": False if bars.lent is None else table.joined(np.logical_or, bars.lent[table.bars]),
        "open": table.ends(bars.open[table.bars])[0],
        "high": table.joined(np.maximum, bars.high[table.bars]),
        "low": table.joined(np.minimum, bars.low[table.bars]),
        "close": table.ends(close)[1],
        "volume": table.joined(np.add, volume),
        "turnover": table.joined(np.add, turnover),
        "trades": table.joined(np.add, trades),
        "std_dprice": table.deviation(steps),
        "std_logret": table.deviation(np.log(ratios, out=ratios)),
    }
    out["vwap"] = _average(table, turnover, volume, out)
    if np.isnan(out["trades"]).any():
        known = np.isfinite(trades)
        total = table.joined(np.add, np.where(known, trades, 0.0))
        out["trades"] = np.where(table.joined(np.logical_or, known), total, np.nan)
    return out


def _average(table: _Table, turnover: Floats, volume: Floats, sums: dict[str, Floats]) -> Floats:
    """Turnover a unit: a bar whose venue gives no turnover has no say in it; NaN without volume."""
    money, units = sums["turnover"], sums["volume"]
    if np.isnan(money).any():
        priced = np.isfinite(turnover)
        money, units = (table.joined(np.add, np.where(priced, v, 0.0)) for v in (turnover, volume))
    return money / np.where(units == 0, np.nan, units)


def _returns(found: dict[str, Any], days: bool) -> Floats:
    """Log returns from the close of the window before, where it is near enough."""
    series, ts, end, close = found["series"], found["ts"], found["end"], found["close"]
    out = np.full(len(close), np.nan)
    apart = ts[1:] - end[:-1]
    near = (series[1:] == series[:-1]) & (apart <= JOINED if days else apart == 0)
    np.log(close[1:] / close[:-1], out=out[1:], where=near)
    return out
