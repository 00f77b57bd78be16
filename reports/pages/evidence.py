"""An alert's evidence in words: what was judged, how, and what the rule read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines.alerts.columns import WORDS
from reports.text import full_time

LABELS: Mapping[str, str] = {
    "clear": "Ends when",
    "subject": "Judged on",
    "ts": "Bar judged",
    "started_at": "Began at the close of",
    "bars": "Bars in a row before it fired",
    "measured": "Measured",
    "run_id": "Run that found it",
    "version": "Version of the rule",
    "reason": "Why it ended",
}
"""In the order of the page; what has no label follows by its own name."""
SUBJECTS = {
    "series": "each closed bar of a series",
    "pair": "each fit of a pair",
    "feed": "each minute of a feed",
}
TOLD_ELSEWHERE = frozenset(
    "rule expression interval column operator value threshold worst end sql baseline columns series".split()
)
MOST_SERIES = 60


def in_words(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, text) of all that the evidence holds and the page has not told above it, in the order of reading."""
    names = [*(name for name in LABELS if name in facts), *(name for name in facts if name not in LABELS)]
    rows = [
        (LABELS.get(name, name.replace("_", " ").capitalize()), _text(name, facts[name]))
        for name in names
        if name not in TOLD_ELSEWHERE and facts[name] is not None
    ]
    if facts.get("series"):
        rows.append(("Series", ", ".join(str(one) for one in facts["series"][:MOST_SERIES])))
    base = facts.get("baseline") or {}
    if base:
        rows.append(
            (
                str(base["name"]).capitalize(),
                f"{figures(base['value'])}; there were {figures(base['observed'])}",
            )
        )
    columns = facts.get("columns") or {}
    return rows + [(f"Read: {_label(name)}", figures(value) + _unit(name)) for name, value in columns.items()]


def figures(value: Any) -> str:
    """A number with up to eight digits; anything else as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,.8g}".replace("-", "−") if is_number else "–" if value is None else str(value)


def _text(name: str, value: Any) -> str:
    if name == "subject":
        return SUBJECTS.get(value, str(value))
    if name in ("ts", "started_at"):
        at = full_time(datetime.fromisoformat(value))
        return f"{at}, its open" if name == "ts" else at
    if isinstance(value, dict):
        return ", ".join(f"{part} {figures(inner)}" for part, inner in value.items())
    return figures(value)


def _label(column: str) -> str:
    return WORDS[column].label if column in WORDS else column


def _unit(column: str) -> str:
    return WORDS[column].unit if column in WORDS else ""
