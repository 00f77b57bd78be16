"""What each adapter asks its venue for, page by page and symbol by symbol."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any

import httpx
import pytest

from pipelines import sources
from pipelines.market import MINUTE
from pipelines.sources import discover, registry
from pipelines.sources.base import BarRequest, RateLimited, SourceBlocked, SourceError, SourceOptions
from pipelines.sources.binance import Binance
from pipelines.sources.yahoo import Yahoo
from tests.sources.venues import LATER, OPEN, OPEN_MS, OPEN_S, Network, chart, kline, minute, yahoo_error

WEEK = timedelta(days=7)


def request(symbol: str = "btcusdt", minutes: int = 5) -> BarRequest:
    return BarRequest(symbol, OPEN, OPEN + minutes * MINUTE)


def test_a_request_is_upper_case_and_utc():
    new_york = datetime.fromisoformat("2024-05-01T09:30:00-04:00")
    asked = BarRequest(" btcusdt ", new_york, datetime(2024, 5, 1, 13, 35))
    assert asked == BarRequest("BTCUSDT", OPEN, OPEN + 5 * MINUTE)


@pytest.mark.capability("ING-08")
def test_binance_is_asked_for_the_window_with_both_ends_in():
    network = Network(lambda request, _: httpx.Response(200, json=[kline(0)]))
    source = Binance(transport=network.transport)
    bars = source.parse(source.fetch([request()]).replies, LATER).bars
    assert bars.select("symbol", "ts").rows() == [("BTCUSDT", minute(0))]
    [asked] = network.requests
    assert asked.url.host == "data-api.binance.vision"
    assert dict(asked.url.params) == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": str(OPEN_MS),
        "endTime": str(OPEN_MS + 299_999),
        "limit": "1000",
    }


def test_a_long_window_is_paged_without_a_hole_or_an_overlap():
    pages = Binance().plan("btcusdt", OPEN, OPEN + 2_500 * MINUTE)
    assert [(page.until - page.since) // MINUTE for page in pages] == [1000, 1000, 500]
    assert all(page.until == following.since for page, following in itertools.pairwise(pages))
    assert (pages[0].since, pages[-1].until) == (OPEN, OPEN + 2_500 * MINUTE)
    assert Binance().plan("btcusdt", OPEN, OPEN) == []
    network = Network(lambda request, _: httpx.Response(200, json=[]))
    Binance(transport=network.transport).fetch([request(minutes=2_500)])
    assert len(network.requests) == 3


def test_who_is_behind_most_is_asked_first():
    network = Network(lambda request, _: httpx.Response(200, json=[]))
    late = BarRequest("ETHUSDT", OPEN - timedelta(hours=1), OPEN)
    Binance(SourceOptions(connections=1), network.transport).fetch([request(), late])
    assert [asked.url.params["symbol"] for asked in network.requests] == ["ETHUSDT", "BTCUSDT"]


def test_yahoo_is_asked_from_a_little_earlier_and_with_the_hours_before_the_open():
    network = Network(lambda request, _: httpx.Response(200, json=chart([(-60, 1.0, 0), (0, 2.0, 5)])))
    source = Yahoo(transport=network.transport)
    bars = source.parse(source.fetch([request("^gspc")]).replies, LATER).bars
    assert bars.select("symbol", "ts", "volume").rows() == [("^GSPC", minute(0), 5.0)]
    [asked] = network.requests
    assert str(asked.url).startswith("https://query2.finance.yahoo.com/v8/finance/chart/%5EGSPC?")
    assert "Mozilla" in asked.headers["User-Agent"]
    assert dict(asked.url.params) == {
        "interval": "1m",
        "period1": str(OPEN_S - 120),
        "period2": str(OPEN_S + 300),
        "includePrePost": "true",
    }


def test_the_bells_volume_is_asked_for_from_the_session_before():
    friday = OPEN_S - 3 * 86_400
    sessions = ((friday, friday + 390 * 60), (OPEN_S, OPEN_S + 390 * 60))

    def venue(request: httpx.Request, _: int) -> httpx.Response:
        if int(request.url.params["period1"]) > friday:
            return httpx.Response(200, json=chart([(0, 2.0, 0), (60, 2.5, 6)], sessions))
        return httpx.Response(
            200, json=chart([(-3 * 86_400, 1.0, 0), (-3 * 86_400 + 60, 1.0, 4), (0, 2.0, 5)], sessions)
        )

    network = Network(venue)
    source = Yahoo(transport=network.transport)
    bars = source.parse(source.fetch([request("AAPL")]).replies, LATER).bars
    assert bars.select("ts", "close", "volume").rows() == [(minute(0), 2.0, 5.0), (minute(1), 2.5, 6.0)]
    assert len(network.requests) == 2
    assert network.requests[1].url.params["period2"] == str(OPEN_S + 60)


def test_yahoo_has_weeks_of_minutes_and_thirty_days_of_them():
    until = OPEN
    pages = Yahoo().plan("AAPL", until - timedelta(days=60), until, now=until)
    assert all(page.until - page.since + 2 * MINUTE <= WEEK for page in pages)
    assert timedelta(days=29) < until - pages[0].since < timedelta(days=30)
    assert all(page.until == following.since for page, following in itertools.pairwise(pages))
    assert pages[-1].until == until
    assert Yahoo().plan("AAPL", until - timedelta(days=60), until - timedelta(days=40), now=until) == []


@pytest.mark.capability("ING-01")
def test_yahoo_itself_is_asked_for_two_symbols_at_once_and_a_copy_on_loopback_for_more():
    network = Network(lambda request, _: httpx.Response(200, json=chart([])), delay_s=0.1)
    Yahoo(transport=network.transport).fetch([request(name) for name in "ABCDEFGH"])
    assert network.most_at_once == 2
    network = Network(lambda request, _: httpx.Response(200, json=chart([])), delay_s=0.1)
    Yahoo(SourceOptions("http://127.0.0.1:1/"), network.transport).fetch(
        [request(name) for name in "ABCDEFGH"]
    )
    assert network.most_at_once == 8


def test_yahoos_other_host_is_tried():
    network = Network(lambda request, before: httpx.Response(200 if before else 502, json=chart([])))
    assert Yahoo(transport=network.transport).fetch([request("AAPL")]).replies[0].status == 200
    assert [asked.url.host[:6] for asked in network.requests] == ["query2", "query1"]


def test_the_clock_of_each_venue():
    network = Network(lambda request, _: httpx.Response(200, json={"serverTime": 1499827319559}))
    expected = datetime(2017, 7, 12, 2, 41, 59, 559_000, tzinfo=UTC)
    assert Binance(transport=network.transport).server_time() == expected
    dated = {"Date": "Sat, 21 Nov 2026 02:41:07 GMT"}
    network = Network(
        lambda request, _: httpx.Response(404, json=yahoo_error("Not Found", "x"), headers=dated)
    )
    assert Yahoo(transport=network.transport).server_time() == datetime(2026, 11, 21, 2, 41, 7, tzinfo=UTC)


@pytest.mark.parametrize("source", [Binance, Yahoo])
@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            httpx.Response(429, text="Too Many Requests", headers={"Retry-After": "9"}),
            RateLimited,
            "Too Many",
        ),
        (httpx.Response(451, text="restricted location"), SourceBlocked, "restricted location"),
        (httpx.Response(200, text="<html>"), SourceError, "not JSON|no readable Date"),
        (httpx.Response(200, json=[1]), SourceError, "expected an object|no readable Date"),
    ],
)
def test_a_clock_that_cannot_be_read_raises_in_the_venues_words(
    source: Any, answer: httpx.Response, error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        source(transport=Network(lambda request, _: answer).transport).server_time()


def listing(**status: str) -> dict[str, Any]:
    return {"symbols": [{"symbol": symbol, "status": state} for symbol, state in status.items()]}


@pytest.mark.capability("ING-08")
def test_binance_names_unknown_symbols_and_does_not_stop_the_others():
    everything = listing(BTCUSDT="TRADING", ETHUSDT="TRADING", LUNAUSDT="BREAK")

    def venue(request: httpx.Request, before: int) -> httpx.Response:
        if "symbols" in request.url.params:
            return httpx.Response(400, json={"code": -1121, "msg": "Invalid symbol."})
        return httpx.Response(200, json=everything)

    network = Network(venue)
    problems = Binance(transport=network.transport).validate(["btcusdt", "BTCUSD", "LUNAUSDT", "BTC/USDT"])
    assert problems == {
        "BTC/USDT": "not a Binance symbol: only letters and digits, such as BTCUSDT",
        "BTCUSD": "Binance has no such symbol; did you mean BTCUSDT?",
        "LUNAUSDT": "not trading at Binance now: BREAK",
    }
    network = Network(lambda request, _: httpx.Response(200, json=everything))
    assert Binance(transport=network.transport).validate(["btcusdt", "ethusdt"]) == {}
    assert [asked.url.params["symbols"] for asked in network.requests] == ['["BTCUSDT","ETHUSDT"]']
    assert Binance(transport=network.transport).validate([]) == {}


@pytest.mark.capability("ING-08")
def test_yahoo_names_unknown_symbols_and_does_not_stop_the_others():
    def venue(request: httpx.Request, _: int) -> httpx.Response:
        known = request.url.path.endswith("/AAPL")
        return httpx.Response(
            200 if known else 404, json=chart([]) if known else yahoo_error("Not Found", "No data")
        )

    problems = Yahoo(transport=Network(venue).transport).validate(["aapl", "APPL"])
    assert problems == {"APPL": "yahoo APPL: HTTP 404 Not Found: No data"}
    with pytest.raises(RateLimited):
        Yahoo(transport=Network(lambda request, _: httpx.Response(429)).transport).validate(["AAPL"])


class ThirdParty:
    name = "ours"


def test_plug_ins_join_and_a_bad_one_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    here = __name__
    points = [
        EntryPoint("ours", f"{here}:ThirdParty", sources.GROUP),
        EntryPoint("broken", "no_such_module:Source", sources.GROUP),
        EntryPoint("binance", f"{here}:ThirdParty", sources.GROUP),
        EntryPoint("odd", f"{here}:WEEK", sources.GROUP),
    ]
    monkeypatch.setattr(
        sources, "entry_points", lambda group: [point for point in points if point.group == group]
    )
    found = discover()
    assert found.sources["ours"] is ThirdParty
    assert found.sources["binance"] is Binance
    assert set(found.problems) == {"broken", "binance", "odd"}
    assert "no_such_module" in found.problems["broken"]
    assert set(registry()) == {*sources.BUILT_IN, "ours"}
    assert "built-in adapter" in caplog.text
