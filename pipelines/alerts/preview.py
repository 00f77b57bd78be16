"""When a rule would have fired: history through the very evaluator and state machine that run live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from pipelines.alerts.judge import Judged, judge
from pipelines.alerts.rules import Rule
from pipelines.alerts.states import Alert, step


def preview(
    rule: Rule, now: datetime, series: pl.DataFrame | None = None, pairs: pl.DataFrame | None = None,
    feeds: pl.DataFrame | None = None,
) -> list[Alert]:  # fmt: skip
    """Every event of `rule` over the given rows (any number of closed rows a series), oldest first.

    Equal to stepping bar by bar, without the inhibition by stale feeds, which a single rule does not see.
    """
    return step([], _changes(judge([rule], now, series, pairs, feeds)), [rule], now)


def episodes_of(events: Sequence[Alert]) -> list[Alert]:
    """The last event of each episode that fired, oldest first."""
    last = {event.id: event for event in events}
    return [alert for alert in last.values() if alert.fired_at is not None]


def _changes(judged: list[Judged]) -> list[Judged]:
    """Without rows that repeat, for their labels, a verdict that neither fires nor changes."""
    kept, last = [], dict[object, tuple[bool, bool]]()
    for one in judged:
        verdict = one.fired, one.cleared
        if one.fired or last.get(one.labels) != verdict:
            kept.append(one)
        last[one.labels] = verdict
    return kept
