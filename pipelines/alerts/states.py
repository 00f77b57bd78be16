"""The life of an alert: pending -> firing -> resolved, as events that are only ever appended.

An episode starts at the end of the first bar that satisfies its rule, fires after `for` such bars in a row
and resolves when the rule's `clear` condition holds; between the two it stays, so a value that wavers around
the threshold is one episode. A pending episode ends with the first bar that does not satisfy it. From the
moment it fires, value, threshold and evidence stay what it fired with; what got worse, and how it ended, are
beside them. Rows of a source whose stale alert fires are not judged. Judging a bar twice, or an older one
after a newer, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

from pipelines.alerts.evidence import evidence_of, is_worse, reading_of, worse_of
from pipelines.alerts.judge import Judged, Labels, fingerprint
from pipelines.alerts.rules import Rule, Severity, in_force

State = Literal["pending", "firing", "resolved"]


@dataclass(frozen=True)
class Alert:
    """One episode as of its last event; also the event itself. Times are aware UTC on the market's clock.

    seen_at: the end of the bar (or the moment) that this event is about.
    value, threshold, evidence: as it fired (of the newest bar while it is pending).
    bars: how many in a row satisfied the rule before it fired.
    """

    id: str
    rule: str
    rule_version: str
    fingerprint: str
    labels: Labels
    state: State
    severity: Severity
    value: float | None
    threshold: float | None
    started_at: datetime
    seen_at: datetime
    bars: int = 1
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    acked_at: datetime | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def worst(self) -> float | None:
        """The worst value of the episode as far as it was noted: in steps of a quarter."""
        noted: Mapping[str, Any] = self.evidence.get("worst") or {}
        return noted.get("value")

    @property
    def is_open(self) -> bool:
        return self.state != "resolved"


def alert_id(mark: str, started_at: datetime) -> str:
    """Stable for one episode: the fingerprint and when it started."""
    return blake2b(f"{mark}|{started_at.isoformat()}".encode(), digest_size=8).hexdigest()


def step(
    previous: Iterable[Alert],
    judged: Iterable[Judged],
    rules: Iterable[Rule],
    now: datetime,
    run_id: str | None = None,
) -> list[Alert]:
    """The events that `judged` adds to `previous`, in order.

    previous: the newest event of each fingerprint, resolved ones too.
    rules: all that are configured; an open alert whose rule is gone or has expired at `now` is resolved.
    """
    current = {alert.fingerprint: alert for alert in previous}
    active = {rule.name: rule for rule in in_force(rules, now)}
    events = [_end(alert, now, "the rule has expired or was removed")
              for alert in current.values() if alert.is_open and alert.rule not in active]  # fmt: skip
    current |= {event.fingerprint: event for event in events}
    for one in judged:
        if _is_inhibited(one, current, active):
            continue
        event = _advance(current.get(one.fingerprint), one, run_id)
        if event is not None:
            current[event.fingerprint] = event
            events.append(event)
    return events


def open_labels(alerts: Iterable[Alert]) -> list[tuple[str, Labels]]:
    """What `judge` must keep an eye on although it may not fire."""
    return [(alert.rule, alert.labels) for alert in alerts if alert.is_open]


def _advance(before: Alert | None, one: Judged, run_id: str | None) -> Alert | None:
    """The event of one judged row, None if it changes nothing."""
    if before is not None and (one.at < before.seen_at or (one.at == before.seen_at and not before.is_open)):
        return None
    if before is None or not before.is_open:
        return _begin(one, run_id) if one.fired else None
    if before.state == "pending":
        if not one.fired:
            return replace(_told(before, one, run_id), state="resolved", resolved_at=one.at)
        return _hold(before, one, run_id) if one.at > before.seen_at else None
    if one.cleared and not one.fired:
        return _resolve(before, one)
    return _worsen(before, one) if one.fired and one.at > before.seen_at else None


def _resolve(before: Alert, one: Judged) -> Alert:
    evidence = {**before.evidence, "end": reading_of(one)}
    return replace(before, state="resolved", seen_at=one.at, resolved_at=one.at, evidence=evidence)


def _worsen(before: Alert, one: Judged) -> Alert | None:
    """The event of a bar that is a good deal worse than all before: few events, however long it gets worse."""
    worst = before.evidence.get("worst")
    if worst is None or not is_worse(one, worst):
        return None
    return replace(before, seen_at=one.at, evidence={**before.evidence, "worst": reading_of(one)})


def _begin(one: Judged, run_id: str | None) -> Alert:
    mark = fingerprint(one.rule.name, one.labels)
    fires = one.rule.for_ <= 1
    return Alert(
        id=alert_id(mark, one.at),
        rule=one.rule.name,
        rule_version=one.rule.version,
        fingerprint=mark,
        labels=one.labels,
        state="firing" if fires else "pending",
        severity=one.rule.severity,
        value=one.cause.value if one.cause else None,
        threshold=one.cause.threshold if one.cause else None,
        started_at=one.at,
        seen_at=one.at,
        fired_at=one.at if fires else None,
        evidence=evidence_of(one, started_at=one.at, bars=1, run_id=run_id),
    )


def _hold(before: Alert, one: Judged, run_id: str | None) -> Alert:
    bars = before.bars + 1
    held = replace(_told(before, one, run_id, bars), bars=bars)
    return replace(held, state="firing", fired_at=one.at) if bars >= one.rule.for_ else held


def _told(before: Alert, one: Judged, run_id: str | None, bars: int | None = None) -> Alert:
    """`before`, which has not fired yet, with what this row says."""
    evidence = evidence_of(one, started_at=before.started_at, bars=bars or before.bars, run_id=run_id)
    evidence["worst"] = worse_of(evidence["worst"], before.evidence.get("worst"))
    return replace(
        before,
        rule_version=one.rule.version,
        severity=one.rule.severity,
        seen_at=one.at,
        value=one.cause.value if one.cause else None,
        threshold=one.cause.threshold if one.cause else None,
        evidence=evidence,
    )


def _end(alert: Alert, now: datetime, reason: str) -> Alert:
    at = max(now, alert.seen_at)
    return replace(
        alert, state="resolved", seen_at=at, resolved_at=at, evidence={**alert.evidence, "reason": reason}
    )


def _is_inhibited(one: Judged, current: Mapping[str, Alert], rules: Mapping[str, Rule]) -> bool:
    """Whether a market row comes from a feed known to be stale: the whole source, or just that series."""
    if one.rule.subject == "feed":
        return False
    stale = [alert.labels for alert in current.values()
             if alert.state == "firing" and alert.rule in rules and rules[alert.rule].inhibits]  # fmt: skip
    return any(
        series.source == labels.source and labels.symbol in (None, series.symbol)
        for series in one.series
        for labels in stale
    )
