"""Anomalies that follow each other as one line: a volume that stays high for twenty minutes is one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from reports.pages.shell import day_path
from reports.text import kind_name

PATIENCE = 3
"""Quiet windows after which the next anomaly of a kind begins a new spell."""


def spells(anomalies: Iterable[dict[str, Any]], widths: Mapping[str, timedelta]) -> list[dict[str, Any]]:
    """One row a spell, newest first: the peak's anomaly with `from`, `to` (its end) and `bars`.

    anomalies: newest first. The peak is the one with the largest |z|, else ratio, else value.
    """
    open_: dict[tuple[Any, ...], dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    for anomaly in anomalies:
        key = (anomaly["source"], anomaly["symbol"], anomaly["interval"], anomaly["kind"])
        width = widths.get(anomaly["interval"] or "", timedelta(minutes=1))
        spell = open_.get(key)
        if spell is None or spell["from"] - anomaly["ts"] > PATIENCE * width:
            spell = anomaly | {"from": anomaly["ts"], "to": anomaly["ts"] + width, "bars": 0}
            open_[key] = spell
            found.append(spell)
        if _size(anomaly) > _size(spell):
            spell.update({name: anomaly[name] for name in anomaly})
        spell["from"], spell["bars"] = anomaly["ts"], spell["bars"] + 1
    return [_named(spell) for spell in found]


def _size(anomaly: Mapping[str, Any]) -> float:
    return abs(float(anomaly["zscore"] or anomaly["ratio"] or anomaly["value"] or 0.0))


def _named(spell: dict[str, Any]) -> dict[str, Any]:
    return spell | {
        "what": f"{kind_name(spell['kind'])} {spell['interval'] or ''}".strip(),
        "href": f"{day_path(spell['ts'].date())}#{spell['id']}",
    }
