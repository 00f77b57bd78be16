"""Alerts into messages: what is pushed at once, together with what, and how often.

Alerts of one market and severity form a group. A group speaks when it has something new and its cooldown is
over; what fires meanwhile is held and counted, then told in the next message. Two rules that fired on one fact
(the same bar of a series, the same column) speak in the group of the graver. What still fires, and nobody has
acknowledged, is repeated. Severities outside a route wait for the digest. All of it is computed from what
the outbox says was told, so nothing is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import groupby
from typing import Any, Literal

from pipelines.alerts.leaders import gravest_first, leaders_of
from pipelines.alerts.rules import SEVERITIES, Severity
from pipelines.alerts.silences import Silence, silence_of, subjects_of
from pipelines.alerts.states import Alert
from pipelines.market import MINUTE

COOLDOWN = timedelta(minutes=5)
REPEAT_AFTER = timedelta(hours=4)

ESCALATION = "escalation|"
"""Before the key of the group whose escalation it is."""

Occasion = Literal["news", "repeat", "escalation"]


@dataclass(frozen=True)
class Route:
    """Which alerts go to which channels at once; no channels = all but `file`.

    send_resolved: whether the end of an alert is told too.
    escalate_after: an alert that fires so long without acknowledgement goes to `escalate_to` once.
    """

    channels: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ("critical", "high")
    cooldown: timedelta = COOLDOWN
    repeat_after: timedelta = REPEAT_AFTER
    send_resolved: bool = True
    escalate_after: timedelta | None = None
    escalate_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """What the outbox says of one group: its last message and the state each alert was last told in."""

    at: datetime
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """One message to be: facts, no text. `suppressed` firings were held back by the cooldown."""

    group_key: str
    occasion: Occasion
    at: datetime
    alerts: tuple[Alert, ...]
    suppressed: int = 0
    channels: tuple[str, ...] = ()

    @property
    def states(self) -> dict[str, str]:
        return {alert.id: alert.state for alert in self.alerts}


def group_key(alert: Alert) -> str:
    """The market (a source; `cross` for a pair over two) and the severity."""
    return f"{alert.labels.source or 'cross'}|{alert.severity}"


def notices(
    alerts: Iterable[Alert],
    told: Mapping[str, Told],
    now: datetime,
    route: Route | None = None,
    silences: Sequence[Silence] = (),
    wall: datetime | None = None,
) -> list[Notice]:
    """The messages due at `now`: at most one a group, plus its escalation.

    alerts: the newest event of each episode that is open or ended since its group last spoke.
    told: by group key; escalations under `escalation|<group>`.  wall: the clock of the silences, else `now`.
    """
    route = route or Route()
    pushed = [alert for alert in alerts
              if alert.fired_at and alert.severity in route.severities
              and silence_on(alert, silences, wall or now) is None]  # fmt: skip
    found: list[Notice] = []
    leaders, said = leaders_of(pushed), _said(told)

    def key_of(alert: Alert) -> str:
        return group_key(leaders[alert.id])

    ordered = sorted(pushed, key=lambda alert: (key_of(alert), *gravest_first(alert)))
    for key, members in groupby(ordered, key=key_of):
        group = tuple(members)
        found += _group_notice(key, group, told.get(key), said, now, route)
        found += _escalation(key, group, told.get(f"{ESCALATION}{key}"), now, route)
    return found


def _said(told: Mapping[str, Told]) -> dict[str, str]:
    """The state each alert was last told in, by whichever group: its fact may have been a graver one's."""
    said: dict[str, str] = {}
    for key, group in told.items():
        if not key.startswith(ESCALATION):
            said |= {name: state for name, state in group.states.items() if said.get(name) != "resolved"}
    return said


def silence_on(alert: Alert, silences: Iterable[Silence], wall: datetime) -> Silence | None:
    """The silence that keeps this alert quiet now, by the wall clock; None where it may speak."""
    source, symbol, pair, _ = alert.labels
    return silence_of(silences, alert.rule, [alert.id, *subjects_of(source, symbol, pair)], wall)


def at_least(severity: Severity) -> tuple[Severity, ...]:
    """The severities from the gravest down to this one."""
    return SEVERITIES[: SEVERITIES.index(severity) + 1]


def messages(
    found: Iterable[Notice], channels: Iterable[str], simulated: bool = False
) -> list[dict[str, Any]]:
    """The outbox rows of notices: one a channel, with an id that is the same however often it is made.

    Each row: id, channel, group_key, facts. `file` keeps digests only, so it is left out.
    """
    pushed = [name for name in channels if name != "file"]
    return [
        {
            "id": message_id(notice.group_key, channel, notice.at, notice.states),
            "channel": channel,
            "group_key": notice.group_key,
            "facts": facts_of(notice) | {"simulated": simulated},
        }
        for notice in found
        for channel in (notice.channels or pushed)
    ]


def message_id(group: str, channel: str, at: datetime, states: Mapping[str, str]) -> str:
    said = repr((group, channel, at.isoformat(), sorted(states.items())))
    return blake2b(said.encode(), digest_size=10).hexdigest()


def facts_of(notice: Notice) -> dict[str, Any]:
    """A notice as JSON-ready facts; `reports` renders them when the message is sent."""
    leaders = leaders_of(notice.alerts)
    return {
        "kind": "alert",
        "group_key": notice.group_key,
        "occasion": notice.occasion,
        "at": notice.at.isoformat(),
        "suppressed": notice.suppressed,
        "states": notice.states,
        "alerts": [alert_facts(alert) | _same_as(alert, leaders[alert.id]) for alert in notice.alerts],
    }


def _same_as(alert: Alert, leader: Alert) -> dict[str, Any]:
    return {"same_as": leader.rule} if leader.id != alert.id and leader.state == alert.state else {}


def alert_facts(alert: Alert) -> dict[str, Any]:
    """One alert as JSON-ready facts; times are ISO texts in UTC."""
    times = {name: getattr(alert, name) for name in ("started_at", "fired_at", "resolved_at", "acked_at")}
    return {
        "id": alert.id,
        "rule": alert.rule,
        **alert.labels._asdict(),
        "state": alert.state,
        "severity": alert.severity,
        "value": alert.value,
        "threshold": alert.threshold,
        "worst": alert.worst,
        **{name: at.isoformat() if at else None for name, at in times.items()},
        "evidence": dict(alert.evidence),
    }


def _group_notice(
    key: str,
    group: tuple[Alert, ...],
    told: Told | None,
    said: Mapping[str, str],
    now: datetime,
    route: Route,
) -> list[Notice]:
    if told and timedelta(0) <= now - told.at < route.cooldown:
        return []
    news = tuple(alert for alert in group if _is_news(alert, told, said, route))
    if news:
        held = sum(1 for alert in news if alert.id not in said and _fell_into_cooldown(alert, told, route))
        return [Notice(key, "news", _spoken_at(news, told, now, route), news, held, route.channels)]
    lasting = tuple(alert for alert in group if alert.state == "firing" and alert.acked_at is None)
    if told and lasting and now - told.at >= route.repeat_after:
        return [Notice(key, "repeat", now, lasting, 0, route.channels)]
    return []


def _is_news(alert: Alert, told: Told | None, said: Mapping[str, str], route: Route) -> bool:
    """Firing and not told; or resolved since, if its firing was told or fell into the cooldown."""
    if said.get(alert.id) == alert.state:
        return False
    was_told = alert.id in said and route.send_resolved
    return alert.state == "firing" or was_told or _fell_into_cooldown(alert, told, route)


def _fell_into_cooldown(alert: Alert, told: Told | None, route: Route) -> bool:
    return bool(told and alert.fired_at and told.at < alert.fired_at < told.at + route.cooldown)


def _spoken_at(news: Sequence[Alert], told: Told | None, now: datetime, route: Route) -> datetime:
    """The time the next cooldown counts from: the newest event's, so that a run's delay adds nothing."""
    latest = [alert.seen_at for alert in news] + [now - MINUTE] + ([told.at + route.cooldown] if told else [])
    return min(now, max(latest))


def _escalation(
    key: str, group: tuple[Alert, ...], told: Told | None, now: datetime, route: Route
) -> list[Notice]:
    wait = route.escalate_after
    if wait is None or not route.escalate_to:
        return []
    said = told.states if told else {}
    due = tuple(
        alert
        for alert in group
        if alert.state == "firing" and not alert.acked_at and alert.id not in said
        and alert.fired_at and now - alert.fired_at >= wait
    )  # fmt: skip
    return [Notice(f"{ESCALATION}{key}", "escalation", now, due, 0, route.escalate_to)] if due else []
