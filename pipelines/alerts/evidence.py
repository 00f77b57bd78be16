"""What an alert was decided on, kept with it as JSON so that it can be explained and recomputed later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines.alerts.columns import WORDS
from pipelines.alerts.judge import Judged


def evidence_of(judged: Judged, started_at: datetime, bars: int, run_id: str | None) -> dict[str, Any]:
    """Rule, version, expression, interval, bar, columns with their values, baseline and threshold.

    `worst` is the worst reading of the episode, at first this one; when it ends, `end` joins it. Times are ISO
    texts in UTC; numbers that are not finite are null.
    """
    cause = judged.cause
    return {
        "rule": judged.rule.name,
        "version": judged.rule.version,
        "expression": judged.rule.when,
        "clear": judged.rule.clear,
        "subject": judged.rule.subject,
        "interval": judged.labels.interval,
        "series": [str(series) for series in judged.series if series.symbol],
        "ts": judged.ts.isoformat(),
        "started_at": started_at.isoformat(),
        "bars": bars,
        "column": cause.column if cause else None,
        "measured": cause.measured if cause else None,
        "operator": cause.operator if cause else None,
        "value": cause.value if cause else None,
        "threshold": cause.threshold if cause else None,
        "baseline": baseline_of(cause.column if cause else "", judged.columns),
        "columns": {name: _plain(value) for name, value in judged.columns.items()},
        "worst": reading_of(judged),
        "run_id": run_id,
    }


def reading_of(judged: Judged) -> dict[str, Any]:
    """What the rule read on one row: value, bar and how far beyond the threshold (negative: within it)."""
    value = judged.cause.value if judged.cause else None
    return {"value": value, "ts": judged.ts.isoformat(), "beyond": _beyond(judged)}


def is_worse(judged: Judged, worst: Mapping[str, Any]) -> bool:
    """Whether the row is beyond the threshold by a quarter more than `worst`, and by a tenth of the threshold."""
    beyond, before = _beyond(judged), worst.get("beyond")
    if beyond is None or before is None or judged.cause is None:
        return False
    return bool(beyond - before >= max(abs(before) / 4, abs(judged.cause.threshold or 0.0) / 10, 1e-9))


def worse_of(reading: Mapping[str, Any], other: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The reading further beyond its threshold; the first where that is not known."""
    if not other or other.get("beyond") is None or reading.get("beyond") is None:
        return reading
    return other if other["beyond"] > reading["beyond"] else reading


def _beyond(judged: Judged) -> float | None:
    cause = judged.cause
    if cause is None or cause.value is None or cause.threshold is None:
        return None
    if not cause.operator.startswith((">", "<")):
        return None
    measured = abs(cause.value) if cause.measured.startswith("abs(") else cause.value
    over = measured - cause.threshold
    return over if cause.operator.startswith(">") else -over


def baseline_of(column: str, columns: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the value is abnormal against: the usual volume, the mean of the closes before; else None."""
    if column == "volume_ratio" and columns.get("volume_ratio") and columns.get("volume") is not None:
        usual = columns["volume"] / columns["volume_ratio"]
        return {
            "name": "usual volume of this time of the session",
            "value": usual,
            "observed": columns["volume"],
        }
    if column == "dev_20_pct" and columns.get("dev_20_pct") is not None and columns.get("close") is not None:
        mean = columns["close"] / (1 + columns["dev_20_pct"] / 100)
        return {"name": "mean of the 20 closes before", "value": mean, "observed": columns["close"]}
    return None


def label_of(column: str) -> str:
    return WORDS[column].label if column in WORDS else column


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value
