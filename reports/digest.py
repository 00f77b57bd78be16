"""The digest: what happened since the last one, rendered from the outbox's facts when it is sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipelines.market import utc
from reports.notify.message import SIMULATED, Facts, Message, Site, cleaned, fill
from reports.notify.wording import (
    Line,
    alert_line,
    clock,
    episode_line,
    first_firing,
    number,
    of_many,
    pair_line,
)
from reports.text import duration, gap_extent


def digest(facts: Facts, site: Site | None = None) -> Message:
    """The message of a digest's facts, with links where `site` says that there are pages."""
    said, site, facts = facts, site or Site(), cleaned(facts)
    until = datetime.fromisoformat(facts["until"])
    sections = {
        "abnormal": [episode_line(row, site, until) for row in facts["episodes"]],
        "history": [
            episode_line(row, site, until) for row in (facts.get("history") or {}).get("episodes", [])
        ],
        "alerts": [alert_line(row, site, until) for row in facts["alerts"]],
        "pairs": [pair_line(row, site, until) for row in facts["pairs"]],
    }
    values: dict[str, Any] = {
        "subject": _subject(facts, sections["abnormal"], sections["history"]),
        "simulated": SIMULATED if facts.get("simulated") else "",
        "at": f"{until.day} {until:%b %Y, %H:%M} UTC",
        "since": clock(facts["since"], until),
        "tiles": _tiles(facts),
        "loaded": _loaded(facts.get("history"), until),
        "health": _health(facts, until),
        "runs": _run_line(facts["runs"]),
        "more": {
            "abnormal": facts["episodes_total"] - len(facts["episodes"]),
            "history": (facts.get("history") or {}).get("episodes_total", 0) - len(sections["history"]),
            "alerts": facts["alerts_firing"] + facts["alerts_resolved"] - len(facts["alerts"]),
            "pairs": facts["pairs_total"] - len(facts["pairs"]),
        },
        "drawn": _drawn(sections),
        "first_alert": facts["alerts"][0]["id"] if facts["alerts"] else "",
        "first_firing": first_firing(facts["alerts"]),
        "links": {name: site.link(path) for name, path in _PAGES.items()},
        "archive": site.link(f"digests/{stamp(until)}.html"),
        **sections,
    }
    lines = [line.sentence for name in ("abnormal", "alerts", "pairs") for line in sections[name]]
    if values["loaded"]:
        lines += [f"History: {values['loaded']}", *(line.sentence for line in sections["history"])]
    lines += [f"Data: {text}" for _, text in values["health"]]
    return Message(
        subject=values["subject"],
        text=fill("digest.txt.j2", **values),
        html=fill("digest.html.j2", **values),
        facts=said,
        lines=tuple(lines),
        link=values["archive"],
    )


def stamp(at: datetime) -> str:
    """The name of a digest's page: `20261121T0941Z`."""
    return f"{utc(at):%Y%m%dT%H%MZ}"


LATE_S = 180
NEVER_ASKED = "not asked yet"
"""The state of a source that no run has fetched from: its first minute is still to come."""

_PAGES = {
    "site": "index.html",
    "abnormal": "anomalies/index.html",
    "alerts": "alerts/index.html",
    "pairs": "pairs/index.html",
    "health": "quality/index.html",
    "runs": "runs/index.html",
}


def _subject(facts: Facts, abnormal: list[Line], history: list[Line]) -> str:
    prefix = f"[{SIMULATED}] " if facts.get("simulated") else ""
    worst = [line.name for line in history if line.tone == "critical"]
    loaded = [f"history with {len(worst)} critical ({of_many(worst)})"] if worst else []
    if not facts["episodes_total"] and not facts["alerts_firing"]:
        since = clock(facts["since"], datetime.fromisoformat(facts["until"]))
        return f"{prefix}Tapewatch: {', '.join([f'quiet since {since} UTC', *loaded])}"
    count = facts["episodes_total"]
    parts = [f"{count} abnormal" + (f" ({of_many([line.name for line in abnormal])})" if count else "")]
    parts += [f"{facts['alerts_firing']} firing"] if facts["alerts_firing"] else []
    parts += [f"{facts['pairs_total']} stretched"] if facts["pairs_total"] else []
    return f"{prefix}Tapewatch: {', '.join([*parts, *loaded])}"


def _loaded(history: Facts | None, until: datetime) -> str:
    """`41,760 bars of 3 series, 5 Mar 2023 00:00 to 21 Mar 2023 23:59; 96 anomalies: 2 critical, 5 high`; else nothing."""
    if not history:
        return ""
    span = f"{clock(history['from'], until)} to {clock(history['to'], until)}" if history["from"] else ""
    of = f"{history['series']} series" if history["series"] != 1 else "one series"
    bars = f"{history['bars']:,} bars of {of}" if history["bars"] else "bars judged anew"
    found = [f"{count:,} {name}" for name, count in history["counts"].items() if count]
    count = history["anomalies"]
    told = (
        f"{count:,} anomal{'y' if count == 1 else 'ies'}: {', '.join(found)}" if found else "no anomaly in it"
    )
    return f"{bars}, {span}; {told}"


def _drawn(sections: dict[str, list[Line]]) -> str:
    """What the little lines are of; nothing where none is drawn."""
    of = {"abnormal": "closes", "pairs": "a pair's spread"}
    named = [word for name, word in of.items() if any(line.spark for line in sections[name])]
    return f"The little lines are {' and '.join(named)} of the last hours." if named else ""


def _tiles(facts: Facts) -> list[dict[str, str]]:
    """The four figures on top: label, figure, note and tone."""
    checks, lag = facts["checks"], max((row.get("lag_s") or 0 for row in facts["sources"]), default=None)
    failed, late = checks["total"] - checks["passed"], (lag or 0) > LATE_S
    abnormal, stretched = facts["episodes_total"], facts["pairs_total"]
    return [
        _tile(
            "Abnormal",
            str(abnormal),
            f"episode{'' if abnormal == 1 else 's'}, {facts['episodes_open']} still on",
            "critical" if abnormal else "",
        ),
        _tile("Stretched pairs", str(stretched), "beyond 2 sigma", "high" if stretched else ""),
        _tile(
            "Checks passed",
            f"{checks['passed']}/{checks['total']}" if checks["total"] else "–",
            f"{failed} failed" if checks["total"] else "none ran yet",
            "high" if failed else "",
        ),
        _tile(
            "Worst lag", duration(lag), "behind the market" if late else "fresh", "critical" if late else ""
        ),
    ]


def _tile(label: str, figure: str, note: str, bad: str) -> dict[str, str]:
    return {"label": label, "figure": figure, "note": note, "tone": bad or "resolved"}


def _health(facts: Facts, until: datetime) -> list[tuple[str, str]]:
    """(tone, sentence) for each source, each failed check and each gap."""
    told = [_source_health(row) for row in facts["sources"]]
    for row in facts["checks"]["failed"]:
        seen = f"{row['observed']} (allowed {row['threshold']})"
        told.append(("high", f"check {row['check_name']} on {row['table_name']} failed: {seen}"))
    for row in facts["gaps"]:
        tone = "high" if row["state"] in ("open", "healing") else "resolved"
        missing = f"{gap_extent(row)} missing from {clock(row['from_ts'], until)}"
        told.append((tone, f"{row['source']} {row['symbol']}: {missing}, {row['state']}"))
    rest = facts["gaps_total"] - len(facts["gaps"])
    return told + ([("info", f"{rest} more gaps")] if rest > 0 else [])


def _source_health(row: Facts) -> tuple[str, str]:
    state = row.get("state") or "ok"
    behind = f", {duration(row['lag_s'])} behind" if row.get("lag_s") is not None else ""
    tone = {"ok": "resolved", "closed": "resolved", NEVER_ASKED: "info"}.get(state, "critical")
    return tone, f"{row['source']}: {state}{behind}"


def _run_line(runs: Facts) -> str:
    if not runs["total"]:
        return "No runs since the last digest."
    failed = f"{runs['failed']} failed ({of_many(runs['failed_flows'])})" if runs["failed"] else "none failed"
    took = f", median {number(runs['median_s'], 2)} s" if runs["median_s"] is not None else ""
    return f"{runs['total']} runs, {failed}{took}; {runs['rows_loaded']:,} rows loaded."
