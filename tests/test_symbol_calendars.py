"""A source's symbols may follow several calendars: shares New York's, coins none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import history
from flows.covering import run_covering
from pipelines.calendars import by_source
from pipelines.market import naive
from pipelines.replica.server import Replica
from pipelines.settings_sections import Windows
from pipelines.settings_sources import Source
from tests.lakes import Lake, new_lake
from tests.test_ingest import run_minute

FRIDAY = datetime(2026, 11, 20, 18, 0, 30, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=FRIDAY, speed=0, seed=7) as running:
        yield running


@pytest.fixture
def lake(replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    yahoo = Source(
        "yahoo", ("AAPL", "BTC-USD"), calendars=(("BTC-USD", "24/7"),), base_url=replica.url,
        timeout=timedelta(seconds=1),
    )  # fmt: skip
    made = new_lake(tmp_path, sources=(yahoo,), windows=Windows(intervals=("5m", "1h")))
    yield made
    made.con.close()


@pytest.mark.capability("ING-15")
def test_a_coin_beside_shares_goes_on_while_new_york_sleeps(lake: Lake, replica: Replica):
    history.backfill(lake.con, lake.context, "run-1", FRIDAY - timedelta(hours=4), None, "yahoo")
    assert lake.rows("SELECT symbol, calendar FROM series ORDER BY 1") == [
        ("AAPL", "XNYS"),
        ("BTC-USD", "24/7"),
    ]
    per_year = lake.rows(
        "SELECT symbol, round(max((volatility_ann / volatility_20) ** 2)) FROM indicators WHERE interval = '5m' GROUP BY 1 ORDER BY 1"
    )
    assert per_year == [("AAPL", 252 * 78), ("BTC-USD", 365 * 288)]
    replica.clock.set(SATURDAY)
    for _ in range(2):
        done = run_minute(lake, replica)["yahoo"]
        replica.clock.advance(60)
    assert done.state == "ok"
    newest = dict(lake.rows("SELECT symbol, max(ts) FROM bars GROUP BY 1"))
    assert newest["BTC-USD"] == datetime(2026, 11, 21, 12, 0)
    assert newest["AAPL"] == datetime(2026, 11, 20, 20, 59)
    windows = "SELECT count(*), min(minutes) FROM calc.windows WHERE symbol = 'BTC-USD' AND interval = '1h' AND ts >= '2026-11-21'"
    assert lake.rows(windows) == [(12, 60)]
    assert lake.one("SELECT count(*) FROM calc.windows WHERE symbol = 'AAPL' AND ts >= '2026-11-21'") == 0
    run_covering(lake.context, lake.con, "run-c", naive(datetime.now(UTC)))
    saturday = lake.rows("SELECT symbol, expected FROM coverage WHERE day = '2026-11-21'")
    assert [symbol for symbol, _ in saturday] == ["BTC-USD"]


def test_the_usual_calendar_of_a_source_is_that_of_most_of_its_series():
    rows = [("yahoo", "AAPL", "XNYS"), ("yahoo", "BTC-USD", "24/7"), ("yahoo", "MSFT", "XNYS")]
    assert by_source(rows) == {"yahoo": "XNYS", "yahoo:BTC-USD": "24/7"}
