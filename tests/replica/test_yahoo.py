"""The Yahoo dialect and its oddities."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest

from pipelines.replica.server import Replica
from tests.replica.conftest import NOON

NOON_S = int(NOON.timestamp())
OPEN_S = int(datetime(2026, 7, 8, 13, 30, tzinfo=UTC).timestamp())
DAY_S = 86_400


def chart(client: httpx.Client, symbol: str = "AAPL", **params: Any) -> dict[str, Any]:
    reply = client.get(f"/v8/finance/chart/{symbol}", params={"interval": "1m"} | params)
    assert reply.status_code == 200, reply.text
    assert reply.json()["chart"]["error"] is None
    return reply.json()["chart"]["result"][0]


def test_a_session_under_way_ends_with_a_null_minute_and_the_last_trade(client):
    result = chart(client, range="1d")
    stamps, quote = result["timestamp"], result["indicators"]["quote"][0]
    assert stamps[0] == OPEN_S
    assert stamps[-2:] == [NOON_S - 30, NOON_S]
    assert all(quote[name][-2] is None for name in ("open", "high", "low", "close", "volume"))
    assert quote["open"][-1] == quote["close"][-1]
    assert quote["volume"][-1] == 0
    assert {len(column) for column in quote.values()} == {len(stamps)} == {152}


def test_prices_are_float32_and_the_first_volume_is_zero(client, replica):
    quote = chart(client, period1=NOON_S - 630, period2=NOON_S - 30)["indicators"]["quote"][0]
    truth = replica.ask("truth", venue="yahoo", symbol="AAPL", from_=0)["columns"]
    rows = replica.ask(
        "truth", **{"venue": "yahoo", "symbol": "AAPL", "from": NOON_S - 630, "to": NOON_S - 30}
    )["rows"]
    closes = [row[truth.index("close")] for row in rows]
    assert quote["close"][:10] == [float(np.float32(close)) for close in closes]
    assert quote["close"][:10] != closes
    assert quote["volume"][0] == 0
    assert quote["volume"][1:10] == [int(row[truth.index("volume")]) for row in rows[1:]]


def test_after_the_close_a_flat_row_sits_exactly_at_the_session_end(replica, client):
    replica.clock.set(datetime(2026, 7, 8, 21, 0, tzinfo=UTC))
    result = chart(client, range="1d")
    assert result["timestamp"][-1] == OPEN_S + 390 * 60
    assert result["indicators"]["quote"][0]["volume"][-1] == 0
    assert len(result["timestamp"]) == 391


def test_a_row_past_period2_slips_in_now_and_then(client):
    lengths = {
        len(chart(client, period1=NOON_S - 30 - 3600, period2=NOON_S - 30 - 1800 + 60 * k)["timestamp"])
        - 30
        - k
        for k in range(8)
    }
    assert lengths == {0, 1}


def test_an_empty_window_is_a_reply_without_timestamps(client):
    result = chart(client, period1=NOON_S - 4 * DAY_S, period2=NOON_S - 3 * DAY_S)  # 4 and 5 July
    assert "timestamp" not in result
    assert result["indicators"] == {"quote": [{}]}
    assert "tradingPeriods" not in result["meta"]


def test_trading_periods_have_two_shapes(client):
    plain = chart(client, range="1d")["meta"]["tradingPeriods"]
    assert plain == [[{"timezone": "EDT", "start": OPEN_S, "end": OPEN_S + 390 * 60, "gmtoffset": -14400}]]
    full = chart(client, range="1d", includePrePost="true")["meta"]["tradingPeriods"]
    assert {"pre", "regular", "post"} == set(full)
    assert full["regular"] == plain


def test_meta_tells_the_zone_the_price_and_the_granularity(client):
    meta = chart(client, range="1d")["meta"]
    assert meta["exchangeTimezoneName"] == "America/New_York"
    assert (meta["dataGranularity"], meta["currency"], meta["priceHint"]) == ("1m", "USD", 2)
    assert meta["currentTradingPeriod"]["regular"]["start"] == OPEN_S
    assert meta["regularMarketTime"] == NOON_S
    assert meta["validRanges"][0] == "1d"


def test_half_hours_come_back_as_hours_and_days_carry_adjclose(client):
    hours = chart(client, interval="30m", range="5d")
    assert hours["meta"]["dataGranularity"] == "1h"
    assert hours["timestamp"][1] - hours["timestamp"][0] == 3600
    days = chart(client, interval="1d", range="5d")
    assert len(days["timestamp"]) == 6  # five sessions and the live row
    assert days["indicators"]["adjclose"][0]["adjclose"] == days["indicators"]["quote"][0]["close"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("NOPE?interval=1m", 404, "No data found, symbol may be delisted"),
        (
            "AAPL?interval=7d",
            400,
            "Invalid input - interval=7d is not supported. Valid intervals: [1m, 2m, 5m",
        ),
        ("AAPL?interval=1m&range=soon", 400, "Invalid input - range=soon is not supported."),
        (
            f"AAPL?interval=1m&period1={NOON_S - 9 * DAY_S}&period2={NOON_S}",
            422,
            "Only 8 days worth of 1m granularity",
        ),
        (
            f"AAPL?interval=1m&period1={NOON_S - 31 * DAY_S}&period2={NOON_S - 30 * DAY_S}",
            422,
            "The requested range must be within the last 30 days.",
        ),
        (
            f"AAPL?interval=5m&period1={NOON_S - 61 * DAY_S}&period2={NOON_S}",
            422,
            "The requested range must be within the last 60 days.",
        ),
    ],
)
def test_errors_are_worded_as_yahoo_words_them(client, path, status, words):
    reply = client.get(f"/v8/finance/chart/{path}")
    assert reply.status_code == status
    assert reply.json()["chart"]["result"] is None
    assert words in reply.json()["chart"]["error"]["description"]


def test_too_many_requests_is_plain_text(replica, client):
    replica.fault("status", venue="yahoo", status=429, count=1)
    reply = client.get("/v8/finance/chart/AAPL?interval=1m")
    assert (reply.status_code, reply.text) == (429, "Too Many Requests\r\n")
    assert client.get("/v8/finance/chart/AAPL?interval=1m").status_code == 200


def test_a_half_day_closes_at_one():
    with Replica(now=datetime(2026, 11, 27, 20, 0, tzinfo=UTC), speed=0) as replica, httpx.Client() as client:
        reply = client.get(f"{replica.url}/v8/finance/chart/SPY?interval=1m&range=1d").json()
        assert len(reply["chart"]["result"][0]["timestamp"]) == 211
