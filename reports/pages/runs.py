"""Runs: each micro-batch as a bar, lag per source, latency per stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from reports.pages.health import GOOD, bar_strip, feed_rows, newest_checks, run_summary
from reports.pages.shapes import spark
from reports.pages.shell import Page
from reports.snapshot import Snapshot


def page(snap: Snapshot) -> Page:
    model = {
        "summary": run_summary(snap.runs),
        "strip": bar_strip(snap.runs, 180),
        "rows": [_row(row, snap.options.prefect_url) for row in snap.runs.head(60).iter_rows(named=True)],
        "flows": _flows(snap.runs),
        "feeds": feed_rows(snap, newest_checks(snap.quality)),
        "at": snap.at,
        "stages": _stages(snap.latency, snap.options.limits.latency_ms),
        "streams": _streams(snap.options.collection),
        "prefect_url": snap.options.prefect_url,
    }
    return Page("runs/index.html", "runs.html", "Runs", model, data=(("Prometheus", "metrics.prom"),))


def _streams(collection: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a source that the collector follows: what came, how fast, and what is not loaded yet."""
    return [
        {name: source.get(name) for name in ("frames", "per_second", "backlog", "dropped")}
        | {"source": name, "landed_ms": source["receive_to_landed_ms"]["p99"]}
        for name, source in collection.get("sources", {}).items()
    ]


PREFECT_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How Prefect names its runs; one from the command line is called otherwise, and its UI does not know it."""


def _row(row: dict[str, Any], prefect_url: str | None) -> dict[str, Any]:
    is_known = prefect_url and PREFECT_RUN.fullmatch(row["run_id"])
    href = f"{prefect_url}/runs/flow-run/{row['run_id']}" if is_known else None
    took = None if not row["finished_at"] else (row["finished_at"] - row["started_at"]).total_seconds()
    return row | {"href": href, "took": took, "ok": str(row["state"]).lower() in GOOD}


def _flows(runs: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        run_summary(part.with_columns(flow=pl.lit("minute")))
        | {"flow": name, "newest": part["started_at"].max()}
        for (name,), part in sorted(runs.group_by("flow"), key=lambda pair: str(pair[0][0]))
    ]


def _stages(latency: pl.DataFrame, limit_ms: float) -> list[dict[str, Any]]:
    """Each stage's newest figures and its p99 over the last hours."""
    rows = []
    for (stage,), part in latency.group_by("stage", maintain_order=True):
        newest = part.row(-1, named=True)
        rows.append(
            newest
            | {
                "stage": stage,
                "spark": spark(part["p99_ms"].tail(90).to_list()),
                "over": (newest["p99_ms"] or 0) > limit_ms and "receive" in str(stage),
            }
        )
    return sorted(rows, key=lambda row: str(row["stage"]))
