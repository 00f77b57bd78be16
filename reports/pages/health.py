"""Whether the data can be trusted: feeds, checks, runs."""

from __future__ import annotations

import statistics
from typing import Any

import polars as pl

from reports.snapshot import Feed, Snapshot

GOOD = {"completed", "success", "succeeded"}
BAD = {"failed", "crashed", "cancelled", "timedout"}


def newest_checks(quality: pl.DataFrame) -> list[dict[str, Any]]:
    """The newest result of every check, failing ones first."""
    if not quality.height:
        return []
    newest = quality.sort("checked_at", descending=True).unique(
        ["suite", "check_name", "table_name"], keep="first"
    )
    return newest.sort("passed", "suite", "check_name").to_dicts()


def feed_rows(snap: Snapshot, checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a source: how fresh, how slow at worst, how many gaps, and the word for it."""
    states = {row["source"]: row for row in snap.states.iter_rows(named=True)}
    gaps: dict[str, list[str]] = {}
    for source, state in snap.gaps.select("source", "state").iter_rows():
        gaps.setdefault(source, []).append(state)
    return [_feed(snap, feed, states.get(feed.source), gaps.get(feed.source, [])) for feed in snap.feeds]


WELL = ("", "ok", "idle")
"""What a source's last fetch says when nothing is wrong; `idle` is a market that is shut."""


def _feed(snap: Snapshot, feed: Feed, state: dict[str, Any] | None, gaps: list[str]) -> dict[str, Any]:
    waiting = sum(s in ("open", "healing") for s in gaps)
    late = not feed.closed and feed.worst_lag_s is not None and feed.worst_lag_s > snap.options.limits.stale_s
    told = str(state["state"]) if state else ""
    if late:
        tone, word = "critical", "stale"
    elif waiting or told not in WELL:
        tone, word = "high", "gap open" if told in WELL else told
    elif feed.closed:
        tone, word = "info", "closed"
    else:
        tone, word = "ok", "ok"
    return {
        "source": feed.source,
        "series": feed.series,
        "calendar": feed.calendar,
        "data_to": feed.data_to,
        "age_s": None if feed.closed or feed.data_to is None else (snap.at - feed.data_to).total_seconds(),
        "closed": feed.closed,
        "opens_at": feed.opens_at,
        "worst": feed.worst,
        "lag_s": feed.worst_lag_s,
        "gaps": len(gaps),
        "waiting": waiting,
        "healed": sum(s == "healed" for s in gaps),
        "tone": tone,
        "word": word,
        "reason": state["reason"] if state else None,
    }


def run_summary(runs: pl.DataFrame) -> dict[str, Any]:
    """Counts over the runs given, whatever their flow; median and 95th percentile of the minute's run time."""
    minute = runs.filter(pl.col("flow") == "minute")
    rows = runs.to_dicts()
    timed = minute if minute.height else runs
    took = sorted(_took(row) for row in timed.iter_rows(named=True) if row["finished_at"])
    states = [str(row["state"]).lower() for row in rows]
    completed, failed = sum(s in GOOD for s in states), sum(s in BAD for s in states)
    return {
        "total": len(rows),
        "completed": completed,
        "failed": failed,
        "running": len(rows) - completed - failed,
        "word": f"{failed} failed" if failed else "all completed" if rows else "none yet",
        "median_s": statistics.median(took) if took else None,
        "p95_s": took[min(len(took) - 1, int(len(took) * 0.95))] if took else None,
        "rows": sum(row["rows_loaded"] or 0 for row in rows),
        "quarantined": sum(row["rows_quarantined"] or 0 for row in rows),
        "cpu_s": sum(row["cpu_s"] or 0.0 for row in rows),
    }


def bar_strip(runs: pl.DataFrame, most: int = 90) -> list[dict[str, Any]]:
    """The newest runs of the minute as bars, oldest first; height is the run time, failed ones are hatched."""
    minute = runs.filter(pl.col("flow") == "minute")
    rows = (minute if minute.height else runs).head(most).reverse().to_dicts()
    longest = max((_took(row) for row in rows if row["finished_at"]), default=1.0) or 1.0
    return [_bar(row, longest) for row in rows]


def _bar(row: dict[str, Any], longest: float) -> dict[str, Any]:
    state = str(row["state"]).lower()
    took = _took(row) if row["finished_at"] else 0.0
    return {
        "height": max(8, round(100 * took / longest)) if state not in BAD else 100,
        "tone": "bad" if state in BAD else "" if state in GOOD else "run",
        "title": f"{row['started_at']:%H:%M:%S} {state}, {took:.1f} s, {row['rows_loaded'] or 0} rows",
        "run_id": row["run_id"],
    }


def _took(row: dict[str, Any]) -> float:
    return max(0.0, float((row["finished_at"] - row["started_at"]).total_seconds()))
