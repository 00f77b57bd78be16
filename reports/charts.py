"""Columns for lightweight-charts, as classic scripts that open from file://.

The library's production build checks nothing: a time twice or out of order leaves the whole chart blank,
a null in a line is drawn as 0. So every column is checked and made safe here: increasing whole UTC
seconds, finite numbers or null, and a candle whose high is under its low is no candle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import polars as pl

from pipelines.market import utc
from reports.text import SEVERITIES, kind_name, number

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


def digits_of(prices: np.ndarray[Any, Any]) -> int:
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


def payload(
    bars: pl.DataFrame,
    step: int,
    digits: int,
    *,
    zones: Sequence[Sequence[Any]] = (),
    marks: Sequence[Sequence[Any]] = (),
    holes: Sequence[Sequence[Any]] = (),
) -> dict[str, Any]:
    """One series' bars (ts and COLUMNS, any order) as the script's argument.

    holes: [from, to, word] in UTC seconds, `to` the last missing bar; each becomes empty rows, which keep
    their room on the axis and are hatched.
    """
    frame = _with_holes(bars.unique("ts", keep="last"), step, holes).sort("ts")
    seconds = frame["ts"].dt.epoch("s").to_numpy()
    columns = dict(zip(COLUMNS, _matrix(frame), strict=True))
    broken = ~(columns["high"] >= columns["low"])
    for name in PRICES:
        columns[name] = np.where(broken, np.nan, columns[name])
    with np.errstate(divide="ignore", invalid="ignore"):
        baseline = columns["volume"] / columns["volume_ratio"]
    columns["baseline"] = np.where(np.isfinite(baseline), baseline, np.nan)
    shown = {name: rounded(values, _digits(name, digits)) for name, values in columns.items()}
    return {
        "step": step,
        "runs": runs(seconds, step),
        "c": {name: values for name, values in shown.items() if any(v is not None for v in values)}
        or {"close": []},
        "zones": [list(z) for z in zones],
        "marks": [list(m) for m in marks],
        "gaps": [list(h) for h in holes],
    }


def runs(seconds: np.ndarray[Any, Any], step: int) -> list[list[int]]:
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


def _matrix(frame: pl.DataFrame) -> np.ndarray[Any, Any]:
    """One row a column of COLUMNS, NaN where there is no value or no such column."""
    known = [
        pl.col(name).cast(pl.Float64).fill_null(math.nan)
        if name in frame.columns
        else pl.lit(math.nan).alias(name)
        for name in COLUMNS
    ]
    return frame.select(known).to_numpy().T


def rounded(values: np.ndarray[Any, Any], digits: int) -> list[float | None]:
    finite = np.where(np.isfinite(values), np.round(values, digits), np.nan)
    return [None if v != v else v for v in finite.tolist()]


def _with_holes(bars: pl.DataFrame, step: int, holes: Sequence[Sequence[Any]]) -> pl.DataFrame:
    there: list[int] = bars["ts"].dt.epoch("s").to_list()
    if not holes or not there:
        return bars
    span = range(min(there), max(there))
    wanted = {second for start, end, _ in holes for second in range(start, end + 1, step) if second in span}
    rows = pl.DataFrame({"ts": pl.from_epoch(pl.Series(sorted(wanted - set(there)), dtype=pl.Int64), "s")})
    return pl.concat([bars, rows.cast({"ts": pl.Datetime("us")})], how="diagonal")


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
    spans = (
        sorted(
            (_seconds(a["ts"]), _seconds(a["ts"]) + widths.get(a["interval"] or "1m", 60) - step, a)
            for a in rows
        )
        if rows
        else []
    )
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
