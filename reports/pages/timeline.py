"""Anomalies of a day as a grid: one line a symbol, one cell a quarter hour."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pipelines.market import Series
from reports.pages.shell import symbol_path

CELLS = 96
LEFT, CELL = 132, 8
OF_PAIRS = ["spread", "corr_break"]


def timeline(
    anomalies: pl.DataFrame,
    alerts: pl.DataFrame,
    start: datetime,
    most: int = 12,
    quiet: Iterable[Series] = (),
    least: int = 9,
) -> dict[str, Any]:
    """The busiest series as lines of cells, and of the `quiet` ones so many that `least` lines are shown.

    A cell is darker the larger its strongest anomaly (ratio over 3, or |z| over 2, capped at four times
    that); a diamond marks a cell in which an alert fired.
    """
    spot = ((pl.col("ts") - start).dt.total_minutes() // 15).alias("cell")
    size = (
        pl.max_horizontal(pl.col("ratio").abs() / 3, pl.col("zscore").abs() / 2).fill_null(1.0).alias("size")
    )
    cells = (
        anomalies.filter(
            pl.col("symbol").is_not_null(), ~pl.col("kind").is_in(OF_PAIRS), pl.col("ts") >= start
        )
        .with_columns(spot, size)
        .filter(pl.col("cell").is_between(0, CELLS - 1))
        .group_by("source", "symbol", "cell")
        .agg(pl.col("size").max(), pl.len().alias("n"))
    )
    fired = _fired(alerts, start)
    busiest = (
        cells.group_by("source", "symbol")
        .agg(pl.col("size").sum())
        .sort("size", "symbol", descending=[True, False])
    )
    busy = [Series(source, symbol) for source, symbol, _ in busiest.head(most).iter_rows()]
    known = {Series(*row) for row in busiest.select("source", "symbol").iter_rows()}
    rest = [key for key in quiet if key not in known][: max(0, least - len(busy))]
    line = max(18, min(34, 300 // max(1, len(busy) + len(rest))))
    lines = []
    for n, key in enumerate([*busy, *rest]):
        symbol = key.symbol
        mine = cells.filter((pl.col("source") == key.source) & (pl.col("symbol") == symbol)).sort("cell")
        lines.append(
            {
                "name": symbol if len(symbol) <= 16 else f"{symbol[:15]}…",
                "path": symbol_path(key),
                "y": 4 + n * line,
                "cells": [_cell(row, start) for row in mine.iter_rows(named=True)],
                "marks": [f"{LEFT + cell * CELL + 3.5:.1f}" for cell in sorted(fired.get(key, ()))],
                "count": int(mine["n"].sum() or 0),
            }
        )
    hours = [
        {"x": LEFT + h * 4 * CELL, "text": f"{start + timedelta(hours=h):%H:%M}"} for h in range(0, 24, 3)
    ]
    return {
        "lines": lines,
        "hours": hours,
        "width": LEFT + CELLS * CELL + 4,
        "height": 4 + len(lines) * line + 18,
        "cell_height": line - 4,
    }


def _cell(row: dict[str, Any], start: datetime) -> dict[str, Any]:
    strength = min(1.0, (row["size"] or 0) / 4)
    at = start + timedelta(minutes=15 * row["cell"])
    return {
        "x": LEFT + row["cell"] * CELL,
        "opacity": f"{0.22 + 0.78 * strength:.2f}",
        "title": f"{at:%H:%M}: {row['n']} anomal{'y' if row['n'] == 1 else 'ies'}",
    }


def _fired(alerts: pl.DataFrame, start: datetime) -> dict[Series, set[int]]:
    fired: dict[Series, set[int]] = {}
    for alert in alerts.filter(pl.col("fired_at") >= start).iter_rows(named=True):
        cell = int((alert["fired_at"] - start).total_seconds() // 900)
        if 0 <= cell < CELLS:
            fired.setdefault(Series(alert["source"] or "", alert["symbol"] or ""), set()).add(cell)
    return fired
