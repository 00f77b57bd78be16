"""What a run is called in Prefect's UI: its flow, the minute it is for, and what it was asked about."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from pipelines.market import utc

MOMENTS = ("at", "now")
TOLD = ("action", "name", "file", "source", "symbol", "symbols", "start", "end")
"""Parameters that tell one run from another, in this order."""
SPANS = ("start", "end")
LONGEST = 120


def run_name() -> str:
    """The name of the flow run that is about to begin; for `flow_run_name` of every flow."""
    return named(str(flow_run.flow_name), flow_run.scheduled_start_time, flow_run.parameters)


def named(flow: str, scheduled: datetime, parameters: Mapping[str, Any]) -> str:
    """`minute 2026-11-27T12:15Z`, `backfill 2026-11-27T12:15Z binance BTCUSDT 2026-11-01T00:00Z`.

    The time is the one it was asked for, else the scheduled one; of a file the name without its folder.
    """
    asked = next(
        (parameters[name] for name in MOMENTS if isinstance(parameters.get(name), datetime)), scheduled
    )
    words = [_word(name, parameters[name]) for name in TOLD if parameters.get(name)]
    return " ".join([flow, _minute(asked), *words])[:LONGEST]


def _word(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return _minute(value)
    if name in SPANS and isinstance(value, str):
        with suppress(ValueError):
            return _minute(datetime.fromisoformat(value))
    if name == "file":
        return Path(value).name
    return ",".join(value) if isinstance(value, list) else str(value)


def _minute(at: datetime) -> str:
    return f"{utc(at):%Y-%m-%dT%H:%MZ}"
