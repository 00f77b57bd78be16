"""March 2023 and October 2013 at once under a real Prefect server and worker: every source has its own clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.context import assemble
from pipelines.replica.recorded import RecordedMarket
from pipelines.replica.server import Replica
from pipelines.settings import load
from tests.platforms import Platform
from tests.recordings import OHLCV, coin_bars, share_bars
from warehouse.connect import connect
from warehouse.stage import frame, literal

pytestmark = [pytest.mark.prefect, pytest.mark.realdata]
COINS, SHARES = ("BTCUSDT", "USDCUSDT"), ("SPY", "AIG")
BANK_RUN = datetime(2023, 3, 11, 7, 13, 30, tzinfo=UTC)
A_WEDNESDAY = datetime(2013, 10, 9, 14, 29, 30, tzinfo=UTC)


@pytest.fixture
def exchanges(shared_data: Path) -> Iterator[tuple[Replica, Replica]]:
    market = RecordedMarket(shared_data)
    with Replica(market, now=BANK_RUN, speed=0) as coins, Replica(market, now=A_WEDNESDAY, speed=0) as shares:
        yield coins, shares


def _config(folder: Path, coins: str, shares: str) -> Path:
    path = folder / "tapewatch.toml"
    path.write_text(
        f"data_dir = {json.dumps(str(folder / 'data'))}\nsite_dir = {json.dumps(str(folder / 'site'))}\n"
        '[windows]\nintervals = ["5m"]\n'
        f'[[source]]\nname = "binance"\nsymbols = {json.dumps(COINS)}\nbase_url = "{coins}"\nhistory = "2h"\n'
        f'[[source]]\nname = "yahoo"\nsymbols = {json.dumps(SHARES)}\nbase_url = "{shares}"\nhistory = "1d"\n'
    )
    return path


def _bars(config: Path, source: str, symbol: str, columns: list[str]) -> pl.DataFrame:
    con = connect(assemble(load(config, {})).location, read_only=True)
    try:
        return frame(
            con,
            f"SELECT {', '.join(columns)} FROM bars WHERE source = {literal(source)} "
            f"AND symbol = {literal(symbol)} ORDER BY ts",
        )
    finally:
        con.close()


@pytest.mark.capability("ING-01")
@pytest.mark.capability("ING-16")
@pytest.mark.capability("OPS-05")
def test_the_flows_load_exactly_the_recorded_bars(
    exchanges: tuple[Replica, Replica], shared_data: Path, tmp_path: Path
):
    config = _config(tmp_path, *(exchange.url for exchange in exchanges))
    platform = Platform(tmp_path, config=config)
    try:
        platform.wait_for("Tapewatch is running", 120)
        for exchange in exchanges:
            exchange.clock.advance(60)
        history = platform.trigger("backfill", start="2013-10-07T00:00:00Z", source="yahoo")
        assert [platform.minute(90), platform.outcome(history, 90)] == ["COMPLETED", "COMPLETED"]
    finally:
        platform.stop()
    until = datetime(2023, 3, 11, 7, 14)
    for coin in COINS:
        wanted = coin_bars(shared_data, coin, until - timedelta(hours=2), until)
        found = _bars(config, "binance", coin, wanted.columns)
        assert_frame_equal(found, wanted, check_exact=True)
        assert found.height == 120
    for share in SHARES:
        wanted = share_bars(shared_data, share, datetime(2013, 10, 9, 14, 30))
        wanted = wanted.filter(pl.col("ts") >= datetime(2013, 10, 7))
        assert_frame_equal(_bars(config, "yahoo", share, OHLCV), wanted, check_exact=True)
        assert wanted.height > 2 * 390
