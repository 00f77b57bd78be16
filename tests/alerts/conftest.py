"""Rows and clocks for rules: one symbol, minutes counted from noon."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from pipelines.alerts.judge import judge
from pipelines.alerts.rules import Rule
from pipelines.alerts.states import Alert, open_labels, step
from pipelines.market import naive

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def minute(n: float) -> datetime:
    return NOON + timedelta(minutes=n)


def bars(
    *values: float | None, column: str = "close", symbol: str = "BTCUSDT", start: int = 0
) -> pl.DataFrame:
    """One closed one-minute bar a value; bar n ends at `minute(start + n + 1)`."""
    return pl.DataFrame(
        [
            {"source": "binance", "symbol": symbol, "interval": "1m", "ts": naive(minute(start + n)),
             "is_complete": True, column: value}
            for n, value in enumerate(values)
        ],
        schema_overrides={column: pl.Float64},
    )  # fmt: skip


Tape = Callable[..., list[tuple[str, int]]]


@pytest.fixture
def live() -> Tape:
    """Plays bars one by one through judge and step; gives (state, bar number) of every event."""

    def play(rule: Rule, *values: float | None, column: str = "close") -> list[tuple[str, int]]:
        frame, newest, told = bars(*values, column=column), dict[str, Alert](), []
        for n in range(len(values)):
            now = minute(n + 1)
            judged = judge([rule], now, series=frame[n : n + 1], open_alerts=open_labels(newest.values()))
            for event in step(newest.values(), judged, [rule], now):
                newest[event.fingerprint] = event
                told.append((event.state, n))
        return told

    return play
