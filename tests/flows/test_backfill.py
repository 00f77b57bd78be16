"""What a backfill in Prefect says of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.backfill import span_of, table_of, told
from flows.brought import Brought
from warehouse.errors import TapewatchError


def test_what_came_is_told_source_by_source():
    brought = Brought(rows_loaded=3)
    for source, bars, windows in (("binance", 120, 24), ("yahoo", 1390, 0)):
        before = brought.counts()
        brought.rows_loaded += bars
        brought.windows += windows
        brought.note(source, before)
    assert told(brought) == [
        "binance: 120 bars loaded, 0 revised, 0 quarantined, 24 windows, 0 anomalies",
        "yahoo: 1,390 bars loaded, 0 revised, 0 quarantined, 0 windows, 0 anomalies",
    ]
    assert Brought(windows=1, anomalies=1).derived() == "1 window, 1 anomaly"
    assert brought.derived() == "24 windows, 0 anomalies"
    assert [row["source"] for row in table_of(brought)] == ["binance", "yahoo"]


def test_a_time_that_is_none_is_named():
    assert span_of("2026-03-01", None) == (datetime(2026, 3, 1, tzinfo=UTC), None)
    with pytest.raises(TapewatchError, match="end: 'soon' is not a time; write"):
        span_of("7d", "soon")
