"""The overview: what is abnormal, what changed, what moved, whether the data can be trusted."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from pipelines.market import naive
from reports.pages.abnormal import abnormal, last_digest, since, with_sparks
from reports.pages.health import bar_strip, feed_rows, newest_checks, run_summary
from reports.pages.matrix import matrix
from reports.pages.movers import movers
from reports.pages.shapes import gauge
from reports.pages.shell import Page, pair_slug
from reports.pages.timeline import timeline
from reports.snapshot import Snapshot


def page(snap: Snapshot) -> Page:
    start = snap.at - timedelta(days=1)
    digest = last_digest(snap)
    since_when = digest or snap.at - timedelta(days=1)
    found, fits = abnormal(snap), snap.watched_fits
    checks = newest_checks(snap.quality)
    model = {
        "abnormal": with_sparks(snap, found[:10]),
        "abnormal_more": max(0, len(found) - 10),
        "cards": cards(snap, found, checks),
        "since": since(snap, since_when),
        "digest": digest,
        "digest_ago": snap.at - since_when,
        "at": snap.at,
        "movers": [row for row in movers(snap) if row["key"] in snap.watched][:10],
        "symbols": len(snap.watched),
        "only_history": snap.series.height > 0 and not snap.bars,
        "pairs": [pair_row(fit) for fit in fits[:10]],
        "pair_count": len(fits),
        "timeline": timeline(
            snap.watched_anomalies,
            snap.alerts,
            _quarter(start),
            quiet=[key for key in snap.bars if key in snap.watched],
        ),
        "anomaly_count": snap.watched_anomalies.filter(pl.col("ts") >= start).height,
        "matrix": matrix(default_correlations(_of_watched(snap)), 9),
        "feeds": feed_rows(snap, checks),
        "strip": bar_strip(snap.runs),
        "runs": run_summary(snap.runs),
        "prefect_url": snap.options.prefect_url,
    }
    return Page(
        "index.html",
        "overview.html",
        "Overview",
        model,
        data=(("JSON", "api/pulse.json"), ("feed", "alerts/feed.xml")),
    )


def _of_watched(snap: Snapshot) -> pl.DataFrame:
    """Correlations between watched series; a leg is named `binance:BTCUSDT`."""
    names = [str(key) for key in snap.watched]
    return snap.correlations.filter(pl.col("symbol_a").is_in(names), pl.col("symbol_b").is_in(names))


def _quarter(at: Any) -> Any:
    return at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15)


def cards(snap: Snapshot, found: list[dict[str, Any]], checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The six numbers on top, each with its tone in words and colour."""
    by = {
        name: sum(row["severity"] == name for row in found) for name in ("critical", "high", "medium", "info")
    }
    judged = [fit for fit in snap.watched_fits if fit["z"] is not None]
    stretched = [
        fit for fit in judged if fit["is_cointegrated"] and abs(fit["z"]) >= snap.options.limits.zscore
    ]
    failed = [check for check in checks if not check["passed"]]
    grave = [check for check in failed if check["severity"] in ("critical", "high", "error")]
    lags = [feed for feed in snap.feeds if feed.worst_lag_s is not None]
    slow = max(lags, key=lambda feed: feed.worst_lag_s or 0.0, default=None)
    stale = slow is not None and (slow.worst_lag_s or 0) > snap.options.limits.stale_s
    done = run_summary(snap.runs)
    day = snap.at - timedelta(days=1)
    sent = snap.deliveries.filter((pl.col("state") == "sent") & (pl.col("sent_at") >= day)).height
    dead = snap.deliveries.filter(pl.col("state") == "dead").height
    failing = snap.deliveries.filter(
        pl.col("state").is_in(["queued", "sending"]), pl.col("last_error").is_not_null()
    ).height
    undelivered = [f"{dead} dead letter{'s' if dead != 1 else ''}"] if dead else []
    undelivered += [f"{failing} waiting after a failed try"] if failing else []
    worst = "critical" if by["critical"] else "high" if by["high"] else "medium" if found else "ok"
    return [
        _card("Abnormal now", str(len(found)), " · ".join(f"{n} {name}" for name, n in by.items() if n) or "nothing stands out",
              "high" if worst == "medium" else worst, "alerts/index.html"),
        _card("Stretched pairs", str(len(stretched)), f"|z| ≥ {snap.options.limits.zscore:g} and cointegrated",
              "high" if stretched else "ok", "pairs/index.html", of=f"/ {len(snap.watched_fits)}"),
        _card("Data checks", str(len(checks) - len(failed)), f"{len(failed)} failing" if failed else _passed(checks),
              "critical" if grave else "high" if failed else "ok" if checks else "", "quality/index.html", of=f"/ {len(checks)}"),
        _card(f"Worst lag at {snap.at:%H:%M}", _lag(slow.worst_lag_s if slow else None), f"{slow.source}:{slow.worst} · limit {snap.options.limits.stale_s:g} s" if slow else "exchanges closed" if snap.feeds else "no data yet",
              "critical" if stale else "ok" if slow else "", "runs/index.html"),
        _card("Runs, 24 h", str(done["completed"]), done["word"], "high" if done["failed"] else "ok" if done["total"] else "",
              "runs/index.html", of=f"/ {done['total']}"),
        _card("Messages, 24 h", str(sent), ", ".join(undelivered) or "none undelivered",
              "high" if undelivered else "", "alerts/index.html"),
    ]  # fmt: skip


def _passed(checks: list[dict[str, Any]]) -> str:
    """A check of no rows passes too, but says nothing."""
    if not checks:
        return "none ran yet"
    idle = sum(str(check["observed"]).startswith("0 of 0 ") for check in checks)
    return (
        "all pass"
        if not idle
        else f"all pass, {idle} on no rows"
        if idle < len(checks)
        else "no rows to judge yet"
    )


def _card(label: str, value: str, note: str, tone: str, href: str, of: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "note": note, "tone": tone, "href": href, "of": of}


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def pair_row(fit: dict[str, Any]) -> dict[str, Any]:
    """A pair as a line of a table: its stretch, whether it holds, and the word for both."""
    z = fit["z"]
    size = abs(z) if z is not None else 0.0
    return fit | {
        "path": f"pairs/{pair_slug(fit)}.html",
        "name": f"{fit['symbol_y']} / {fit['symbol_x']}",
        "gauge": gauge(z),
        "tone": "critical" if size >= 3 else "high" if size >= 2 else "",
        "state": words(fit),
    }


def default_correlations(rows: pl.DataFrame) -> pl.DataFrame:
    """The widest look-back of the narrowest interval: the steadiest estimate."""
    if not rows.height:
        return rows
    interval = rows["interval"].sort()[0] if "1m" not in rows["interval"].to_list() else "1m"
    mine = rows.filter(pl.col("interval") == interval)
    return mine.filter(pl.col("lookback") == mine["lookback"].max())


def rendered(snap: Snapshot) -> str:
    return f"{naive(snap.options.now):%Y-%m-%d %H:%M:%S} UTC"


def midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time())


def words(fit: dict[str, Any]) -> str:
    """A pair's state as a reader says it."""
    state = str(fit["state"] or ("cointegrated" if fit["is_cointegrated"] else "not cointegrated"))
    return state.replace("_", " ")
