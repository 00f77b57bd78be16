"""What a digest tells, gathered from the warehouse's frames as JSON-ready facts for the outbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from pipelines.alerts.columns import ANOMALY_OF, REFERENCE_OF, USUAL
from pipelines.alerts.episodes import episodes
from pipelines.alerts.grouping import alert_facts, message_id
from pipelines.alerts.rules import SEVERITIES
from pipelines.alerts.silences import Silence, subjects_of
from pipelines.alerts.states import Alert
from pipelines.market import Series, utc

TOLD_APART = ("spread", "gap")
"""Kinds of anomalies that a digest has sections of their own for."""
SHOWN = 12
"""Rows of each section in the message; the site has all."""
SHOWN_OF_HISTORY = 8
GRAVE = ("critical", "high")


@dataclass(frozen=True)
class History:
    """Bars loaded since the last digest that are older than it: how many, of how many series, from when to when.

    anomalies: what they hold, in the columns of the view.
    """

    bars: int
    series: int
    first: datetime | None
    last: datetime | None
    anomalies: pl.DataFrame


def digest_facts(
    since: datetime,
    until: datetime,
    *,
    anomalies: pl.DataFrame,
    history: History | None = None,
    alerts: Iterable[Alert] = (),
    silences: Sequence[Silence] = (),
    pairs: pl.DataFrame | None = None,
    quality: pl.DataFrame | None = None,
    gaps: pl.DataFrame | None = None,
    sources: pl.DataFrame | None = None,
    runs: pl.DataFrame | None = None,
    closes: Mapping[Series, Sequence[float | None]] | None = None,
    simulated: bool = False,
) -> dict[str, Any]:
    """JSON-ready facts of [since, until), times aware UTC; frames are public views over that span.

    anomalies: of bars of that span.  history: older bars that came meanwhile, told in one line and their gravest.
    silences: those in force.  pairs: newest `pair_stats` a pair, stretched ones are picked here (and may carry a list column `spark`).
    quality: newest row a check.  gaps: those open or detected since.  runs: those finished since.
    sources: source, lag_s, state.  closes: recent closes for the sparklines of the series shown.
    """
    apart = pl.col("kind").is_in(TOLD_APART)
    told = [
        alert for alert in alerts if alert.fired_at and (alert.is_open or utc(alert.seen_at) >= utc(since))
    ]
    ended = _ended(told)
    found = [
        _episode(_closed(row, ended))
        for row in episodes(anomalies.filter(~apart), until).iter_rows(named=True)
    ]
    shown = found[:SHOWN]
    lines = dict(closes or {})
    for row in shown:  # a series' line stands beside its first row only
        row["spark"] = list(lines.pop(Series(row["source"], row["symbol"] or ""), ()))
    stretched = _stretched(pairs)
    return {
        "kind": "digest",
        "since": utc(since).isoformat(),
        "until": utc(until).isoformat(),
        "simulated": simulated,
        "episodes": shown,
        "episodes_total": len(found),
        "episodes_open": sum(row["state"] == "open" for row in found),
        "history": _history(history, until),
        "alerts": [_told(alert, silences) for alert in sorted(told, key=_alert_order)[:SHOWN]],
        "alerts_firing": sum(alert.state == "firing" for alert in told),
        "alerts_resolved": sum(alert.state == "resolved" for alert in told),
        "pairs": stretched[:SHOWN],
        "pairs_total": len(stretched),
        "checks": _checks(quality),
        "gaps": [_jsonable(row) for row in gaps.head(SHOWN).iter_rows(named=True)]
        if gaps is not None
        else [],
        "gaps_total": gaps.height if gaps is not None else 0,
        "sources": [_jsonable(row) for row in sources.iter_rows(named=True)] if sources is not None else [],
        "runs": _runs(runs),
    }


def _ended(alerts: Iterable[Alert]) -> dict[tuple[str | None, str | None, str], datetime]:
    """(source, symbol, kind) -> when the last of its alerts ended; those that fire are not in it."""
    ended: dict[tuple[str | None, str | None, str], datetime] = {}
    for alert in sorted(alerts, key=lambda alert: alert.seen_at):
        column = str(alert.evidence.get("column") or "")
        thing = (alert.labels.source, alert.labels.symbol, ANOMALY_OF.get(column, column))
        if alert.resolved_at:
            ended[thing] = utc(alert.resolved_at)
        else:
            ended.pop(thing, None)
    return ended


def _closed(
    episode: dict[str, Any], ended: Mapping[tuple[str | None, str | None, str], datetime]
) -> dict[str, Any]:
    """The episode, over if the alert that told of it has ended since its last bar began."""
    end = ended.get((episode["source"], episode["symbol"], episode["kind"]))
    is_over = end is not None and utc(episode["last"]) < end
    return episode | {"state": "over"} if is_over else episode


def _told(alert: Alert, silences: Sequence[Silence]) -> dict[str, Any]:
    names = [alert.id, *subjects_of(*alert.labels[:3])]
    quiet = next((one for one in silences if one.covers(alert.rule, names)), None)
    until = utc(quiet.ends_at).isoformat() if quiet else None
    return alert_facts(alert) | {"silenced_until": until, "silenced_why": quiet.reason if quiet else None}


def _history(history: History | None, until: datetime) -> dict[str, Any] | None:
    """One line on history that was loaded, and its critical and high episodes: each series' worst, then the others."""
    if history is None:
        return None
    counts = dict(history.anomalies.group_by("severity").len().iter_rows())
    grave = episodes(history.anomalies.filter(pl.col("severity").is_in(GRAVE)), until, worst_first=True)
    if grave.height:
        nth = pl.int_range(pl.len()).over("source", "symbol")
        grave = grave.sort(pl.col("severity") != "critical", nth > 0, maintain_order=True)
    rows = [_episode(row) for row in grave.iter_rows(named=True)]
    return {
        "bars": history.bars,
        "series": history.series,
        "from": utc(history.first).isoformat() if history.first else None,
        "to": utc(history.last).isoformat() if history.last else None,
        "anomalies": history.anomalies.height,
        "counts": {name: counts.get(name, 0) for name in SEVERITIES},
        "episodes": rows[:SHOWN_OF_HISTORY],
        "episodes_total": len(rows),
    }


def digest_rows(facts: Mapping[str, Any], channels: Iterable[str]) -> list[dict[str, Any]]:
    """The digest as outbox rows, one a channel and always one for `file`; the same span gives the same ids."""
    until = datetime.fromisoformat(facts["until"])
    return [
        {
            "id": message_id("digest", name, until, {}),
            "channel": name,
            "group_key": "digest",
            "facts": dict(facts),
        }
        for name in dict.fromkeys(["file", *channels])
    ]


def _stretched(pairs: pl.DataFrame | None) -> list[dict[str, Any]]:
    if pairs is None or pairs.is_empty():
        return []
    far = pairs.filter(pl.col("is_cointegrated") & (pl.col("zscore").abs() > 2))
    return [_jsonable(row) for row in far.sort(pl.col("zscore").abs(), descending=True).iter_rows(named=True)]


def _checks(quality: pl.DataFrame | None) -> dict[str, Any]:
    if quality is None:
        return {"passed": 0, "total": 0, "failed": []}
    failed = quality.filter(~pl.col("passed"))
    return {
        "passed": quality.height - failed.height,
        "total": quality.height,
        "failed": [_jsonable(row) for row in failed.head(SHOWN).iter_rows(named=True)],
    }


def _runs(runs: pl.DataFrame | None) -> dict[str, Any]:
    if runs is None or runs.is_empty():
        return {"total": 0, "failed": 0, "failed_flows": [], "median_s": None, "rows_loaded": 0}
    failed = runs.filter(pl.col("state").str.to_lowercase() != "completed")
    took = (pl.col("finished_at") - pl.col("started_at")).dt.total_milliseconds().median() / 1000
    return {
        "total": runs.height,
        "failed": failed.height,
        "failed_flows": failed["flow"].unique().sort().to_list(),
        "median_s": runs.select(took).item(),
        "rows_loaded": int(runs["rows_loaded"].sum()),
    }


def _alert_order(alert: Alert) -> tuple[bool, int, float]:
    return alert.state != "firing", SEVERITIES.index(alert.severity), -alert.seen_at.timestamp()


def _episode(row: Mapping[str, Any]) -> dict[str, Any]:
    """An episode, and what its `baseline` is: the limit, the mean of the bars before or what is usual."""
    return _jsonable(row) | {"baseline_is": REFERENCE_OF.get(row["kind"], USUAL)}


def _jsonable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: utc(value).isoformat() if isinstance(value, datetime) else value for name, value in row.items()
    }
