"""The static site: reads the public views, writes what changed, tells readers last.

The minute rewrites what moves each minute; every few minutes also what moves slowly; the full render
everything, and it removes files whose subject is gone. Pages of alerts, days, symbols and pairs are
never removed: their addresses stay valid.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from html import unescape
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from pipelines.market import naive, utc
from reports import api, feed, metrics, render, series_files
from reports.options import SiteOptions
from reports.pages import (
    alerts,
    anomalies,
    cookbook,
    correlations,
    others,
    overview,
    pairs,
    quality,
    runs,
)
from reports.pages.shell import Page, alert_path, day_path, freshness, pair_slug
from reports.shelf import Shelf, one_render_at_a_time
from reports.snapshot import Snapshot, take
from warehouse import read
from warehouse.read import findings, operations

Scope = Literal["minute", "full"]
SLOW_EVERY = timedelta(minutes=5)
DAYS_STILL_OPEN = 2


@dataclass(frozen=True)
class Published:
    """What a render did; `took_ms` is wall time."""

    written: list[str]
    unchanged: int
    removed: int
    took_ms: float
    scope: str
    build: str


def publish(
    con: read.Connection, site_dir: Path | str, options: SiteOptions, scope: Scope = "minute"
) -> Published:
    """Brings the site in line with the warehouse.

    The first render, and the first after an upgrade, is a full one. Raises what the warehouse or the disk
    raises; the site then still shows the render before. Raises UnmadeError where single parts could not be made, after
    all others were.
    """
    started = time.perf_counter()
    folder = Path(site_dir)
    with one_render_at_a_time(folder):
        shelf = Shelf(folder, stamp=f"{naive(options.now):%Y-%m-%d %H:%M} UTC")
        if shelf.state.get("version") != render.version():
            scope = "full"
        slow = scope == "full" or bool(options.touched) or _slow_is_due(shelf, options)
        with read.one_snapshot(con):
            snap = take(con, options)
            snap.digests = [entry.name for entry in shelf.adopt("digests") if entry.name != "index.html"]
            snap.digest_titles = _titles(shelf, snap.digests)
            write_data(con, shelf, snap, slow=slow, everything=scope == "full")
            write_pages(con, shelf, snap, slow=slow, everything=scope == "full")
        if slow:  # outside: a query of the cookbook that fails would end the transaction
            _put(shelf, snap, "sql", cookbook.page, con)
            shelf.state["slow_at"] = utc(options.now).timestamp()
        removed = _remove_gone(shelf, snap) if scope == "full" else 0
        shelf.state["version"] = render.version()
        build, pulse = _pulse(shelf, snap)
        shelf.close(pulse)
    shelf.refuse()
    took = (time.perf_counter() - started) * 1000
    return Published(shelf.written, shelf.unchanged, removed, took, scope, build)


def _titles(shelf: Shelf, names: list[str]) -> dict[str, str]:
    """What each digest says in its title; read once."""
    known: dict[str, str] = shelf.state.get("digest_titles", {})
    found = {}
    for name in [name for name in names if name.endswith(".html")]:
        found[name] = known[name] if name in known else _title(shelf.folder / "digests" / name)
    shelf.state["digest_titles"] = found
    return found


def _title(path: Path) -> str:
    head = path.read_text(errors="replace")[:4000]
    said = re.search(r"<title>(.*?)</title>", head, re.DOTALL)
    return unescape(said[1]).strip() if said else ""


def _slow_is_due(shelf: Shelf, options: SiteOptions) -> bool:
    last = float(shelf.state.get("slow_at", 0))
    return abs(utc(options.now).timestamp() - last) >= SLOW_EVERY.total_seconds()


def write_data(con: read.Connection, shelf: Shelf, snap: Snapshot, *, slow: bool, everything: bool) -> None:
    """Chart columns, API files, feed and metrics; for a large universe the minute writes only the tails."""
    if everything:
        for path, body in render.assets().items():
            shelf.put(path, body)
    series_files.write_tails(shelf, snap)
    if slow:
        series_files.write_days(con, shelf, snap)
        series_files.write_windows(con, shelf, snap, everything=everything and snap.is_small)
        shelf.put(*api.symbols(snap.series))
        for (interval,), rows in snap.correlations.group_by("interval", maintain_order=True):
            shelf.put(*api.correlation(str(interval), rows))
    if everything or snap.is_small:
        series_files.write_api(con, shelf, snap)
    if everything or (slow and snap.is_small):
        series_files.write_stats(shelf, snap)
    with shelf.going_on("api/alerts.json"):
        shelf.put(*api.alerts(snap.alerts, str(snap.at - timedelta(days=7))))
    with shelf.going_on("alerts/feed.xml"):
        shelf.put("alerts/feed.xml", feed.atom(snap))
    with shelf.going_on("metrics.prom"):
        shelf.put("metrics.prom", metrics.prometheus(snap))
    with shelf.going_on("api/status.json"):
        shelf.put("api/status.json", orjson.dumps(dict(snap.options.collection)))


def write_pages(con: read.Connection, shelf: Shelf, snap: Snapshot, *, slow: bool, everything: bool) -> None:
    """The pages, those that move each minute first."""
    _put(shelf, snap, "overview", overview.page)
    _put(shelf, snap, "runs", runs.page)
    _put(shelf, snap, "alerts", alerts.index_page)
    _put(shelf, snap, "pairs", pairs.index_page)
    _alert_pages(shelf, snap, everything=everything)
    if slow or "grave" not in shelf.state:
        older = findings.grave_anomalies(con, snap.at - timedelta(days=1))
        shelf.state["grave"] = anomalies.gravest(older, snap.at)
    _anomaly_pages(con, shelf, snap, everything=everything)
    if everything or slow or snap.is_small:
        series_files.write_pages(shelf, snap)
        _pair_pages(con, shelf, snap)
    if everything or snap.options.touched:
        series_files.write_quiet(con, shelf, snap, None if everything else snap.options.touched)
    if slow:
        _slow_pages(con, shelf, snap)


def _slow_pages(con: read.Connection, shelf: Shelf, snap: Snapshot) -> None:
    covered = operations.coverage(con, (snap.at - timedelta(days=3)).date())
    refused = operations.quarantine(con, snap.at - timedelta(days=7))
    _put(shelf, snap, "quality", quality.page, covered, refused)
    _put(shelf, snap, "correlations", correlations.page)
    _put(shelf, snap, "digests", others.digests_page)
    _put(shelf, snap, "backtests", others.backtests_page)
    _put(shelf, snap, "methods", others.methods_page)
    _catalogue(con, shelf, snap)


def _put(shelf: Shelf, snap: Snapshot, part: str, make: Callable[..., Page], *facts: Any) -> bool:
    """The page that `make` gives for these facts; False where it could not be made."""
    with shelf.going_on(part):
        page = make(snap, *facts)
        shelf.put(page.path, render.html(page, snap))
    return part not in shelf.unmade


def _alert_pages(shelf: Shelf, snap: Snapshot, *, everything: bool) -> None:
    """Pages of alerts that are open or ended within the hour; all that are missing."""
    fresh = snap.at - timedelta(hours=1)
    for alert in snap.alerts.iter_rows(named=True):
        page_is_due = everything or alert["state"] != "resolved" or (alert["resolved_at"] or fresh) >= fresh
        if alert["fired_at"] and (page_is_due or alert_path(alert["id"]) not in shelf):
            _put(shelf, snap, f"alert {alert['id']}", alerts.alert_page, alert)


def _anomaly_pages(con: read.Connection, shelf: Shelf, snap: Snapshot, *, everything: bool) -> None:
    """The list, the pages of the days still open, any day that has none yet or to which history has added."""
    days = _days(con, shelf, snap, everything=everything or bool(snap.options.touched))
    _put(shelf, snap, "anomalies", anomalies.index_page, days, shelf.state["grave"])
    for day, count in ((row["day"], row["anomalies"]) for row in days):
        path = day_path(day)
        written = shelf.state.setdefault("day_pages", {}).get(path)
        start = overview.midnight(day)
        is_open = (snap.at.date() - day).days < DAYS_STILL_OPEN
        if is_open:  # the snapshot reaches two days back
            mine = snap.anomalies.filter(
                pl.col("ts").is_between(start, start + timedelta(days=1), closed="left")
            )
        elif path not in shelf or (written and written[0] != count):
            mine = findings.anomalies(con, start, start + timedelta(days=1))
        else:
            continue
        facts = [
            mine.height,
            str(mine["known_at"].max()),
            snap.at.date() > day,
            snap.alerts.height,
            render.version(),
        ]
        if written != facts or path not in shelf:
            made = _put(shelf, snap, f"anomalies of {day}", anomalies.day_page, day, mine, snap.alerts)
            shelf.state["day_pages"][path] = facts if made else None


def _days(con: read.Connection, shelf: Shelf, snap: Snapshot, *, everything: bool) -> list[dict[str, Any]]:
    """Days with anomalies, newest first: counted anew by the full render, else remembered plus the open ones."""
    if everything or "anomaly_days" not in shelf.state:
        days = findings.anomaly_days(con).to_dicts()
    else:
        first = overview.midnight(snap.at.date()) - timedelta(days=DAYS_STILL_OPEN - 1)
        counted = (
            snap.anomalies.filter(pl.col("ts") >= first)
            .group_by(pl.col("ts").dt.date().alias("day"))
            .agg(
                pl.len().alias("anomalies"),
                (pl.col("severity") == "critical").sum().alias("critical"),
                (pl.col("severity") == "high").sum().alias("high"),
                pl.col("symbol").n_unique().alias("symbols"),
            )
            .to_dicts()
        )
        known = [row | {"day": date.fromisoformat(row["day"])} for row in shelf.state["anomaly_days"]]
        days = counted + [row for row in known if row["day"] not in {r["day"] for r in counted}]
    days.sort(key=lambda row: row["day"], reverse=True)
    shelf.state["anomaly_days"] = [row | {"day": row["day"].isoformat()} for row in days]
    return days


def _pair_pages(con: read.Connection, shelf: Shelf, snap: Snapshot) -> None:
    """Pages, data and API of the pairs, most stretched and best fitted first, as many as are shown."""
    shown = snap.newest_fits[: snap.options.max_pairs]
    tails = series_files.pair_tails(con, snap, shown)
    for fit in shown:
        tail = tails.get((fit["pair"], fit["interval"]))
        if tail is None:
            tail = pl.DataFrame(schema=series_files.PAIR_SCHEMA)
        _put(shelf, snap, fit["pair"], pairs.pair_page, fit, tail)
        with shelf.going_on(f"files of {fit['pair']}"):
            series_files.write_pair(shelf, snap, fit, tail)


def _catalogue(con: read.Connection, shelf: Shelf, snap: Snapshot) -> None:
    views = {point.view: read.columns(con, point.view) for point in api.ENDPOINTS if point.view}
    views["series"] = [c for c in views["series"] if c[0] in ("source", "symbol", "calendar")]
    pair_slugs = [pair_slug(fit) for fit in snap.newest_fits[: snap.options.max_pairs]]
    catalogue = api.catalogue(
        views, [key.slug for key in snap.keys], pair_slugs, list(snap.options.intervals)
    )
    shelf.put("api/index.json", orjson.dumps(catalogue, option=orjson.OPT_INDENT_2))
    facts = {
        "c": catalogue,
        "first": snap.keys[0].slug if snap.keys else "",
        "series": _series_links(shelf, snap),
    }
    _put(shelf, snap, "api", lambda _: Page("api/index.html", "api.html", "Files", facts, live=False))


def _series_links(shelf: Shelf, snap: Snapshot) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each series' API files that exist: (slug, [(label, path below api/)])."""
    kinds = [
        ("latest", "latest/{}.json"),
        ("ticks", "ticks/{}.json"),
        ("indicators", "indicators/{}.json"),
        ("stats", "stats/{}.json"),
        ("alerts", "alerts/{}.json"),
    ]
    kinds += [
        (f"{i}{end}", f"ohlc/{{}}/{i}{end or '.json'}")
        for i in snap.options.intervals
        for end in ("", ".csv", ".parquet")
    ]
    links = {key.slug: [(label, path.format(key.slug)) for label, path in kinds] for key in snap.keys}
    return [
        (slug, [(label, path) for label, path in files if f"api/{path}" in shelf.files])
        for slug, files in links.items()
    ]


def _remove_gone(shelf: Shelf, snap: Snapshot) -> int:
    """Data and API files of series, pairs and intervals that are no more; never a page."""
    names: set[str | None] = (
        {None} | {key.slug for key in snap.keys} | {pair_slug(fit) for fit in snap.newest_fits}
    )
    gone = [path for path in shelf.files if _subject(path) not in names]
    shelf.sweep()
    return shelf.drop(gone)


def _subject(path: str) -> str | None:
    """The series or pair a data or API file is of; None for all other files."""
    parts = path.split("/")
    of_one = parts[:2] in (["data", "symbols"], ["data", "pairs"]) or (parts[0] == "api" and len(parts) > 2)
    if not of_one or parts[1] == "correlation":
        return None
    endings = (".series.csv", ".robust.json", ".json", ".js")
    return next((parts[2].removesuffix(end) for end in endings if parts[2].endswith(end)), parts[2])


def _pulse(shelf: Shelf, snap: Snapshot) -> tuple[str, list[tuple[str, bytes]]]:
    """The build's name, and the two files that tell of it: `api/pulse.json` and, for file://, `latest.js`."""
    rendered = utc(snap.options.now).timestamp()
    pulse: dict[str, Any] = {
        "build": f"{rendered:.3f}",
        "rendered_at": rendered,
        "rendered_text": overview.rendered(snap),
        "market_now": utc(snap.at).timestamp(),
        "simulated": snap.options.simulated,
        "run_id": snap.options.run_id,
        "sources": freshness(snap.feeds),
        "counts": {
            "series": snap.series.height,
            "pairs": len(snap.watched_fits),
            "alerts_firing": len(snap.open_alerts),
            "anomalies_24h": snap.anomalies.filter(pl.col("ts") >= snap.at - timedelta(days=1)).height,
        },
    }
    pages = [path for path in shelf.keys if path.endswith(".html") and len(shelf.keys[path]) == 2]
    if len(pages) <= 400:
        pulse["keys"] = {
            path: shelf.key(path)
            for path in pages
            if path.count("/") < 1 or path.endswith("/index.html") or path.startswith(("symbols/", "pairs/"))
        }
    return pulse["build"], [
        ("api/pulse.json", orjson.dumps(pulse)),
        ("latest.js", b"TW.pulse(" + orjson.dumps(pulse) + b");\n"),
    ]
