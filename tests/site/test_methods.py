"""The methods page tells what the newest look-ahead certificate found."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from pipelines.quality.tables import Check, quality_frame
from reports.pages.others import methods_page
from reports.snapshot import Snapshot, take
from tests.site import market
from tests.site.conftest import options

pytestmark = pytest.mark.capability("M4")


@pytest.fixture(scope="module")
def snap(lake) -> Snapshot:
    return take(lake[0], options())


def night(days_ago: int, passed: bool) -> pl.DataFrame:
    checks = [
        Check(f"look-ahead: {name}", "indicators", "critical", passed or name != "rsi_14", "seen", "1e-9")
        for name in ("ema_12", "rsi_14")
    ]
    rows = quality_frame(checks, market.NOW - timedelta(days=days_ago), "certificate")
    return rows.with_columns(run_id=pl.lit(f"night-{days_ago}"))


@pytest.mark.parametrize("clean", [True, False])
def test_the_newest_night_counts(snap: Snapshot, clean: bool) -> None:
    rows = pl.concat([night(1, clean), night(2, not clean)], how="diagonal")
    told = methods_page(replace(snap, quality=rows)).model["certificate"]
    assert told["is_clean"] is clean
    assert [row["check_name"][12:] for row in told["rows"] if not row["passed"]] == (
        [] if clean else ["rsi_14"]
    )
    assert len(told["rows"]) == 2


def test_before_the_first_night_there_is_none(snap: Snapshot) -> None:
    assert methods_page(replace(snap, quality=night(1, True).clear())).model["certificate"] is None
