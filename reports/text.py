"""Numbers, times and marks as a reader sees them; the filters of every template.

A missing value is an en dash, never 0; a minus is U+2212, so that columns align; times are UTC.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from pipelines.alerts.columns import REFERENCE_OF
from pipelines.market import slug, utc

NONE = "–"
SMALLEST = 1e-12
"""Below it a figure is the rounding of zero."""
SEVERITIES = ("critical", "high", "medium", "info")
SEVERITY_MARK = {"critical": "◆", "high": "▲", "medium": "■", "info": "●", "ok": "✓"}
KIND_NAMES = {
    "volume": "Volume",
    "price_spike": "Price move",
    "rsi_extreme": "RSI",
    "volatility": "Volatility",
    "spread": "Spread",
    "corr_break": "Correlation break",
    "latency": "Latency",
    "stale": "Stale feed",
    "gap": "Gap",
}
UNITS = {"gap": "min", "stale": "s", "latency": "ms"}


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number(value: float | None, digits: int = 2) -> str:
    """`64,250.00`; a rounded negative zero loses its sign."""
    if value is None or is_missing(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def figure(value: float | None, digits: int = 2) -> str:
    """As `number`, but never with fewer than three significant digits: of what may be of any size."""
    if value is None or is_missing(value) or abs(value) < SMALLEST:
        return number(value, digits)
    return number(value, max(digits, 2 - math.floor(math.log10(abs(value)))))


def signed(value: float | None, digits: int = 2) -> str:
    text = number(value, digits)
    return (
        f"+{text}"
        if value is not None and not is_missing(value) and value > 0 and text.strip("0.,")
        else text
    )


def percent(value: float | None, digits: int = 2) -> str:
    """A ratio as per cent with its sign: 0.0142 is `+1.42 %`."""
    return NONE if value is None or is_missing(value) else f"{signed(value * 100, digits)} %"


def compact(value: float | None) -> str:
    """Four significant digits with K, M, B: for volumes."""
    if value is None or is_missing(value):
        return NONE
    size = abs(value)
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size >= limit:
            return f"{value / limit:.4g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def times(value: float | None) -> str:
    """`8.5×`; below 1 with three significant digits."""
    if value is None or is_missing(value):
        return NONE
    return f"{number(value, 1) if abs(value) >= 1 else figure(value, 1)}×"


def against(anomaly: Mapping[str, Any]) -> str:
    """How far an anomaly's value is from what is usual: times it, a price in percent, nothing for an RSI and for what has a sign."""
    ratio = anomaly["ratio"]
    if anomaly["kind"] in ("rsi_extreme", "spread", "corr_break") or ratio is None or is_missing(ratio):
        return NONE
    return f"{signed(100 * (ratio - 1), 1)} %" if anomaly["kind"] == "price_spike" else times(ratio)


def gap_extent(gap: Mapping[str, Any]) -> str:
    """What a gap lacks: `18 min`, `7 trades`."""
    if gap.get("kind") == "trades":
        return f"{gap['last_id'] - gap['first_id'] + 1} trades"
    return f"{gap['minutes']} min"


def quantity(value: float | None, kind: str) -> str:
    """What was measured, in the unit of its kind: `2,976 min` of a gap, a volatility in percent a bar, else `compact`."""
    if value is None or is_missing(value):
        return NONE
    if kind in UNITS:
        return f"{number(value, 0)} {UNITS[kind]}"
    return f"{100 * value:.4g} %" if kind == "volatility" else compact(value)


def usual(kind: str, baseline: float | None) -> str:
    """What is usual; of what nothing is, the limit; nothing where any at all is too much."""
    if REFERENCE_OF.get(kind) != "limit":
        return quantity(baseline, kind)
    return f"limit {quantity(baseline, kind)}" if baseline else NONE


def usual_of(anomaly: Mapping[str, Any]) -> str:
    return usual(anomaly["kind"], anomaly["baseline"])


def probability(value: float | None) -> str:
    if value is None or is_missing(value):
        return NONE
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def clock(at: datetime | None) -> str:
    return NONE if at is None else f"{at:%H:%M}"


def stamp(at: datetime | None) -> str:
    """`21 Nov 09:41`."""
    return NONE if at is None else f"{at.day} {at:%b %H:%M}"


def day_time(at: datetime | None) -> str:
    """`2026-11-21 09:41`."""
    return NONE if at is None else f"{at:%Y-%m-%d %H:%M}"


def full_time(at: datetime | None) -> str:
    """`2026-11-21 09:41:07 UTC`."""
    return NONE if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime | date | None) -> str:
    if at is None:
        return ""
    return f"{utc(at):%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, datetime) else at.isoformat()


def duration(span: timedelta | float | None) -> str:
    """`14 s`, `29 min`, `2 h 41 min`, `3 d`."""
    if span is None or is_missing(span):
        return NONE
    seconds = max(0, round(span.total_seconds() if isinstance(span, timedelta) else span))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    if seconds < 172800:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d"


def kind_name(kind: str | None) -> str:
    return KIND_NAMES.get(kind or "", (kind or NONE).replace("_", " "))


def mark(severity: str) -> str:
    return SEVERITY_MARK.get(severity, "●")


def epoch(at: datetime | None) -> str:
    """Seconds for a table's sort key; empty where there is no time."""
    return "" if at is None else str(int(utc(at).timestamp()))


def sort_key(value: Any) -> str:
    return "" if is_missing(value) else str(value)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "figure": figure,
    "signed": signed,
    "percent": percent,
    "compact": compact,
    "times": times,
    "against": against,
    "gap_extent": gap_extent,
    "quantity": quantity,
    "usual_of": usual_of,
    "probability": probability,
    "clock": clock,
    "stamp": stamp,
    "day_time": day_time,
    "full_time": full_time,
    "iso": iso,
    "duration": duration,
    "kind_name": kind_name,
    "mark": mark,
    "epoch": epoch,
    "sort_key": sort_key,
    "slug": slug,
}
