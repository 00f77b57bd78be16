"""Anomalies that follow each other as one line: a volume that stays high for twenty minutes is one thing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import polars as pl

from pipelines.alerts.episodes import badness
from reports.pages.shell import day_path
from reports.text import kind_name

PATIENCE = 3
"""Quiet windows after which the next anomaly of a kind begins a new spell."""


def spells(anomalies: pl.DataFrame, widths: Mapping[str, timedelta]) -> list[dict[str, Any]]:
    """One row a spell, newest first: the peak's anomaly with `from`, `to` (its end) and `bars`.

    anomalies: newest first. The peak is the one that is furthest out in the measure shown: see `badness`.
    """
    open_: dict[tuple[Any, ...], dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    if anomalies.is_empty():
        return []
    for anomaly in anomalies.with_columns(badness=badness()).iter_rows(named=True):
        key = (anomaly["source"], anomaly["symbol"], anomaly["interval"], anomaly["kind"])
        width = widths.get(anomaly["interval"] or "", timedelta(minutes=1))
        spell = open_.get(key)
        if spell is None or spell["from"] - anomaly["ts"] > PATIENCE * width:
            spell = anomaly | {"from": anomaly["ts"], "to": anomaly["ts"] + width, "bars": 0}
            open_[key] = spell
            found.append(spell)
        if anomaly["badness"] > spell["badness"]:
            spell.update({name: anomaly[name] for name in anomaly})
        spell["from"], spell["bars"] = anomaly["ts"], spell["bars"] + 1
    return [_named(spell) for spell in found]


def _named(spell: dict[str, Any]) -> dict[str, Any]:
    return spell | {
        "what": f"{kind_name(spell['kind'])} {spell['interval'] or ''}".strip(),
        "href": f"{day_path(spell['ts'].date())}#{spell['id']}",
    }
