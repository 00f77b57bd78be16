"""The recorded market, row by row against its parquet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from pipelines.replica import nyse
from pipelines.replica.errors import ReplicaError
from pipelines.replica.recorded import RecordedMarket
from pipelines.replica.server import Replica

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def market(shared_data: Path) -> RecordedMarket:
    return RecordedMarket(shared_data)


@pytest.fixture
def replica(market: RecordedMarket) -> Iterator[Replica]:
    with Replica(market, now=datetime(2023, 3, 11, 6, 0, 30, tzinfo=UTC), speed=0) as running:
        yield running


@pytest.mark.parametrize("pair", ["btcusdt", "btcusdc", "usdcusdt"])
def test_binance_plays_every_recorded_kline(replica, shared_data, pair):
    recorded = pl.read_parquet(shared_data / f"bars_1m/iaqf2023_binance_{pair}_1m.parquet")
    replica.clock.set(datetime(2023, 3, 22, 0, 0, tzinfo=UTC))
    start, rows = int(recorded["open_time"][0]), []
    with httpx.Client(base_url=replica.url) as client:
        while page := client.get(
            "/api/v3/klines",
            params={"symbol": pair.upper(), "interval": "1m", "startTime": start, "limit": 1000},
        ).json():
            rows += page
            start = page[-1][0] + 60_000
    assert [row[0] for row in rows] == recorded["open_time"].to_list()
    for position, name in enumerate(("open", "high", "low", "close", "volume"), 1):
        assert [float(row[position]) for row in rows] == recorded[name].to_list()
    assert [row[7] for row in rows] == recorded["quote_volume"].to_list()
    assert [row[8] for row in rows] == recorded["trades"].to_list()
    assert [row[9] for row in rows] == recorded["taker_buy_base"].to_list()


def test_recorded_agg_trades_come_back_word_for_word(replica, shared_data):
    recorded = pl.read_parquet(shared_data / "trades/freqtrade_xrpeth_binance_aggtrades_raw.parquet")
    replica.clock.set(datetime(2019, 10, 13, 12, 0, tzinfo=UTC))
    found, number = [], int(recorded["a"][0])
    with httpx.Client(base_url=replica.url) as client:
        while page := client.get(
            "/api/v3/aggTrades", params={"symbol": "XRPETH", "fromId": number, "limit": 1000}
        ).json():
            found += page
            number = page[-1]["a"] + 1
    assert found == recorded.to_dicts()


def test_recorded_minutes_without_trades_stay_absent(replica, shared_data):
    recorded = pl.read_parquet(shared_data / "bars_1m/freqtrade_xrp_eth_1m.parquet")
    replica.clock.set(datetime(2019, 10, 13, 12, 0, tzinfo=UTC))
    with httpx.Client(base_url=replica.url) as client:
        ask = {"symbol": "XRPETH", "interval": "1m", "startTime": 1_570_752_000_000, "limit": 1000}
        rows = client.get("/api/v3/klines", params=ask).json()
    assert [row[0] for row in rows] == recorded["date"].dt.epoch("ms").to_list()[:1000]
    assert [float(row[4]) for row in rows] == recorded["close"].to_list()[:1000]


@pytest.mark.parametrize(
    ("file", "symbol", "days"),
    [
        ("lean_us_equity_20131004_1011_1m", "SPY", ("2013-10-04", "2013-10-12")),
        ("lean_us_equity_20131004_1011_1m", "AIG", ("2013-10-04", "2013-10-12")),
        ("lean_goog_halfday_20151223_1228_1m", "GOOG", ("2015-12-23", "2015-12-29")),
    ],
)
def test_yahoo_plays_the_regular_sessions_through_float32(replica, shared_data, file, symbol, days):
    start, end = (int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) for day in days)
    replica.clock.set(end)
    recorded = (
        pl.read_parquet(shared_data / f"bars_1m/{file}.parquet").filter(pl.col("symbol") == symbol).sort("ts")
    )
    stamps = recorded["ts"].dt.epoch("s").to_numpy()
    inside = np.zeros(len(stamps), bool)
    for one in nyse.sessions(start, end):
        inside |= (stamps >= one.open_s) & (stamps < one.close_s)
    regular = recorded.filter(pl.Series(inside))
    ask = {"interval": "1m", "period1": start, "period2": end}
    result = httpx.get(f"{replica.url}/v8/finance/chart/{symbol}", params=ask).json()["chart"]["result"][0]
    every = {"ts": result["timestamp"], **result["indicators"]["quote"][0]}
    is_null = [value is None for value in every["close"]]
    listed = {
        name: [v for v, null in zip(column, is_null, strict=True) if not null]
        for name, column in every.items()
    }
    count = len(regular)
    assert listed["ts"][:count] == regular["ts"].dt.epoch("s").to_list()
    for name in ("open", "high", "low", "close"):
        assert listed[name][:count] == regular[name].cast(pl.Float32).cast(pl.Float64).to_list()
    assert listed["volume"][1:count] == regular["volume"].to_list()[1:]
    assert len(listed["ts"]) - count <= 1
    minutes = {ts for one in nyse.sessions(start, end) for ts in range(one.open_s, one.close_s, 60)}
    absent = {ts for ts in minutes if stamps[0] <= ts < stamps[-1]} - set(stamps[inside].tolist())
    assert {ts for ts, null in zip(every["ts"], is_null, strict=True) if null} == absent
    assert every["ts"] == sorted(every["ts"])


def test_the_fallback_venues_play_their_own_recordings(replica, shared_data):
    with httpx.Client(base_url=replica.url) as client:
        candles = client.get("/products/BTC-USD/candles?granularity=60").json()
        kraken = client.get("/0/public/OHLC?pair=XBTUSD&interval=1").json()["result"]["XXBTZUSD"]
    coinbase = pl.read_parquet(shared_data / "bars_1m/iaqf2023_coinbase_btcusd_1m.parquet")
    known = {int(row["start"]): row for row in coinbase.iter_rows(named=True)}
    closed = [row for row in candles if row[0] + 60 <= replica.clock.now()]
    assert closed
    assert all(
        [known[row[0]][n] for n in ("low", "high", "open", "close", "volume")] == row[1:] for row in closed
    )
    assert kraken[-1][0] <= replica.clock.now()


def test_a_recorded_market_cannot_be_shocked_and_an_empty_folder_cannot_be_played(replica, tmp_path):
    with pytest.raises(ReplicaError, match="cannot be shocked"):
        replica.fault("shock", symbol="BTCUSDT")
    with pytest.raises(ReplicaError, match="no recorded bars"):
        RecordedMarket(tmp_path)
