"""All anomalies: the last day as a list, and one frozen page for each day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from pipelines.alerts.episodes import episodes
from pipelines.market import Series
from reports.pages.abnormal import anomaly_name, subject_path
from reports.pages.shell import Page, day_path
from reports.pages.spells import spells
from reports.pages.symbols import anomaly_row
from reports.pages.timeline import timeline
from reports.snapshot import Snapshot
from reports.text import kind_name

MOST_ROWS = 2000
MOST_GRAVE = 15
MOST_SPELLS = 200


def gravest(anomalies: pl.DataFrame, until: datetime) -> list[dict[str, Any]]:
    """The worst critical and high spells before today as JSON-ready rows: what history held."""
    found = episodes(anomalies, until, worst_first=True).head(MOST_GRAVE)
    return [
        row
        | {
            "what": f"{kind_name(row['kind'])} {row['interval'] or ''}".strip(),
            "href": f"{day_path(row['worst_ts'].date())}#{row['worst_id']}",
        }
        | {name: row[name].isoformat() for name in ("since", "last", "ends", "worst_ts")}
        for row in found.iter_rows(named=True)
    ]


def index_page(snap: Snapshot, days: list[dict[str, Any]], grave: list[dict[str, Any]]) -> Page:
    start = snap.at - timedelta(days=1)
    recent = snap.anomalies.filter(pl.col("ts") >= start)
    found = spells(recent, snap.options.widths)
    quarter = start.replace(minute=start.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15)
    model = {
        "rows": [_spell(snap, row) for row in found[:MOST_SPELLS]],
        "spells": len(found),
        "total": recent.height,
        "timeline": timeline(snap.anomalies, snap.alerts, quarter, most=24, quiet=snap.bars),
        "by_kind": _by_kind(recent),
        "grave": [
            _spell(snap, row) | {name: datetime.fromisoformat(row[name]) for name in ("since", "worst_ts")}
            for row in grave
        ],
        "days": [day | {"path": day_path(day["day"])} for day in days],
    }
    return Page(
        "anomalies/index.html", "anomalies.html", "Anomalies", model, data=(("feed", "alerts/feed.xml"),)
    )


def day_page(snap: Snapshot, day: date, anomalies: pl.DataFrame, alerts: pl.DataFrame) -> Page:
    """A day's anomalies at an address that stays; once the day is over it is not written again."""
    start = datetime.combine(day, datetime.min.time())
    model = {
        "day": day,
        "rows": [_row(snap, a) for a in anomalies.head(MOST_ROWS).iter_rows(named=True)],
        "total": anomalies.height,
        "timeline": timeline(anomalies, alerts, start, most=24),
        "by_kind": _by_kind(anomalies),
        "before": day_path(day - timedelta(days=1)),
        "after": day_path(day + timedelta(days=1)),
        "is_over": snap.at.date() > day,
    }
    return Page(
        day_path(day),
        "anomaly_day.html",
        f"Anomalies of {day}",
        model,
        section="anomalies/index.html",
        live=False,
    )


def _row(snap: Snapshot, anomaly: dict[str, Any]) -> dict[str, Any]:
    key = Series(anomaly["source"] or "", anomaly["symbol"] or "")
    return anomaly_row(anomaly) | {"path": subject_path(snap, key, None), "name": anomaly_name(snap, key)}


def _spell(snap: Snapshot, spell: dict[str, Any]) -> dict[str, Any]:
    key = Series(spell["source"] or "", spell["symbol"] or "")
    return spell | {"path": subject_path(snap, key, None), "name": anomaly_name(snap, key)}


def _by_kind(anomalies: pl.DataFrame) -> list[dict[str, Any]]:
    return (
        anomalies.group_by("kind")
        .agg(
            pl.len().alias("n"),
            (pl.col("severity") == "critical").sum().alias("critical"),
            (pl.col("severity") == "high").sum().alias("high"),
            pl.col("symbol").n_unique().alias("symbols"),
        )
        .sort("n", descending=True)
        .to_dicts()
    )
