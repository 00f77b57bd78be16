"""The day's sessions and the day's check."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from flows.daily import run_daily, run_sessions
from tests.warehouse.conftest import aware, bars


@pytest.mark.capability("ING-15")
def test_sessions_reach_from_before_the_oldest_bar_to_a_year_ahead(lake):
    lake.load(bars("SPY", datetime(2025, 7, 1, 14), source="yahoo"))
    assert run_sessions(lake.context, lake.con, date(2026, 3, 10)) > 400
    assert lake.rows("SELECT calendar, min(session), max(session) FROM sessions GROUP BY 1") == [
        ("XNYS", date(2025, 5, 2), date(2027, 3, 11))
    ]
    assert lake.rows("SELECT minutes, is_early_close FROM sessions WHERE session = DATE '2026-11-27'") == [
        (210, True)
    ]
    assert run_sessions(lake.context, lake.con, date(2026, 3, 10)) == 0


def test_a_day_is_recorded_as_one_run(lake):
    lake.load(bars(count=30))
    done = run_daily(lake.context, lake.con, "run-d", aware(datetime(2026, 3, 10, 13)))
    assert done.quality.checks == lake.one("SELECT count(*) FROM quality WHERE suite IS NOT NULL")
    assert lake.rows("SELECT run_id, flow, state FROM runs") == [("run-d", "daily", "Completed")]
