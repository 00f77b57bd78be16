"""Recorded markets through the whole walk: every loaded row is the recorded one, and March 2023 is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows import history, walk
from flows.user_files import import_file
from pipelines.market import naive
from pipelines.replica.recorded import RecordedMarket
from pipelines.replica.server import Replica
from pipelines.settings_sections import Windows
from pipelines.settings_sources import Source
from tests.lakes import Lake, new_lake
from tests.recordings import OHLCV, coin_bars, recorded, share_bars

pytestmark = pytest.mark.realdata
COINS = ("BTCUSDT", "BTCUSDC", "USDCUSDT")
SHARES = ("SPY", "AIG")
MINUTE = timedelta(minutes=1)
FEW = Windows(intervals=("5m", "1h"))


@pytest.fixture(scope="module")
def market(shared_data: Path) -> RecordedMarket:
    return RecordedMarket(shared_data)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    made = new_lake(tmp_path, windows=FEW)
    yield made
    made.con.close()


def live_minutes(lake: Lake, replica: Replica, count: int) -> None:
    for number in range(count):
        replica.clock.advance(60)
        run = walk.Run(
            lake.context, lake.con, f"run-{number}", datetime.fromtimestamp(replica.clock.now(), UTC)
        )
        for feed in lake.context.feeds():
            walk.ingest(run, feed)
        walk.derive_and_alert(run)


def bars_in(lake: Lake, source: str, symbol: str, columns: list[str]) -> pl.DataFrame:
    return lake.frame(
        f"SELECT {', '.join(columns)} FROM bars WHERE source = '{source}' AND symbol = '{symbol}' ORDER BY ts"
    )


def test_the_days_before_and_the_minutes_of_a_bank_run_are_row_by_row_the_recorded_ones(
    market: RecordedMarket, shared_data: Path, tmp_path: Path
):
    start, now = datetime(2023, 3, 9, tzinfo=UTC), datetime(2023, 3, 11, 7, 13, 30, tzinfo=UTC)
    with Replica(market, now=now, speed=0) as replica:
        lake = new_lake(tmp_path, windows=FEW, sources=(Source("binance", COINS, base_url=replica.url),))
        brought = history.backfill(lake.con, lake.context, "run-0", start)
        assert (brought.problems, brought.rows_quarantined) == ([], 0)
        live_minutes(lake, replica, 3)
    until = datetime(2023, 3, 11, 7, 16)
    for coin in COINS:
        wanted = coin_bars(shared_data, coin, naive(start), until)
        found = bars_in(lake, "binance", coin, wanted.columns)
        assert_frame_equal(found, wanted, check_exact=True)
    fives = lake.rows(
        "SELECT min(minutes), max(minutes), bool_and(is_complete) FROM calc.windows WHERE interval = '5m'"
    )
    assert fives == [(5, 5, True)]
    assert lake.one("SELECT count(*) FROM bars WHERE origin = 'rest'") == 3 * 3
    lake.con.close()


def test_shares_are_the_recorded_ones_from_bell_to_bell(
    market: RecordedMarket, shared_data: Path, tmp_path: Path
):
    start, now = datetime(2013, 10, 4, tzinfo=UTC), datetime(2013, 10, 9, 14, 29, 30, tzinfo=UTC)
    with Replica(market, now=now, speed=0) as replica:
        source = Source("yahoo", SHARES, calendar="XNYS", base_url=replica.url)
        lake = new_lake(tmp_path, windows=FEW, sources=(source,))
        brought = history.backfill(lake.con, lake.context, "run-0", start)
        assert (brought.problems, brought.rows_quarantined) == ([], 0)
        live_minutes(lake, replica, 2)
    for share in SHARES:
        wanted = share_bars(shared_data, share, datetime(2013, 10, 9, 14, 31))
        assert_frame_equal(bars_in(lake, "yahoo", share, OHLCV), wanted, check_exact=True)
        assert wanted.height > 3 * 390
    past = "day < DATE '2013-10-09'"
    quiet = lake.one(f"SELECT sum(expected - ok) FROM coverage WHERE {past}")
    assert lake.rows(f"SELECT sum(no_trade), sum(missing + lost) FROM coverage WHERE {past}") == [(quiet, 0)]
    assert quiet > 0
    assert lake.rows("SELECT * FROM gaps") == []
    lake.con.close()


@pytest.mark.capability("ANO-02")
@pytest.mark.capability("ANO-06")
def test_the_dollar_that_broke_is_a_critical_anomaly_and_calm_days_have_none(lake: Lake, shared_data: Path):
    path = shared_data / "bars_1m/iaqf2023_kraken_usdcusd_1m.parquet"
    brought = import_file(lake.con, lake.context, "run-1", path, "kraken", "USDCUSD")
    assert (brought.rows_loaded, brought.rows_quarantined) == (20_934, 0)
    trough = lake.rows("SELECT ts, close FROM bars ORDER BY close, ts LIMIT 1")
    assert trough == [(datetime(2023, 3, 11, 7, 15), 0.874)]
    spikes = lake.rows(
        "SELECT interval, ts FROM anomalies JOIN core.intervals USING (interval) WHERE kind = 'price_spike' "
        "AND severity = 'critical' AND TIMESTAMP '2023-03-11 07:15' >= ts "
        "AND TIMESTAMP '2023-03-11 07:15' < ts + to_seconds(seconds)"
    )
    assert spikes
    days = {
        day for (day,) in lake.rows("SELECT DISTINCT ts::DATE FROM anomalies WHERE severity = 'critical'")
    }
    assert date(2023, 3, 11) in days
    assert days <= {date(2023, 3, d) for d in (10, 11, 12, 13)}


@pytest.mark.capability("RES-01")
@pytest.mark.capability("ING-13")
def test_recorded_trades_make_exactly_the_recorded_minutes(lake: Lake, shared_data: Path):
    path = shared_data / "trades/freqtrade_xrp_eth_trades.parquet"
    brought = import_file(lake.con, lake.context, "run-1", path, "binance", "XRPETH")
    assert (brought.rows_loaded, brought.rows_quarantined) == (12_477, 0)
    found = lake.frame(
        f"SELECT {', '.join(OHLCV)} FROM ohlcv WHERE symbol = 'XRPETH' AND interval = '1m' ORDER BY ts"
    )
    wanted = recorded(shared_data / "bars_1m/freqtrade_xrp_eth_1m.parquet", "date").select(OHLCV)
    assert wanted.height == 2_469
    assert_frame_equal(found, wanted, abs_tol=1e-9)
    again = import_file(lake.con, lake.context, "run-2", path, "binance", "XRPETH")
    assert (again.rows_loaded, again.chunks_known) == (0, again.chunks)


@pytest.mark.capability("RES-01")
@pytest.mark.capability("RES-06")
def test_recorded_trades_have_windows_and_indicators_too(lake: Lake, shared_data: Path):
    trades = shared_data / "trades/freqtrade_xrp_eth_trades.parquet"
    import_file(lake.con, lake.context, "run-1", trades, "ticks", "XRPETH")
    bars = shared_data / "bars_1m/freqtrade_xrp_eth_1m.parquet"
    import_file(lake.con, lake.context, "run-1", bars, "bars", "XRPETH")
    one, other = (
        lake.frame(
            "SELECT ts, open, high, low, close, volume, minutes FROM ohlcv "
            f"WHERE source = '{name}' AND interval = '5m' ORDER BY ts"
        )
        for name in ("ticks", "bars")
    )
    assert other.height > 700
    assert_frame_equal(one, other, abs_tol=1e-9)
    counts = [
        lake.one(f"SELECT count(rsi_14) FROM indicators WHERE source = '{n}'") for n in ("ticks", "bars")
    ]
    assert counts[0] == counts[1] > 2_000
