"""What is abnormal now, and what happened since the last digest."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl

from pipelines.alerts.columns import ANOMALY_OF
from pipelines.alerts.episodes import begun
from pipelines.alerts.silences import silence_of, subjects_of
from pipelines.market import Series, naive
from reports.pages.shapes import spark
from reports.pages.shell import alert_path, day_path, pair_slug, symbol_path
from reports.snapshot import Row, Snapshot
from reports.text import (
    KIND_NAMES,
    NONE,
    UNITS,
    figure,
    gap_extent,
    kind_name,
    probability,
    quantity,
    signed,
    times,
    usual,
    usual_of,
)

PATIENCE = timedelta(minutes=5)
"""How long after its bar an anomaly is still on: until the next bar is judged, a venue's delay included."""
MOST_PAIR_EVENTS = 2


def abnormal(snap: Snapshot) -> list[dict[str, Any]]:
    """Firing alerts, then anomalies that are still on and of which no alert tells; one row a subject and kind.

    The gravest first. An anomaly that an alert told, and that ended with it, is over.
    """
    rows = [_from_alert(snap, alert) for alert in snap.open_alerts]
    told = _told(snap)
    seen = set()
    for anomaly in _still_on(snap).iter_rows(named=True):
        is_pair = anomaly["symbol"] in snap.pair_names
        thing = ("" if is_pair else anomaly["source"], anomaly["symbol"], anomaly["kind"])
        if thing not in seen and (thing not in told or anomaly["ts"] >= told[thing]):
            rows.append(_from_anomaly(snap, anomaly))
            seen.add(thing)
    rank = {"critical": 0, "high": 1, "medium": 2, "info": 3}
    return sorted(rows, key=lambda r: (rank.get(r["severity"], 9), -abs(r["strength"] or 0)))


def _told(snap: Snapshot) -> dict[tuple[str, str | None, str], datetime]:
    """(source, or "" of a pair; symbol or pair; kind) -> up to when its alerts tell of it: to now while one fires."""
    told: dict[tuple[str, str | None, str], datetime] = {}
    for alert in snap.alerts.filter(pl.col("fired_at").is_not_null()).iter_rows(named=True):
        thing = ("" if alert["pair"] else alert["source"], alert["pair"] or alert["symbol"], kind_of(alert))
        until = alert["resolved_at"] if alert["state"] == "resolved" else snap.at + PATIENCE
        told[thing] = max(until, told.get(thing, until))
    return told


def _still_on(snap: Snapshot) -> pl.DataFrame:
    """The anomalies of the bars that are the newest of their width, newest first."""
    widths = pl.col("interval").replace_strict(
        snap.options.widths, default=timedelta(minutes=1), return_dtype=pl.Duration("us")
    )
    until = pl.col("ts") + widths + pl.max_horizontal(widths, pl.lit(PATIENCE))
    return snap.watched_anomalies.filter(until >= snap.at).sort("ts", descending=True, maintain_order=True)


def kind_of(alert: Row, facts: dict[str, Any] | None = None) -> str:
    """The kind of anomaly that an alert is about: of the column its rule reads; the column where there is none.

    facts: its evidence, where that has been read already.
    """
    column = str((evidence(alert) if facts is None else facts).get("column") or alert["rule"] or "")
    return ANOMALY_OF.get(column, column)


def evidence(alert: Row) -> dict[str, Any]:
    """An alert's evidence as a mapping; empty where there is none or it is not JSON."""
    try:
        found = orjson.loads(alert["evidence"] or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _from_alert(snap: Snapshot, alert: Row) -> dict[str, Any]:
    facts = evidence(alert)
    kind = kind_of(alert, facts)
    key = Series(alert["source"] or "", alert["symbol"] or "")
    baseline = facts.get("baseline") or {}
    observed = baseline.get("observed", alert["value"])
    names = [alert["id"], *subjects_of(alert["source"], alert["symbol"], alert["pair"])]
    return {
        "severity": alert["severity"],
        "source": key.source,
        "symbol": key.symbol,
        "pair": alert["pair"],
        "name": subject_name(snap, key, alert["pair"]),
        "path": subject_path(snap, key, alert["pair"]),
        "what": f"{kind_name(kind) if kind in KIND_NAMES else alert['rule']} {alert['interval'] or ''}".strip(),
        "rule": alert["rule"],
        "href": alert_path(alert["id"]),
        "column": kind,
        "value": observed,
        "baseline": baseline.get("value"),
        "shown": quantity(observed, kind),
        "usual": usual(kind, baseline["value"]) if baseline else _limit(kind, alert["threshold"]),
        "measure": quantity(alert["value"], kind) if kind == "volatility" else _measure(kind, alert["value"]),
        "strength": _strength(kind, alert["value"], alert["threshold"]),
        "since": begun(alert["started_at"], alert["interval"]),
        "acked": alert["acked_at"] is not None,
        "silence": silence_of(snap.options.silences, alert["rule"], names, snap.options.now),
        "is_alert": True,
    }


def _from_anomaly(snap: Snapshot, anomaly: Row) -> dict[str, Any]:
    key = Series(anomaly["source"] or "", anomaly["symbol"] or "")
    size = anomaly["ratio"] if anomaly["kind"] in ("volume", "volatility") else anomaly["zscore"]
    return {
        "severity": anomaly["severity"],
        "source": key.source,
        "symbol": key.symbol,
        "pair": None,
        "name": anomaly_name(snap, key),
        "path": subject_path(snap, key, None),
        "what": f"{kind_name(anomaly['kind'])} {anomaly['interval'] or ''}".strip(),
        "rule": None,
        "href": f"{day_path(anomaly['ts'].date())}#{anomaly['id']}",
        "column": anomaly["kind"],
        "value": anomaly["value"],
        "baseline": anomaly["baseline"],
        "shown": quantity(anomaly["value"], anomaly["kind"]),
        "usual": usual_of(anomaly),
        "measure": _measure(anomaly["kind"], size if size is not None else anomaly["value"]),
        "strength": size,
        "since": anomaly["ts"],
        "acked": False,
        "silence": None,
        "is_alert": False,
    }


def subject_name(snap: Snapshot, key: Series, pair: str | None) -> str:
    """A pair by the symbols of its legs, a symbol, or the source."""
    legs = snap.pair_names.get(pair) if pair else None
    return legs or pair or key.symbol or key.source


def anomaly_name(snap: Snapshot, key: Series) -> str:
    """As `subject_name`, of an anomaly: a pair stands as its symbol there."""
    return subject_name(snap, key, key.symbol if key.symbol in snap.pair_names else None)


def subject_path(snap: Snapshot, key: Series, pair: str | None) -> str:
    """The page of an alert's or anomaly's subject; the data quality page for a whole feed."""
    name = pair or key.symbol
    for fit in snap.newest_fits:
        if name and fit["pair"] == name:
            return f"pairs/{pair_slug(fit)}.html"
    return symbol_path(key) if key in snap.calendars else "quality/index.html"


def _limit(kind: str, threshold: float | None) -> str:
    """What a rule allows; a limit of 0 (any gap at all) says nothing."""
    return f"limit {quantity(threshold, kind)}" if threshold else NONE


def _measure(kind: str, value: float | None) -> str:
    if kind in UNITS:
        return quantity(value, kind)
    if kind in ("volume", "volatility"):
        return times(value)
    if kind == "price_spike":
        return f"{'+' if value > 0 else ''}{figure(value, 1)} %" if value is not None else NONE
    if kind in ("spread", "corr_break"):
        return f"z {signed(value, 1)}"
    return figure(value, 1)


def _strength(kind: str, value: float | None, threshold: float | None) -> float | None:
    return None if value is None else abs(value) / abs(threshold) if threshold else abs(value)


def with_sparks(snap: Snapshot, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the last two hours of their series."""
    tails = [snap.tails.get(Series(row["source"], row["symbol"])) for row in rows]
    lines = [None if tail is None else spark(tail.values["close"][-120:].tolist()) for tail in tails]
    return [row | {"spark": line} for row, line in zip(rows, lines, strict=True)]


def last_digest(snap: Snapshot) -> datetime | None:
    """When the last digest went out: told by the caller, else read off the newest file's name; None: never yet."""
    if snap.options.last_digest:
        return naive(snap.options.last_digest)
    for name in snap.digests:
        found = re.search(r"(\d{4})-?(\d{2})-?(\d{2})[T_ -]?(\d{2})[:-]?(\d{2})", name)
        if found:
            return datetime(*(int(part) for part in found.groups()), tzinfo=UTC).replace(tzinfo=None)  # type: ignore[misc,arg-type]
    return None


def since(snap: Snapshot, start: datetime, most: int = 8) -> list[dict[str, Any]]:
    """Events since a time, newest first: alerts, cointegration gained or lost, gaps, failed runs."""
    events = [
        *_alert_events(snap, start),
        *_pair_events(snap, start),
        *_gap_events(snap, start),
        *_run_events(snap, start),
    ]
    return sorted(events, key=lambda e: e["at"], reverse=True)[:most]


def _event(at: datetime, who: str, text: str, tone: str, href: str) -> dict[str, Any]:
    return {"at": at, "who": who, "text": text, "tone": tone, "href": href}


def _alert_events(snap: Snapshot, start: datetime) -> list[dict[str, Any]]:
    events = []
    for alert in snap.alerts.iter_rows(named=True):
        key = Series(alert["source"] or "", alert["symbol"] or "")
        who = subject_name(snap, key, alert["pair"])
        href = alert_path(alert["id"])
        if alert["fired_at"] and alert["fired_at"] >= start:
            events.append(
                _event(
                    alert["fired_at"], who, f"{alert['rule']}: {alert['severity']}", alert["severity"], href
                )
            )
        if alert["fired_at"] and alert["resolved_at"] and alert["resolved_at"] >= start:
            events.append(_event(alert["resolved_at"], who, f"{alert['rule']}: resolved", "ok", href))
    return events


def _pair_events(snap: Snapshot, start: datetime) -> list[dict[str, Any]]:
    """Pairs whose verdict differs between the two newest fits."""
    if not snap.fits.height:
        return []
    before = {
        (f["pair"], f["interval"]): f for f in snap.fits.filter(pl.col("age") == 2).iter_rows(named=True)
    }
    events = []
    for fit in snap.newest_fits:
        old = before.get((fit["pair"], fit["interval"]))
        if not old or fit["fitted_at"] < start or None in (old["is_cointegrated"], fit["is_cointegrated"]):
            continue
        if old["is_cointegrated"] != fit["is_cointegrated"]:
            word = "became cointegrated" if fit["is_cointegrated"] else "lost cointegration"
            text = f"{word} (p {probability(old['p_max'])} → {probability(fit['p_max'])})"
            name = f"{fit['symbol_y']} / {fit['symbol_x']}"
            events.append(_event(fit["fitted_at"], name, text, "medium", f"pairs/{pair_slug(fit)}.html"))
    if len(events) <= MOST_PAIR_EVENTS:
        return events
    newest = max(event["at"] for event in events)
    return [_event(newest, f"{len(events)} pairs", "changed their verdict", "medium", "pairs/index.html")]


def _gap_events(snap: Snapshot, start: datetime) -> list[dict[str, Any]]:
    return [
        _event(
            g["healed_at"] or g["detected_at"],
            g["symbol"],
            f"gap of {gap_extent(g)} {g['state']}",
            "ok" if g["state"] == "healed" else "high",
            "quality/index.html",
        )
        for g in snap.gaps.iter_rows(named=True)
        if (g["healed_at"] or g["detected_at"]) and (g["healed_at"] or g["detected_at"]) >= start
    ]


def _run_events(snap: Snapshot, start: datetime) -> list[dict[str, Any]]:
    bad = snap.runs.filter(pl.col("state").str.to_lowercase().is_in(["failed", "crashed"]))
    return [
        _event(r["started_at"], str(r["flow"]), f"run {str(r['state']).lower()}", "high", "runs/index.html")
        for r in bad.iter_rows(named=True)
        if r["started_at"] >= start
    ]
