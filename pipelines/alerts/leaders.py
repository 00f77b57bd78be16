"""Alerts that tell one fact: two rules that one bar put beyond their limits by the same column."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipelines.alerts.rules import SEVERITIES
from pipelines.alerts.states import Alert


def leaders_of(alerts: Sequence[Alert]) -> dict[str, Alert]:
    """The id of each alert -> the gravest alert that tells the same fact; itself where no other does."""
    facts: dict[object, Alert] = {}
    for alert in sorted(alerts, key=gravest_first):
        facts.setdefault(_fact(alert), alert)
    return {alert.id: facts[_fact(alert)] for alert in alerts}


def _fact(alert: Alert) -> object:
    """The bar with which it fired, of which series and width, and the column that was beyond its limit."""
    column = alert.evidence.get("column")
    return (alert.labels, column, alert.fired_at) if column else alert.id


def gravest_first(alert: Alert) -> tuple[int, datetime]:
    return SEVERITIES.index(alert.severity), alert.started_at
