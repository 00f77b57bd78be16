"""Columns for lightweight-charts, as classic scripts that open from file://.

The library's production build checks nothing: a time twice or out of order leaves the whole chart blank,
a null in a line is drawn as 0. So every column is checked and made safe here: increasing whole UTC
seconds, finite numbers or null, and a candle whose high is under its low is no candle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import polars as pl

from pipelines.market import Series, utc
from reports.text import SEVERITIES, kind_name, number

Array = np.ndarray[Any, Any]
PRICES = ("open", "high", "low", "close")
LINES = (
    "vwap",
    "sma_20",
    "sma_50",
    "ema_12",
    "ema_26",
    "bb_upper",
    "bb_lower",
    "macd",
    "macd_signal",
    "macd_hist",
)
COLUMNS = (*PRICES, "volume", *LINES, "rsi_14", "zscore_20", "volume_ratio")
MARKED = "rsi_extreme"


def digits_of(prices: Array) -> int:
    """The fewest decimals (2 to 10) that show these prices exactly, or to 7 significant digits."""
    finite = prices[np.isfinite(prices)]
    if not len(finite):
        return 2
    size = float(np.max(np.abs(finite))) or 1.0
    for digits in range(2, 11):
        if bool(np.all(np.abs(np.round(finite, digits) - finite) <= size * 1e-7)):
            return digits
    return 10


def script(name: str, part: str, payload: dict[str, Any]) -> bytes:
    """The data file a page loads; `name` and `part` are file-name safe, all else is JSON."""
    return (
        b"TW.rows(" + orjson.dumps(name) + b"," + orjson.dumps(part) + b"," + orjson.dumps(payload) + b");\n"
    )


@dataclass(frozen=True)
class Columns:
    """UTC seconds and COLUMNS plus `baseline` as arrays, NaN where there is no value; one or many series."""

    seconds: Array
    values: dict[str, Array]

    @classmethod
    def of(cls, bars: pl.DataFrame) -> Columns:
        """All rows at once, in their order; an impossible candle loses its prices.

        baseline: what `volume_ratio` was taken against.
        """
        known = [
            pl.col(name).cast(pl.Float64).fill_null(math.nan)
            if name in bars.columns
            else pl.lit(math.nan).alias(name)
            for name in COLUMNS
        ]
        matrix = bars.select(known).to_numpy().T if bars.height else np.empty((len(COLUMNS), 0))
        values = dict(zip(COLUMNS, matrix, strict=True))
        possible = values["high"] >= values["low"]
        for name in PRICES:
            values[name] = np.where(possible, values[name], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            baseline = values["volume"] / values["volume_ratio"]
        values["baseline"] = np.where(np.isfinite(baseline), baseline, np.nan)
        return cls(bars["ts"].dt.epoch("s").to_numpy(), values)

    def rows(self, start: int, stop: int) -> Columns:
        """The rows of one series, in order of time and each time once: the later row of two holds."""
        part = self._at(slice(start, stop))
        if len(part.seconds) < 2 or int(np.diff(part.seconds).min()) > 0:
            return part
        backwards = part._at(slice(None, None, -1))
        return backwards._at(np.unique(backwards.seconds, return_index=True)[1])

    def with_holes(self, holes: Sequence[Sequence[Any]], step: int) -> Columns:
        """Empty rows for the missing bars inside the rows' span."""
        there = set(self.seconds.tolist())
        span = range(min(there, default=0), max(there, default=0))
        wanted = {
            second for start, end, _ in holes for second in range(start, end + 1, step) if second in span
        }
        missing = np.array(sorted(wanted - there), dtype=np.int64)
        if not len(missing):
            return self
        at = np.searchsorted(self.seconds, missing)
        values = {name: np.insert(column, at, np.nan) for name, column in self.values.items()}
        return Columns(np.insert(self.seconds, at, missing), values)

    def shown(self, digits: int) -> dict[str, list[float | None]]:
        """The columns that have a value, rounded to what a chart can show."""
        there = {name: values for name, values in self.values.items() if not bool(np.isnan(values).all())}
        return {name: rounded(values, _digits(name, digits)) for name, values in there.items()} or {
            "close": []
        }

    def _at(self, index: slice | Array) -> Columns:
        return Columns(self.seconds[index], {name: column[index] for name, column in self.values.items()})


def payload(
    columns: Columns,
    step: int,
    digits: int,
    *,
    zones: Sequence[Sequence[Any]] = (),
    marks: Sequence[Sequence[Any]] = (),
    holes: Sequence[Sequence[Any]] = (),
) -> dict[str, Any]:
    """One series' columns as the script's argument.

    holes: [from, to, word] in UTC seconds, `to` the last missing bar; each becomes empty rows, which keep
    their room on the axis and are hatched.
    """
    whole = columns.with_holes(holes, step) if holes else columns
    return {
        "step": step,
        "runs": runs(whole.seconds, step),
        "c": whole.shown(digits),
        "zones": [list(z) for z in zones],
        "marks": [list(m) for m in marks],
        "gaps": [list(h) for h in holes],
    }


def payload_of(bars: pl.DataFrame, step: int, digits: int, **more: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """`payload` of one series' frame, in any order."""
    return payload(Columns.of(bars).rows(0, bars.height), step, digits, **more)


def by_series(bars: pl.DataFrame) -> Iterator[tuple[Series, Columns]]:
    """Each series' columns out of a frame sorted by source, symbol and time."""
    if not bars.height:
        return
    every = Columns.of(bars)
    counts = bars.group_by("source", "symbol", maintain_order=True).agg(pl.len())
    start = 0
    for source, symbol, count in counts.iter_rows():
        yield Series(source, symbol), every.rows(start, start + count)
        start += count


def runs(seconds: Array, step: int) -> list[list[int]]:
    """Times as [start, count] of unbroken stretches; raises ValueError unless they increase."""
    if not len(seconds):
        return []
    gaps = np.diff(seconds)
    if len(gaps) and int(gaps.min()) <= 0:
        raise ValueError("chart times must increase: a time is double or out of order")
    starts = np.concatenate(([0], np.flatnonzero(gaps != step) + 1))
    counts = np.diff(np.concatenate((starts, [len(seconds)])))
    return [[int(seconds[s]), int(n)] for s, n in zip(starts, counts, strict=True)]


def _digits(name: str, digits: int) -> int:
    if name in PRICES:
        return digits
    if name in ("volume", "baseline"):
        return 8
    return 3 if name in ("rsi_14", "zscore_20", "volume_ratio") else digits + 2


def rounded(values: Array, digits: int) -> list[float | None]:
    finite = np.where(np.isfinite(values), np.round(values, digits), np.nan)
    return [None if v != v else v for v in finite.tolist()]


def holes_of(gaps: pl.DataFrame) -> list[list[Any]]:
    """[from, last missing minute, word] of each gap that was not healed."""
    words = {"lost": "lost", "open": "no data", "healing": "healing"}
    return [
        [_seconds(g["from_ts"]), _seconds(g["to_ts"]) - 60, words[g["state"]]]
        for g in gaps.iter_rows(named=True)
        if g["state"] in words
    ]


def zones_of(anomalies: pl.DataFrame, widths: dict[str, int], step: int = 60) -> list[list[Any]]:
    """[from, to, severity, word] of shaded stretches; anomalies that touch become one, named by the worst."""
    rows = [a for a in anomalies.iter_rows(named=True) if a["kind"] != MARKED]
    spans = [
        (_seconds(a["ts"]), _seconds(a["ts"]) + widths.get(a["interval"] or "1m", 60) - step, a) for a in rows
    ]
    spans.sort(key=lambda span: span[:2])
    zones: list[tuple[int, int, dict[str, Any]]] = []
    for start, end, anomaly in spans:
        if zones and start <= zones[-1][1] + 2 * step:
            worst = min(zones[-1][2], anomaly, key=_rank)
            zones[-1] = (zones[-1][0], max(end, zones[-1][1]), worst)
        else:
            zones.append((start, end, anomaly))
    return [[start, end, a["severity"], word_of(a)] for start, end, a in zones]


def marks_of(anomalies: pl.DataFrame) -> list[list[Any]]:
    """[time, +1 above or -1 below, word] of RSI extremes: the first bar of each stretch."""
    rows = sorted(
        (a for a in anomalies.iter_rows(named=True) if a["kind"] == MARKED and a["value"] is not None),
        key=lambda a: a["ts"],
    )
    marks: list[list[Any]] = []
    until = 0
    for anomaly in rows:
        at = _seconds(anomaly["ts"])
        if at > until:
            marks.append([at, 1 if anomaly["value"] > 50 else -1, f"RSI {anomaly['value']:.0f}"])
        until = at + 900
    return marks


def word_of(anomaly: dict[str, Any]) -> str:
    """`volume 15.7×`, `price move z +4.1`: the label on a shaded stretch."""
    name = kind_name(anomaly["kind"]).lower()
    if anomaly["kind"] == "volume" and anomaly["ratio"] is not None:
        return f"{name} {number(anomaly['ratio'], 1)}×"
    if anomaly["zscore"] is not None:
        return f"{name} z {anomaly['zscore']:+.1f}".replace("-", "−")
    return name


def _rank(anomaly: dict[str, Any]) -> tuple[int, float]:
    severity = anomaly["severity"]
    size = max(abs(anomaly["ratio"] or 0.0), abs(anomaly["zscore"] or 0.0))
    return (SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES), -size)


def _seconds(at: datetime) -> int:
    return int(utc(at).timestamp())
