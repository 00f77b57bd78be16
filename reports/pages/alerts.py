"""Alerts: what is open, what was, what was sent and what could not be; one lasting page each."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.alerts.columns import WORDS
from pipelines.alerts.silences import silence_of, subjects_of
from pipelines.market import Series
from reports.pages.abnormal import evidence, subject_name, subject_path
from reports.pages.shell import Page, alert_path
from reports.snapshot import Row, Snapshot

NESTED = {"columns": "what the rule read"}
TOLD_ABOVE = ("worst", "end")


def index_page(snap: Snapshot) -> Page:
    rows = [alert_row(snap, alert) for alert in snap.alerts.iter_rows(named=True)]
    model = {
        "firing": [alert_row(snap, alert) for alert in snap.open_alerts],
        "pending": [row for row in rows if row["state"] == "pending"],
        "resolved": [row for row in rows if row["state"] == "resolved" and row["fired_at"]][:200],
        "deliveries": snap.deliveries.head(60).to_dicts(),
        "channels": snap.options.channels,
        "dead": snap.deliveries.filter(pl.col("state") == "dead").height,
        "rules": snap.options.rules,
        "silences": sorted(snap.options.silences, key=lambda one: one.ends_at),
    }
    return Page(
        "alerts/index.html",
        "alerts.html",
        "Alerts",
        model,
        data=(("JSON", "api/alerts.json"), ("Atom", "alerts/feed.xml")),
    )


def alert_page(snap: Snapshot, alert: Row) -> Page:
    row = alert_row(snap, alert)
    facts = evidence(alert)
    model = {
        "alert": row,
        "ended_with": (facts.get("end") or {}).get("value"),
        "facts": [
            (name.replace("_", " "), value)
            for name, value in facts.items()
            if not isinstance(value, dict | list) and value is not None
        ],
        "nested": [
            (NESTED.get(name, name.replace("_", " ")), _table(value))
            for name, value in facts.items()
            if isinstance(value, dict | list) and value and name not in TOLD_ABOVE
        ],
        "sql": str(facts["sql"]) if facts.get("sql") else _sql(alert, facts),
    }
    return Page(
        alert_path(alert["id"]),
        "alert.html",
        f"{row['rule']} on {row['name']}",
        model,
        section="alerts/index.html",
    )


def alert_row(snap: Snapshot, alert: Row) -> dict[str, Any]:
    key = Series(alert["source"] or "", alert["symbol"] or "")
    end = alert["resolved_at"] or snap.at
    names = [alert["id"], *subjects_of(alert["source"], alert["symbol"], alert["pair"])]
    quiet = silence_of(snap.options.silences, alert["rule"], names, snap.options.now)
    return alert | {
        "name": subject_name(snap, key, alert["pair"]),
        "path": subject_path(snap, key, alert["pair"]),
        "href": alert_path(alert["id"]),
        "lasted": None if not alert["fired_at"] else end - alert["fired_at"],
        "silence": quiet if alert["state"] != "resolved" else None,
        "unit": WORDS[column].unit if (column := str(evidence(alert).get("column"))) in WORDS else "",
        "evidence": None,
    }


def _table(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(str(name), inner) for name, inner in value.items()]
    return [(str(n + 1), inner) for n, inner in enumerate(value[:60])]


def _sql(alert: Row, facts: dict[str, Any]) -> str:
    """A query that shows the judged row, for people with a SQL shell."""
    if alert["pair"]:
        return (
            f"SELECT * FROM pair_stats WHERE pair = {_quoted(alert['pair'])} ORDER BY fitted_at DESC LIMIT 1"
        )
    where = f"source = {_quoted(alert['source'])} AND symbol = {_quoted(alert['symbol'])}"
    if facts.get("ts") and facts.get("interval"):
        return (
            "SELECT *\nFROM ohlcv JOIN indicators\n  USING (source, symbol, interval, ts)\n"
            f"WHERE {where}\n  AND interval = {_quoted(facts['interval'])} \n  AND ts = TIMESTAMP {_quoted(facts['ts'])}"
        )
    return f"SELECT * FROM alerts WHERE id = {_quoted(alert['id'])}"


def _quoted(text: Any) -> str:
    return "'" + str(text or "").replace("'", "''") + "'"
