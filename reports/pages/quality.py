"""Data quality: checks, gaps, coverage, quarantine: whether the numbers may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reports.pages.health import feed_rows, newest_checks
from reports.pages.shell import Page
from reports.snapshot import Snapshot


def page(snap: Snapshot, coverage: pl.DataFrame, quarantine: pl.DataFrame) -> Page:
    checks = newest_checks(snap.quality)
    model = {
        "feeds": feed_rows(snap, checks),
        "at": snap.at,
        "checked": max((check["checked_at"] for check in checks), default=None),
        "checks": [check | {"history": _history(snap.quality, check)} for check in checks],
        "failed": sum(not check["passed"] for check in checks),
        "collection": snap.options.collection,
        "streams": _streams(snap.options.collection),
        "gaps": snap.gaps.head(100).to_dicts(),
        "gap_count": snap.gaps.height,
        "coverage": sorted(map(_covered, coverage.iter_rows(named=True)), key=lambda row: row["tone"] == "")[
            :100
        ],
        "quarantine": [
            row | {"payload": (row["payload"] or "")[:600]} for row in quarantine.iter_rows(named=True)
        ],
    }
    return Page("quality/index.html", "quality.html", "Data quality", model)


def _streams(collection: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a websocket connection; what a source has dropped or cannot write counts for each of its own."""
    return [
        {
            "source": name,
            "symbols": len(line["symbols"]),
            "state": line["state"],
            "frames": line["frames"],
            "connections": line["connections"],
            "dropped": source["dropped"],
            "landed_ms": source["receive_to_landed_ms"]["p99"],
            "reason": source["problem"] or line["reason"] or "",
        }
        for name, source in collection.get("sources", {}).items()
        for line in source["connections"]
    ]


def _history(quality: pl.DataFrame, check: dict[str, Any]) -> list[bool]:
    """The last 24 results, oldest first."""
    mine = quality.filter((pl.col("check_name") == check["check_name"]) & (pl.col("suite") == check["suite"]))
    return mine.sort("checked_at")["passed"].tail(24).to_list()


def _covered(row: dict[str, Any]) -> dict[str, Any]:
    """A day's minutes by state; `share` is what there is of what there should be."""
    have = (row["ok"] or 0) + (row["healed"] or 0) + (row["no_trade"] or 0) + (row["late"] or 0)
    share = have / row["expected"] if row["expected"] else None
    return row | {
        "share": share,
        "tone": "" if share is None or share >= 0.9999 else "warn" if share >= 0.98 else "bad",
    }
