import importlib.metadata
from datetime import datetime, timedelta
from hashlib import sha256

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import charts, render
from tests.conftest import REPOSITORY

START = datetime(2026, 11, 20, 9, 0)
SECOND = 1795165200  # of START


def bars(minutes, **columns):
    close = [100.0 + n for n in range(len(minutes))]
    usual = {
        "open": close,
        "high": [c + 1 for c in close],
        "low": [c - 1 for c in close],
        "close": close,
        "volume": [5.0] * len(close),
    }
    return pl.DataFrame(
        {"ts": [START + timedelta(minutes=m) for m in minutes], **(usual | columns)},
        schema_overrides={"ts": pl.Datetime("us")},
    )


def times(payload):
    return [start + n * payload["step"] for start, count in payload["runs"] for n in range(count)]


@pytest.mark.capability("UI-01")
def test_every_bar_is_one_candle_at_its_utc_second():
    payload = charts.payload_of(bars([0, 1, 2, 5]), 60, 2)
    assert times(payload) == [SECOND, SECOND + 60, SECOND + 120, SECOND + 300]
    assert payload["c"]["close"] == [100.0, 101.0, 102.0, 103.0]


def test_a_time_twice_or_out_of_order_never_reaches_the_library():
    payload = charts.payload_of(bars([3, 1, 1, 2]), 60, 2)
    assert times(payload) == [SECOND + 60, SECOND + 120, SECOND + 180]
    with pytest.raises(ValueError, match="increase"):
        charts.runs(np.array([60, 60]), 60)


def test_what_is_not_a_number_is_null_and_an_impossible_candle_is_none():
    payload = charts.payload_of(
        bars([0, 1, 2], high=[101.0, 90.0, 103.0], rsi_14=[float("nan"), float("inf"), 55.0]), 60, 2
    )
    assert payload["c"]["rsi_14"] == [None, None, 55.0]
    assert [payload["c"][name][1] for name in ("open", "high", "low", "close")] == [None] * 4
    assert b"NaN" not in orjson.dumps(payload)


def test_missing_minutes_keep_their_room_and_closed_hours_do_not():
    payload = charts.payload_of(bars([0, 1, 4, 400]), 60, 2, holes=[[SECOND + 120, SECOND + 180, "no data"]])
    assert times(payload) == [SECOND + 60 * m for m in (0, 1, 2, 3, 4, 400)]
    assert payload["c"]["close"][2:4] == [None, None]
    assert payload["gaps"] == [[SECOND + 120, SECOND + 180, "no data"]]


def test_the_baseline_is_what_the_ratio_was_taken_against():
    payload = charts.payload_of(
        bars([0, 1, 2], volume=[30.0, 8.0, 1.0], volume_ratio=[3.0, None, 0.0]), 60, 2
    )
    assert payload["c"]["baseline"] == [10.0, None, None]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200, unique=True))
def test_runs_say_exactly_the_times_they_were_made_of(minutes):
    seconds = np.array(sorted(minutes)) * 60
    pieces = charts.runs(seconds, 60)
    assert [start + 60 * n for start, count in pieces for n in range(count)] == seconds.tolist()
    assert len(pieces) == 1 + int((np.diff(seconds) != 60).sum())


@pytest.mark.parametrize(
    ("prices", "digits"),
    [([64000.01, 64000.5], 2), ([231.4], 2), ([1.2345], 4), ([0.0000123], 7), ([float("nan")], 2)],
)
def test_prices_are_shown_with_the_digits_they_have(prices, digits):
    assert charts.digits_of(np.array(prices)) == digits


def anomaly(minute, kind="volume", severity="medium", **more):
    usual = {
        "interval": "1m",
        "ts": START + timedelta(minutes=minute),
        "kind": kind,
        "severity": severity,
        "value": 80.0,
        "ratio": 4.0,
        "zscore": 3.0,
    }
    return usual | more


def test_anomalies_that_touch_are_one_stretch_named_by_the_worst():
    rows = pl.DataFrame([anomaly(0), anomaly(1, severity="high", ratio=15.7), anomaly(2), anomaly(30)])
    zones = charts.zones_of(rows, {"1m": 60})
    assert zones == [
        [SECOND, SECOND + 120, "high", "volume 15.7×"],
        [SECOND + 1800, SECOND + 1800, "medium", "volume 4.0×"],
    ]


def test_two_kinds_of_anomaly_on_one_bar_are_one_stretch_named_by_the_worse():
    rows = pl.DataFrame([anomaly(0), anomaly(0, kind="price_spike", severity="critical", value=6.0)])
    assert [zone[:3] for zone in charts.zones_of(rows, {})] == [[SECOND, SECOND, "critical"]]


def test_an_rsi_extreme_is_an_arrow_once_a_spell():
    rows = pl.DataFrame(
        [anomaly(m, kind="rsi_extreme", value=78.2) for m in range(5)]
        + [anomaly(60, kind="rsi_extreme", value=19.0)]
    )
    assert charts.marks_of(rows) == [[SECOND, 1, "RSI 78"], [SECOND + 3600, -1, "RSI 19"]]
    assert charts.zones_of(rows, {}) == []


def test_the_chart_library_is_the_checked_one_and_lies_in_no_commit():
    assert importlib.metadata.version("lwcharts") == "0.3.0"
    assert sha256(render.library()).hexdigest() == render.LIBRARY_SHA256
    assert b"Apache License" in render.library()[:600]
    assert not [
        path
        for path in (REPOSITORY / "reports").rglob("*.js")
        if b"lightweight-charts v" in path.read_bytes()
    ]
