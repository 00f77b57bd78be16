"""Correlation matrices with their sampling error: every interval and look-back the scan computed."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.market import Interval
from reports.pages.matrix import matrix, short
from reports.pages.shell import Page
from reports.snapshot import Snapshot


def page(snap: Snapshot) -> Page:
    rows = snap.correlations
    groups = (
        [key for key, _ in rows.group_by("interval", "lookback", maintain_order=True)] if rows.height else []
    )
    ordered = sorted(groups, key=lambda key: (Interval.parse(str(key[0])), key[1]))
    model = {"matrices": [_one(rows, str(interval), lookback) for interval, lookback in ordered]}
    files = tuple(
        (f"{name} JSON", f"api/correlation/{name}.json")
        for name in dict.fromkeys(str(key[0]) for key in ordered)
    )
    return Page("correlations/index.html", "correlations.html", "Correlations", model, data=files)


def _one(rows: pl.DataFrame, interval: str, lookback: Any) -> dict[str, Any]:
    mine = rows.filter((pl.col("interval") == interval) & (pl.col("lookback") == lookback))
    apart = mine.filter((pl.col("symbol_a") < pl.col("symbol_b")) & pl.col("corr").is_not_null())
    strongest = apart.sort(pl.col("corr").abs(), descending=True).head(10)
    return {
        "matrix": matrix(mine, 24),
        "strongest": [
            row | {"name": f"{short(row['symbol_a'])} / {short(row['symbol_b'])}", "sure": row["lo"] is not None and row["lo"] * row["hi"] > 0}
            for row in strongest.iter_rows(named=True)
        ],
        "silent": mine.filter(pl.col("corr").is_null()).height,
    }  # fmt: skip
