"""What each channel is to be told now, by its own route, as rows of the outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipelines.alerts.grouping import Route, Told, messages, notices
from pipelines.alerts.silences import Silence
from pipelines.alerts.states import Alert


def outgoing(
    alerts: Sequence[Alert],
    told: Mapping[str, Mapping[str, tuple[datetime, Mapping[str, str]]]],
    now: datetime,
    routes: Mapping[str, Route],
    silences: Sequence[Silence] = (),
    simulated: bool = False,
    wall: datetime | None = None,
) -> list[dict[str, Any]]:
    """The outbox rows due at `now`, each channel by its own route.

    told: channel -> group -> (when, states), as `warehouse.outbox.told_by_channel` reads it.  routes: by channel's name.
    wall: the clock by which silences begin and end; else `now`.
    """
    rows: list[dict[str, Any]] = []
    for channel, route in routes.items():
        spoken = _told(told.get(channel, {}), escalations=False)
        for other in route.escalate_to:
            spoken |= _told(told.get(other, {}), escalations=True)
        due = notices(alerts, spoken, now, replace(route, channels=(channel,)), silences, wall)
        rows += messages(due, [channel], simulated)
    return rows


def _told(groups: Mapping[str, tuple[datetime, Mapping[str, str]]], escalations: bool) -> dict[str, Told]:
    return {key: Told(*said) for key, said in groups.items() if key.startswith("escalation|") == escalations}
