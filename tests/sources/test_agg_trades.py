"""Binance's aggregated trades become trades, page after page by id."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

from pipelines.market import TRADE_SCHEMA, from_epoch_ms
from pipelines.sources.agg_trades import agg_trades_to_frame
from pipelines.sources.base import BarRequest
from pipelines.sources.binance import Binance
from tests.sources.venues import OPEN, OPEN_MS, Network, minute, reply

TRADES = "/api/v3/aggTrades"


def trade(n: int, price: str = "0.5", at_ms: int | None = None, sold: bool = True) -> dict[str, Any]:
    ids = {"a": n, "f": 10 * n, "l": 10 * n + 1}
    at = OPEN_MS if at_ms is None else at_ms
    return ids | {"p": price, "q": "3.0", "T": at, "m": sold, "M": True, "nq": "new keys are ignored"}


def test_the_buyer_as_maker_means_the_aggressor_sold():
    parsed = agg_trades_to_frame([reply([trade(7, sold=True), trade(8, sold=False)], path=TRADES)])
    assert parsed.trades.schema == pl.Schema(TRADE_SCHEMA)
    assert parsed.trades.rows() == [
        ("binance", "BTCUSDT", 7, minute(0), 0.5, 3.0, "sell", 2),
        ("binance", "BTCUSDT", 8, minute(0), 0.5, 3.0, "buy", 2),
    ]


def test_a_trade_that_cannot_be_read_is_rejected_and_its_neighbours_kept():
    bad = [
        trade(2, price="?"),
        {"a": 3},
        [1],
        trade(4) | {"T": -1},
        trade(5) | {"m": "true"},
        trade(6) | {"f": 1.5},
    ]
    parsed = agg_trades_to_frame([reply([trade(1), *bad, trade(9), trade(9)], path=TRADES)])
    assert parsed.trades["trade_id"].to_list() == [1, 9]
    assert [json.loads(payload) for payload in parsed.rejects["payload"]] == bad
    assert parsed.rejects["reason"].to_list() == [
        "not_a_number", "wrong_shape", "wrong_shape", "bad_time", "wrong_shape", "not_a_number",
    ]  # fmt: skip


def test_pages_follow_by_id_because_many_trades_share_a_millisecond():
    tape = [trade(n, at_ms=OPEN_MS + n // 700) for n in range(2_500)]

    def venue(request: httpx.Request, _: int) -> httpx.Response:
        first = int(request.url.params.get("fromId", 0))
        return httpx.Response(200, json=tape[first : first + 1000])

    network = Network(venue)
    source = Binance(transport=network.transport)
    replies, failures = source.fetch_trades([BarRequest("btcusdt", OPEN, OPEN + timedelta(hours=1))])
    assert failures == []
    assert source.parse_trades(replies).trades["trade_id"].to_list() == list(range(2_500))
    asked = [dict(request.url.params) for request in network.requests]
    window = {"startTime": str(OPEN_MS), "endTime": str(OPEN_MS + 3_600_000 - 1)}
    assert asked[0] == {"symbol": "BTCUSDT", "limit": "1000"} | window
    assert [params.get("fromId") for params in asked] == [None, "1000", "2000"]


def test_paging_stops_at_the_end_of_the_window_and_at_an_error():
    until = OPEN + timedelta(milliseconds=1)
    network = Network(
        lambda request, _: httpx.Response(200, json=[trade(n, at_ms=OPEN_MS + 1) for n in range(1000)])
    )
    assert len(Binance(transport=network.transport).fetch_trades([BarRequest("A", OPEN, until)]).replies) == 1
    network = Network(lambda request, _: httpx.Response(400, json={"code": -1121, "msg": "Invalid symbol."}))
    source = Binance(transport=network.transport)
    [failure] = source.parse_trades(source.fetch_trades([BarRequest("A", OPEN, until)]).replies).failures
    assert failure.reason == "unknown_symbol"


@pytest.mark.realdata
def test_recorded_aggregates_give_exactly_the_recorded_bars(shared_data: Path):
    raw = pl.read_parquet(shared_data / "trades/freqtrade_xrpeth_binance_aggtrades_raw.parquet").to_dicts()
    replies = [
        reply(orjson.dumps(raw[at : at + 1000]), "XRPETH", path=TRADES) for at in range(0, len(raw), 1000)
    ]
    parsed = agg_trades_to_frame(replies)
    assert (parsed.trades.height, parsed.rejects.height) == (12_477, 0)
    assert parsed.trades["ts"][0].isoformat() == from_epoch_ms(1570752011620).replace(tzinfo=None).isoformat()
    recorded = pl.read_parquet(shared_data / "bars_1m/freqtrade_xrp_eth_1m.parquet")
    price = pl.col("price")
    bars = parsed.trades.group_by(date=pl.col("ts").dt.truncate("1m"), maintain_order=True).agg(
        open=price.first(), high=price.max(), low=price.min(), close=price.last(), volume=pl.col("qty").sum()
    )
    expected = recorded.with_columns(pl.col("date").dt.replace_time_zone(None).cast(pl.Datetime("us")))
    joined = bars.join(expected, on="date", suffix="_recorded")
    assert (bars.height, joined.height) == (2_469, 2_469)
    for name in ("open", "high", "low", "close"):
        assert joined[name].to_list() == joined[f"{name}_recorded"].to_list()
    assert joined["volume"].to_list() == pytest.approx(joined["volume_recorded"].to_list())
