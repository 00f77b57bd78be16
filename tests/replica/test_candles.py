"""The fallback venues: Coinbase's and Kraken's candles of the same tape."""

from __future__ import annotations

from tests.replica.conftest import NOON

NOON_S = int(NOON.timestamp())


def test_coinbase_is_newest_first_with_low_before_high_and_no_silent_minutes(client, replica):
    rows = client.get("/products/ZEN-USDT/candles?granularity=60").json()
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    assert len(rows) < 300
    assert all(
        low <= min(opened, closed) and high >= max(opened, closed) for _, low, high, opened, closed, _ in rows
    )
    truth = replica.ask(
        "truth", **{"venue": "coinbase", "symbol": "ZEN-USDT", "from": rows[1][0], "to": rows[1][0] + 60}
    )
    assert truth["rows"][0][1:5] == [rows[1][3], rows[1][2], rows[1][1], rows[1][4]]


def test_coinbase_refuses_more_than_300_half_a_window_and_strange_widths(client):
    ask = "/products/BTC-USDT/candles"
    too_wide = client.get(f"{ask}?granularity=60&start=2026-07-08T00:00:00Z&end=2026-07-08T06:00:00Z")
    assert (too_wide.status_code, "exceeds 300" in too_wide.json()["message"]) == (400, True)
    assert client.get(f"{ask}?granularity=60&start=2026-07-08T00:00:00Z").status_code == 400
    assert client.get(f"{ask}?granularity=61").json() == {"message": "Unsupported granularity"}
    assert client.get("/products/NO-PE/candles").status_code == 404


def test_kraken_gives_the_newest_720_whatever_since_and_the_running_one_last(client):
    reply = client.get("/0/public/OHLC?pair=XBTUSDT&interval=1&since=1000").json()
    rows = reply["result"]["XBTUSDT"]
    assert reply["error"] == []
    assert len(rows) == 720
    assert rows[-1][0] == NOON_S - 30
    assert reply["result"]["last"] == NOON_S - 90
    assert client.get("/0/public/OHLC?pair=NOPE").json() == {"error": ["EQuery:Unknown asset pair"]}
