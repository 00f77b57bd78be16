"""Alerts: what is open, what was, what was sent and what could not be; one lasting page each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pipelines.alerts.columns import WORDS
from pipelines.alerts.episodes import begun
from pipelines.alerts.grouping import ESCALATION
from pipelines.alerts.silences import silence_of, subjects_of
from pipelines.market import Series, utc
from reports.notify.message import Site
from reports.notify.wording import Line, alert_line
from reports.pages.abnormal import evidence, kind_of, subject_name, subject_path
from reports.pages.evidence import in_words
from reports.pages.shapes import spark
from reports.pages.shell import Page, alert_path
from reports.snapshot import Row, Snapshot
from reports.text import KIND_NAMES, NONE, kind_name

AROUND = timedelta(hours=1)
MOST_MINUTES = 360
TRAIL_WIDTH, TRAIL_HEIGHT = 640, 96


def index_page(snap: Snapshot) -> Page:
    rows = [alert_row(snap, alert) for alert in snap.alerts.iter_rows(named=True)]
    model = {
        "firing": [alert_row(snap, alert) for alert in snap.open_alerts],
        "pending": [row for row in rows if row["state"] == "pending"],
        "resolved": [row for row in rows if row["state"] == "resolved" and row["fired_at"]][:200],
        "deliveries": [
            row | {"group": group_name(row["group_key"])} for row in snap.deliveries.head(60).to_dicts()
        ],
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
    """Lasts: first the sentence of its message, then what there is to see, then what it was judged by."""
    row = alert_row(snap, alert)
    facts = evidence(alert)
    model = {
        "alert": row,
        "line": told(alert, facts, snap.at),
        "at": snap.at,
        "trail": trail(snap, row),
        "condition": facts.get("expression"),
        "ended_with": (facts.get("end") or {}).get("value"),
        "evidence": in_words(facts),
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
    facts = evidence(alert)
    kind, column = kind_of(alert, facts), str(facts.get("column"))
    window = alert["interval"] or ""
    since = begun(alert["started_at"], window)
    return alert | {
        "kind": kind,
        "what": f"{kind_name(kind) if kind in KIND_NAMES else alert['rule']} {window}".strip(),
        "window": window,
        "width_s": (alert["started_at"] - since).total_seconds(),
        "since": since,
        "name": subject_name(snap, key, alert["pair"]),
        "path": subject_path(snap, key, alert["pair"]),
        "href": alert_path(alert["id"]),
        "lasted": None if not alert["fired_at"] else end - alert["fired_at"],
        "silence": quiet if alert["state"] != "resolved" else None,
        "unit": WORDS[column].unit if column in WORDS else "",
        "evidence": None,
    }


def told(alert: Row, facts: dict[str, Any], today: datetime) -> Line:
    """The alert in the words of its message, as it fired, whatever has become of it since."""
    times = {name: utc(value).isoformat() for name, value in alert.items() if isinstance(value, datetime)}
    as_fired = {"state": "firing", "evidence": facts}
    return alert_line({**alert, **times, **as_fired}, Site(), today)


def trail(snap: Snapshot, row: dict[str, Any]) -> dict[str, Any] | None:
    """The minutes around an alert as a line: closes, or volumes where it is about these; None without two of them.

    From an hour before it began to half an hour after its end; `from_x` and `to_x` are where it was on.
    """
    bars = snap.bars.get(Series(row["source"] or "", row["symbol"] or ""))
    if bars is None:
        return None
    since, until = row["since"], row["resolved_at"] or snap.at
    begin, end = (bars["ts"].search_sorted(moment) for moment in (since - AROUND, until + AROUND / 2))
    shown = bars[begin:end].tail(MOST_MINUTES)
    of = "volume" if row["kind"] == "volume" else "close"
    line = spark(shown[of].to_list(), TRAIL_WIDTH, TRAIL_HEIGHT)
    if line is None or shown["ts"][0] > since:
        return None
    first, last = shown["ts"][0], shown["ts"][-1]
    # The line has a step a bar, whatever time a closed exchange leaves between two.
    at = [
        (shown["ts"] < moment).sum() / (shown.height - 1) * TRAIL_WIDTH
        for moment in (since, min(until, last))
    ]
    return {
        "path": line["path"], "width": TRAIL_WIDTH, "height": TRAIL_HEIGHT, "of": of, "first": first, "last": last,
        "low": shown[of].min(), "high": shown[of].max(), "from_x": round(at[0], 1), "to_x": round(max(at[1], at[0] + 2), 1),
    }  # fmt: skip


def group_name(key: str | None) -> str:
    """The group of a message in words: `Binance, high`; `Digest`."""
    if not key:
        return NONE
    market, _, severity = key.removeprefix(ESCALATION).partition("|")
    name = "Pairs over two venues" if market == "cross" else market.replace("_", " ").capitalize()
    waits = "not acknowledged" if key.startswith(ESCALATION) else ""
    return ", ".join(part for part in (name, severity, waits) if part)


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
