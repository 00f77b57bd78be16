"""The Binance dialect: rows, ranges, errors, weights."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

from pipelines.replica.limits import WeightLimit
from pipelines.replica.server import Replica
from tests.replica.conftest import MINUTE_MS, NOON, NOON_MS

OPEN_MS = NOON_MS - 30_000  # the minute under way


def klines(client: httpx.Client, **params: object) -> list[list]:
    query = {"symbol": "BTCUSDT", "interval": "1m"} | params
    reply = client.get("/api/v3/klines", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_newest_klines_end_with_the_open_one(client):
    rows = klines(client, limit=3)
    assert [row[0] for row in rows] == [OPEN_MS - 2 * MINUTE_MS, OPEN_MS - MINUTE_MS, OPEN_MS]
    assert rows[-1][6] == OPEN_MS + MINUTE_MS - 1 > NOON_MS
    assert [len(row) for row in rows] == [12] * 3
    assert isinstance(rows[0][1], str)
    assert isinstance(rows[0][8], int)
    assert len(klines(client)) == 500
    assert len(klines(client, limit=5000)) == 1000


def test_ranges_are_inclusive_at_both_ends(client):
    start, end = OPEN_MS - 10 * MINUTE_MS, OPEN_MS - 5 * MINUTE_MS
    assert [row[0] for row in klines(client, startTime=start, endTime=end)] == list(
        range(start, end + 1, MINUTE_MS)
    )
    assert [row[0] for row in klines(client, startTime=start, limit=2)] == [start, start + MINUTE_MS]
    assert [row[0] for row in klines(client, endTime=end, limit=2)] == [end - MINUTE_MS, end]
    assert klines(client, startTime=NOON_MS + MINUTE_MS) == []
    assert klines(client, startTime=start * 1000, endTime=end * 1000) == klines(
        client, startTime=start, endTime=end
    )


@pytest.mark.parametrize(("interval", "minutes"), [("3m", 3), ("15m", 15), ("1h", 60), ("4h", 240)])
def test_wider_klines_merge_the_minutes(client, interval, minutes):
    (wide,) = klines(client, interval=interval, endTime=OPEN_MS - minutes * MINUTE_MS, limit=1)
    parts = klines(client, startTime=wide[0], endTime=wide[6])
    assert len(parts) == minutes
    assert wide[1] == parts[0][1]
    assert wide[4] == parts[-1][4]
    assert Decimal(wide[2]) == max(Decimal(row[2]) for row in parts)
    assert Decimal(wide[5]) == sum(Decimal(row[5]) for row in parts)
    assert wide[8] == sum(row[8] for row in parts)


def test_days_weeks_and_months_open_where_binance_opens_them(client):
    assert klines(client, interval="1d", limit=1)[0][0] % 86_400_000 == 0
    assert klines(client, interval="1w", limit=1)[0][0] == 1_783_296_000_000  # Monday 2026-07-06
    assert [row[0] for row in klines(client, interval="1M", limit=2)] == [
        1_780_272_000_000,
        1_782_864_000_000,
    ]


def test_agg_trades_add_up_to_the_kline_and_page_by_id(client):
    (bar,) = klines(client, startTime=OPEN_MS - MINUTE_MS, limit=1)
    ask = {"symbol": "BTCUSDT", "startTime": bar[0], "endTime": bar[6], "limit": 1000}
    trades = client.get("/api/v3/aggTrades", params=ask).json()
    assert (trades[0]["p"], trades[-1]["p"]) == (bar[1], bar[4])
    assert max(Decimal(one["p"]) for one in trades) == Decimal(bar[2])
    assert min(Decimal(one["p"]) for one in trades) == Decimal(bar[3])
    assert sum(Decimal(one["q"]) for one in trades) == Decimal(bar[5])
    assert sum(Decimal(one["p"]) * Decimal(one["q"]) for one in trades) == pytest.approx(Decimal(bar[7]))
    assert sum(one["l"] - one["f"] + 1 for one in trades) == bar[8]
    assert sum(Decimal(one["q"]) for one in trades if not one["m"]) == Decimal(bar[9])
    page = client.get(
        "/api/v3/aggTrades", params={"symbol": "BTCUSDT", "fromId": trades[3]["a"], "limit": 5}
    ).json()
    assert page == trades[3:8]
    newest = client.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT"}).json()
    assert len(newest) == 500
    assert newest[-1]["T"] <= NOON_MS
    assert [one["a"] for one in newest] == list(range(newest[0]["a"], newest[0]["a"] + 500))


def test_the_open_kline_is_what_its_trades_say_so_far(client):
    row = klines(client, limit=1)[0]
    trades = client.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT", "startTime": OPEN_MS}).json()
    assert Decimal(row[5]) == sum(Decimal(one["q"]) for one in trades)
    assert row[4] == trades[-1]["p"] == client.get("/api/v3/ticker/price?symbol=BTCUSDT").json()["price"]


def test_seconds_come_from_trades_and_silent_ones_are_flat(client):
    rows = klines(client, interval="1s", startTime=OPEN_MS - MINUTE_MS, endTime=OPEN_MS - 1000)
    (minute,) = klines(client, startTime=OPEN_MS - MINUTE_MS, limit=1)
    assert len(rows) == 60
    assert sum(Decimal(row[5]) for row in rows) == Decimal(minute[5])
    assert all(row[1] == row[4] == rows[i][4] for i, row in enumerate(rows[1:]) if row[8] == 0)


def test_microseconds_on_request(client):
    headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
    assert client.get("/api/v3/time", headers=headers).json() == {"serverTime": NOON_MS * 1000}
    row = client.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1", headers=headers).json()[0]
    assert (row[0], row[6]) == (OPEN_MS * 1000, (OPEN_MS + MINUTE_MS) * 1000 - 1)


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        (
            "klines?interval=1m",
            -1102,
            "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
        ),
        (
            "klines?symbol=BTCUSDT",
            -1102,
            "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
        ),
        ("klines?symbol=NOPE&interval=1m", -1121, "Invalid symbol."),
        ("klines?symbol=BTCUSDT&interval=1x", -1120, "Invalid interval."),
        ("klines?symbol=btcusdt&interval=1m", -1100, "Illegal characters found in parameter 'symbol'"),
        (
            "klines?symbol=BTCUSDT&interval=1m&limit=many",
            -1100,
            "Illegal characters found in parameter 'limit'",
        ),
        ("klines?symbol=BTCUSDT&interval=1m&limit=0", -1130, "Data sent for parameter 'limit' is not valid."),
        (
            "klines?symbol=BTCUSDT&interval=1m&foo=1",
            -1104,
            "Not all sent parameters were read; read '2' parameter(s) but was sent '3'.",
        ),
        (
            "aggTrades?symbol=BTCUSDT&fromId=1&startTime=2",
            -1128,
            "Combination of optional parameters invalid.",
        ),
        (
            'ticker/price?symbols=["BTCUSDT","BTCUSDT"]',
            -1151,
            "Symbol is present multiple times in the list.",
        ),
    ],
)
def test_errors_are_worded_as_the_venue_words_them(client, query, code, words):
    reply = client.get(f"/api/v3/{query}")
    assert reply.status_code == 400
    assert reply.json()["code"] == code
    assert words in reply.json()["msg"]


def test_weight_is_counted_refused_banned_and_forgotten_with_the_minute():
    wall = [1_000_000.0]
    limit = WeightLimit(limit=10, patience=2, ban_s=120, wall=lambda: wall[0])
    with Replica(now=NOON, speed=0, limit=limit) as replica, httpx.Client(base_url=replica.url) as client:

        def ask() -> httpx.Response:
            return client.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1")

        replies = [ask() for _ in range(5)]
        assert [reply.headers["X-MBX-USED-WEIGHT-1M"] for reply in replies] == ["2", "4", "6", "8", "10"]
        refused = ask()
        assert (refused.status_code, refused.json()["code"]) == (429, -1003)
        assert 0 < int(refused.headers["Retry-After"]) <= 61
        assert ask().status_code == 429
        banned = ask()
        assert (banned.status_code, banned.json()["code"]) == (418, -1003)
        assert "IP banned until" in banned.json()["msg"]
        wall[0] += 100
        assert ask().status_code == 418
        wall[0] += 60
        assert ask().status_code == 200


def test_exchange_info_lists_symbols_with_their_ticks(client):
    info = client.get('/api/v3/exchangeInfo?symbols=["BTCUSDT","ETHUSDT"]').json()
    assert [one["symbol"] for one in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert info["symbols"][0]["filters"][0]["tickSize"] == "0.01000000"
    assert client.get("/api/v3/exchangeInfo").headers["X-MBX-USED-WEIGHT-1M"] == "40"


def test_futures_weigh_by_limit_and_leave_out_seconds(client):
    assert (
        client.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=99").headers["X-MBX-USED-WEIGHT-1M"]
        == "1"
    )
    assert (
        client.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1500").headers["X-MBX-USED-WEIGHT-1M"]
        == "11"
    )
    assert client.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1s").json()["code"] == -1120
    trade = client.get("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1").json()[0]
    assert "M" not in trade
    assert "nq" in trade
