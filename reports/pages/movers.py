"""Where each symbol stands: last price, change, and how unusual the change is for this symbol."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from pipelines.market import Series
from reports.pages.shell import symbol_path
from reports.snapshot import Snapshot

QUARTERS_IN_DAY = 96


def movers(snap: Snapshot) -> list[dict[str, Any]]:
    """One row per series with bars, largest move in own sigmas first.

    sigma: the return of the last hour over sqrt(4) times the standard deviation of the quarter-hour log
    returns of the day before that hour; null with fewer than 12 of them.
    """
    if "movers" not in snap.memory:
        worst = _worst_now(snap)
        rows = [_row(snap, now, worst) for now in _standing(snap.minutes).iter_rows(named=True)]
        snap.memory["movers"] = sorted(rows, key=lambda r: -abs(r["sigma"]) if r["sigma"] is not None else 1)
    return list(snap.memory["movers"])


def _standing(minutes: pl.DataFrame) -> pl.DataFrame:
    """Newest values of each series, and its close one hour before its newest bar."""
    newest = pl.col("ts").last()
    return minutes.group_by("source", "symbol", maintain_order=True).agg(
        newest.alias("ts"),
        pl.col("close").last().alias("last"),
        pl.col("close").filter(pl.col("ts") <= newest - timedelta(hours=1)).last().alias("hour_ago"),
        pl.col("close").filter(pl.col("ts") <= newest - timedelta(hours=24)).last().alias("day_ago"),
    )


def _row(snap: Snapshot, now: dict[str, Any], worst: dict[Series, str]) -> dict[str, Any]:
    key = Series(now["source"], now["symbol"])
    frame = snap.closes.get(key)
    quarters = [] if frame is None else frame["close"].to_list()
    yesterday = now["ts"] - timedelta(hours=24)
    day = [] if frame is None else frame.filter(pl.col("ts") > yesterday)["close"].to_list()
    before = (
        []
        if frame is None
        else frame.filter(pl.col("ts") <= yesterday - timedelta(minutes=14))["close"].to_list()
    )
    day_ago = now["day_ago"] if now["day_ago"] is not None else before[-1] if before else None
    ret_1h = _ratio(now["last"], now["hour_ago"])
    pane = next((row for row in snap.panes.get(key, []) if row["interval"] == "1m"), {})
    return {
        "key": key,
        "source": key.source,
        "symbol": key.symbol,
        "path": symbol_path(key),
        "slug": key.slug,
        "ts": now["ts"],
        "last": now["last"],
        "digits": snap.digits[key],
        "ret_1h": ret_1h,
        "ret_24h": None if day_ago is None else _ratio(now["last"], day_ago),
        "sigma": _sigmas(ret_1h, quarters),
        "volume_ratio": pane.get("volume_ratio"),
        "zscore": pane.get("zscore_20"),
        "rsi": pane.get("rsi_14"),
        "day": day,
        "tone": None if day_ago is None else "down" if now["last"] < day_ago else "up",
        "severity": worst.get(key),
        "calendar": snap.calendars.get(key, ""),
    }


def _worst_now(snap: Snapshot) -> dict[Series, str]:
    """The worst firing alert of each series."""
    worst: dict[Series, str] = {}
    for alert in snap.open_alerts:
        worst.setdefault(Series(alert["source"] or "", alert["symbol"] or ""), alert["severity"])
    return worst


def _ratio(now: float | None, before: float | None) -> float | None:
    return None if not now or not before else now / before - 1


def _sigmas(ret_1h: float | None, quarters: list[float]) -> float | None:
    closes = np.array(quarters[-(QUARTERS_IN_DAY + 5) : -4], dtype=float)
    if ret_1h is None or len(closes) < 13 or bool(np.any(closes <= 0)):
        return None
    usual = float(np.diff(np.log(closes)).std(ddof=1)) * 2
    return float(np.log1p(ret_1h)) / usual if usual > 0 else None
