"""The list of symbols, and one symbol's page: chart, the numbers the rules see, statistics, anomalies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from pipelines.market import CONTINUOUS, MINUTE, Series
from reports.options import Limits
from reports.pages.alerts import alert_row
from reports.pages.movers import movers
from reports.pages.overview import pair_row
from reports.pages.shell import Page, day_path, symbol_path
from reports.pages.spells import spells
from reports.snapshot import Row, Snapshot
from reports.text import kind_name

NEEDED = {
    "sma_20": 20, "sma_50": 50, "sma_200": 200, "ema_12": 12, "ema_26": 26, "rsi_14": 15, "macd": 34, "macd_signal": 34,
    "bb_mid": 20, "bb_upper": 20, "bb_lower": 20, "atr_14": 15, "zscore_20": 21, "volatility_20": 21,
    "volatility_ann": 21, "pv_corr_60": 61, "dev_20_pct": 21, "ret_log": 2,
}  # fmt: skip
"""Bars of the interval that a column needs before it has a value."""


def index_page(snap: Snapshot) -> Page:
    rows = sorted(movers(snap), key=lambda row: (row["source"], row["symbol"]))
    seen = {row["key"] for row in rows}
    quiet = [{"key": key, "path": symbol_path(key)} for key in snap.keys if key not in seen]
    model = {
        "rows": rows,
        "quiet": quiet,
        "unwatched": sum(row["key"] not in snap.watched for row in rows),
        "sources": sorted({row["source"] for row in rows}),
    }
    return Page("symbols/index.html", "symbols.html", "Symbols", model, data=(("JSON", "api/symbols.json"),))


def symbol_page(
    snap: Snapshot, key: Series, mover: dict[str, Any] | None, days: list[str], intervals: list[str]
) -> Page:
    """One symbol's page.

    days: chart files of earlier days that lie in `data/symbols/<slug>/`; intervals: widths with a chart.
    """
    panes = [pane_row(row, snap) for row in snap.panes.get(key, [])]
    flagged = snap.flagged.get(key)
    fired = [a for a in snap.open_alerts if (a["source"], a["symbol"]) == key]
    digits = snap.digits.get(key, 2)
    model = {
        "key": key,
        "mover": mover,
        "digits": digits,
        "is_quiet": key not in snap.bars,
        "now": standing(snap, key, panes),
        "panes": panes,
        "stats": snap.figures.get(key, []),
        "at": snap.at,
        "alerts": [alert_row(snap, alert) for alert in fired],
        "anomalies": [] if flagged is None else _listed(snap, key, flagged)[:40],
        "anomaly_count": 0 if flagged is None else flagged.height,
        "pairs": [pair_row(fit) for fit in snap.newest_fits if key in ((fit["source_y"], fit["symbol_y"]), (fit["source_x"], fit["symbol_x"]))][:6],
        "chart": chart_facts(key, digits, snap.options.limits, days, intervals),
        "calendar": snap.calendars.get(key, CONTINUOUS),
        "bars": bar_count(snap, key),
        "intervals": intervals,
    }  # fmt: skip
    return Page(
        symbol_path(key),
        "symbol.html",
        key.symbol,
        model,
        section="symbols/index.html",
        data=data_files(key, intervals[0] if intervals else "1m", is_measured=key in snap.bars),
        scripts=("assets/lightweight-charts.js", "assets/charts.js"),
    )


def _listed(snap: Snapshot, key: Series, flagged: pl.DataFrame) -> list[dict[str, Any]]:
    """Spells, the newest first; those of a history the gravest first: its end is of no more interest than its middle."""
    found = spells(flagged, snap.options.widths)
    order = ("critical", "high", "medium", "info")
    return found if key in snap.bars else sorted(found, key=lambda spell: order.index(spell["severity"]))


def data_files(key: Series, interval: str, *, is_measured: bool) -> tuple[tuple[str, str], ...]:
    """The page's numbers as files: the narrowest window there is, and the indicators."""
    kinds = (("JSON", "json"), ("CSV", "csv"), ("Parquet", "parquet"))
    files = tuple((f"{interval} {label}", f"api/ohlc/{key.slug}/{interval}.{kind}") for label, kind in kinds)
    return (*files, ("indicators", f"api/indicators/{key.slug}.json")) if is_measured else files


def chart_facts(
    key: Series, digits: int, limits: Limits, days: list[str], intervals: list[str]
) -> dict[str, Any]:
    """What charts.js must know of a symbol, as the page's inline JSON."""
    return {
        "kind": "symbol",
        "slug": key.slug,
        "symbol": key.symbol,
        "title": f"{key.symbol} candles, volume, RSI and z-score",
        "digits": digits,
        "days": days,
        "intervals": intervals or ["1m"],
        "bars": 180,
        "limits": limit_facts(limits),
        "version": "1",
    }


def limit_facts(limits: Limits) -> dict[str, float]:
    return {
        "volume_ratio": limits.volume_ratio,
        "zscore": limits.zscore,
        "stop": limits.stop,
        "rsi_high": limits.rsi_high,
        "rsi_low": limits.rsi_low,
    }


def pane_row(row: Row, snap: Snapshot) -> dict[str, Any]:
    """One interval's newest complete window; `why` says what is missing for each empty column."""
    have = row["rows"]
    why = {
        name: f"{min(have, need)} of {need} bars"
        for name, need in NEEDED.items()
        if row.get(name) is None and have < need
    }
    if row.get("volume_ratio") is None:
        why["volume_ratio"] = "no baseline yet: needs 5 sessions of this time of day"
    limits = snap.options.limits
    hot = {
        "volume_ratio": _over(row.get("volume_ratio"), limits.volume_ratio),
        "zscore_20": _over(row.get("zscore_20"), limits.zscore),
        "dev_20_pct": _over(row.get("dev_20_pct"), limits.price_dev_pct),
        "rsi_14": row.get("rsi_14") is not None and not limits.rsi_low <= row["rsi_14"] <= limits.rsi_high,
    }
    return row | {"why": why, "hot": hot}


def _over(value: float | None, limit: float) -> bool:
    return value is not None and abs(value) > limit


def standing(snap: Snapshot, key: Series, panes: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest bar's facts for the side column."""
    bars = snap.bars.get(key)
    first = panes[0] if panes else {}
    hole = snap.holes.get(key)
    feed = next((f for f in snap.feeds if f.source == key.source), None)
    newest = None if bars is None else bars["ts"][-1]
    return {
        "ts": newest,
        "ended": None if newest is None else newest + MINUTE,
        "age_s": None
        if newest is None or (feed and feed.closed)
        else (snap.at - newest - MINUTE).total_seconds(),
        "closed": bool(feed and feed.closed),
        "opens_at": feed.opens_at if feed else None,
        "pane": first,
        "gaps": 0 if hole is None else hole.height,
        "waiting": 0 if hole is None else hole.filter(pl.col("state").is_in(["open", "healing"])).height,
        "revised": 0
        if bars is None
        else bars.filter((pl.col("revision") > 1) & (pl.col("ts") >= snap.at - timedelta(days=1))).height,
    }


def bar_count(snap: Snapshot, key: Series) -> int:
    bars = snap.bars.get(key)
    return 0 if bars is None else bars.height


def anomaly_row(anomaly: Row) -> dict[str, Any]:
    return anomaly | {
        "what": f"{kind_name(anomaly['kind'])} {anomaly['interval'] or ''}".strip(),
        "href": f"{day_path(anomaly['ts'].date())}#{anomaly['id']}",
    }
