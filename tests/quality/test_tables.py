"""The minute's checks of whole tables say what was seen and what was allowed."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from pipelines.quality.tables import (
    QUALITY_SCHEMA,
    coverage_share,
    duplicate_keys,
    freshness,
    quality_frame,
    quarantined_share,
    rows_loaded,
    venues_agree,
)

NOON = datetime(2023, 3, 11, 12, 0)


def test_no_rows_matter_only_when_some_were_due():
    assert not rows_loaded("bars", "yahoo", loaded=0, due=7).passed
    assert rows_loaded("bars", "yahoo", loaded=0, due=0).passed
    assert rows_loaded("bars", "yahoo", loaded=7, due=7).observed == "7 rows"


def quarantined(*reasons: str) -> pl.DataFrame:
    return pl.DataFrame({"reason": list(reasons)}, schema={"reason": pl.String})


def test_the_quarantined_share_names_the_most_frequent_reasons():
    check = quarantined_share(
        "bars", "csv", 100, quarantined("high is below low", "ts is missing", "high is below low")
    )
    assert (check.passed, check.severity, check.failing_rows) == (False, "warning", 3)
    assert check.observed == "3 of 100 rows: high is below low (2), ts is missing (1)"


@pytest.mark.parametrize(
    ("rows_in", "bad", "passed", "severity"),
    [
        (100, 0, True, "warning"),
        (100, 1, True, "warning"),
        (100, 2, False, "warning"),
        (3, 2, False, "critical"),
        (0, 0, True, "warning"),
    ],
)
def test_a_batch_that_is_mostly_bad_is_critical(rows_in, bad, passed, severity):
    check = quarantined_share("bars", "csv", rows_in, quarantined(*["ts is missing"] * bad))
    assert (check.passed, check.severity) == (passed, severity)


@pytest.mark.parametrize(
    ("newest", "due", "passed", "observed"),
    [
        (NOON, NOON, True, "0 s behind"),
        (NOON - timedelta(minutes=3), NOON, True, "180 s behind"),
        (NOON - timedelta(minutes=4), NOON, False, "240 s behind"),
        (NOON + timedelta(minutes=1), NOON, True, "0 s behind"),
        (None, NOON, False, "no row at all"),
        (None, None, True, "no minute due yet"),
    ],
)
def test_freshness_is_measured_against_the_newest_minute_due(newest, due, passed, observed):
    check = freshness("bars", "binance", newest, due)
    assert (check.passed, check.observed, check.threshold) == (passed, observed, "at most 180 s behind")


def test_a_table_may_not_hold_a_key_twice():
    assert duplicate_keys("bars", 0).passed
    assert duplicate_keys("bars", 2)[3:] == (False, "2 rows", "0 rows", 2)


def test_coverage_counts_missing_and_lost_minutes():
    day = {"expected": [390, 390], "missing": [4, 0], "lost": [2, 0]}
    assert coverage_share("bars", "yahoo", pl.DataFrame(day)).observed == "774 of 780 minutes (99.23%)"
    assert coverage_share("bars", "yahoo", pl.DataFrame(day)).passed
    assert not coverage_share("bars", "yahoo", pl.DataFrame(day).head(1)).passed
    assert coverage_share("bars", "yahoo", pl.DataFrame(day).clear()).passed


def test_venues_agree_where_half_of_their_minutes_do():
    near = venues_agree("binance", "coinbase", pl.Series([1.0, 2.0, 900.0]))
    assert (near.passed, near.failing_rows, near.observed) == (True, 1, "median 2.00 bps apart in 3 minutes")
    assert not venues_agree("binance", "coinbase", pl.Series([60.0, 70.0])).passed


def test_checks_become_rows_of_the_quality_table():
    rows = quality_frame([duplicate_keys("bars", 0), duplicate_keys("trades", 1)], NOON)
    assert rows.schema == QUALITY_SCHEMA
    assert rows.select("suite", "check_name", "passed", "checked_at").rows() == [
        ("minute", "bars: key unique", True, NOON),
        ("minute", "trades: key unique", False, NOON),
    ]
    assert quality_frame([], NOON).schema == QUALITY_SCHEMA
