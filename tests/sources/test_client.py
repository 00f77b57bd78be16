"""Asking a venue: retries, pauses and time limits, with a scripted network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.sources import client as client_module
from pipelines.sources.base import RateLimited, SourceBlocked, SourceError, SourceOptions
from pipelines.sources.budget import USED_WEIGHT, Breaker
from pipelines.sources.client import VenueClient
from pipelines.sources.venue import Call, Venue
from tests.sources.venues import OPEN, Clock, Network

VENUE = Venue("binance", ("http://one.test",), connections=4, weight_limit=1000)
Answer = Callable[[httpx.Request, int], httpx.Response]


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BACKOFF_S", 0.001)


def calls(n: int) -> list[Call]:
    return [Call(f"S{at}", f"/{at}", {"symbol": f"S{at}"}) for at in range(n)]


def asking(network: Network, venue: Venue = VENUE, clock: Clock | None = None, **options: Any) -> VenueClient:
    return VenueClient(venue, SourceOptions(**options), network.transport, clock or Clock())


def always(status: int = 200, body: bytes = b"[]", **headers: str) -> Answer:
    return lambda request, _: httpx.Response(status, content=body, headers=headers)


def test_a_reply_is_what_was_received_and_when():
    network = Network(always(200, b"raw bytes", Date="Sat, 21 Nov 2026 02:41:07 GMT"))
    [reply] = asking(network).get_all([Call("BTCUSDT", "/x", {"symbol": "BTCUSDT"})]).replies
    assert (reply.source, reply.symbol, reply.path, reply.params) == (
        "binance",
        "BTCUSDT",
        "/x",
        {"symbol": "BTCUSDT"},
    )
    assert (reply.status, reply.body, reply.received_at) == (200, b"raw bytes", OPEN)
    assert reply.server_time == datetime(2026, 11, 21, 2, 41, 7, tzinfo=UTC)
    assert reply.latency_ms > 0
    assert str(network.requests[0].url) == "http://one.test/x?symbol=BTCUSDT"


def test_a_notebook_with_its_own_event_loop_can_ask_too():
    async def cell() -> int:
        return len(asking(Network(always())).get_all(calls(3)).replies)

    assert asyncio.run(cell()) == 3


def test_replies_come_in_the_order_of_the_calls():
    replies, failures = asking(
        Network(lambda request, _: httpx.Response(200, text=request.url.path))
    ).get_all(calls(25))
    assert [reply.text for reply in replies] == [f"/{at}" for at in range(25)]
    assert failures == []
    assert asking(Network(always())).get_all([]) == ([], [])


@pytest.mark.capability("ING-01")
def test_many_symbols_are_asked_at_once_but_only_as_many_as_there_are_connections():
    network = Network(always(), delay_s=0.01)
    assert len(asking(network).get_all(calls(12)).replies) == 12
    assert network.most_at_once == 4
    network = Network(always(), delay_s=0.01)
    asking(network, connections=2).get_all(calls(6))
    assert network.most_at_once == 2


@pytest.mark.parametrize("trouble", ["500", "503", "timeout", "cut", "garbled"])
def test_a_stumble_is_asked_again(trouble: str):
    def answer(request: httpx.Request, before: int) -> httpx.Response:
        if before >= 2:
            return httpx.Response(200, content=b"[]")
        if trouble.isdigit():
            return httpx.Response(int(trouble))
        raise {
            "timeout": httpx.ReadTimeout("slow"),
            "cut": httpx.RemoteProtocolError("Server disconnected"),
            "garbled": httpx.DecodingError("bad gzip"),
        }[trouble]

    network = Network(answer)
    replies, failures = asking(network).get_all(calls(1))
    assert ([reply.status for reply in replies], failures) == ([200], [])
    assert len(network.requests) == 3


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (httpx.ConnectError("Connection refused"), "connection", "Connection refused"),
        (httpx.ReadTimeout(""), "timeout", "no answer from http://one.test"),
        (httpx.RemoteProtocolError(""), "connection", "RemoteProtocolError"),
    ],
)
def test_a_venue_that_is_not_there_is_a_failure_that_names_it(error: Exception, reason: str, words: str):
    def answer(request: httpx.Request, before: int) -> httpx.Response:
        if request.url.path == "/0":
            raise error
        return httpx.Response(200)

    replies, [failure] = asking(Network(answer)).get_all(calls(3))
    assert [reply.symbol for reply in replies] == ["S1", "S2"]
    assert (failure.symbol, failure.reason, failure.retryable) == ("S0", reason, True)
    assert failure.detail.startswith("binance S0: ")
    assert words in failure.detail


def test_the_last_server_error_is_kept_as_received():
    network = Network(always(503, b"busy"))
    [reply] = asking(network).get_all(calls(1)).replies
    assert (reply.status, reply.body, len(network.requests)) == (503, b"busy", 3)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_not_asked_again(status: int):
    network = Network(always(status, b"no"))
    [reply] = asking(network).get_all(calls(1)).replies
    assert (reply.status, len(network.requests)) == (status, 1)


def test_the_other_host_is_tried_when_one_does_not_answer():
    def answer(request: httpx.Request, before: int) -> httpx.Response:
        return httpx.Response(502 if request.url.host == "one.test" else 200)

    venue = Venue("yahoo", ("http://one.test", "http://two.test"), connections=1, weight_limit=100)
    network = Network(answer)
    assert asking(network, venue).get_all(calls(1)).replies[0].status == 200
    assert [request.url.host for request in network.requests] == ["one.test", "two.test"]


@pytest.mark.parametrize(
    ("status", "retry_after", "reason", "pause_s"),
    [
        (429, "17", "rate_limited", 17.0),
        (429, None, "rate_limited", 60.0),
        (429, "soon", "rate_limited", 60.0),
        (429, "0", "rate_limited", 1.0),
        (429, "Wed, 01 May 2024 13:30:30 GMT", "rate_limited", 30.0),
        (418, "259200", "rate_limited", 259_200.0),
        (451, None, "blocked", 900.0),
        (403, None, "blocked", 900.0),
    ],
)
def test_a_venue_that_says_stop_stops_the_whole_source(
    status: int, retry_after: str | None, reason: str, pause_s: float
):
    headers = {"Retry-After": retry_after} if retry_after else {}
    network, clock = Network(always(status, b"stop", **headers)), Clock()
    client = asking(network, clock=clock, connections=1)
    replies, failures = client.get_all(calls(5))
    assert [reply.status for reply in replies] == [status]
    assert [(failure.symbol, failure.reason, failure.retry_after_s) for failure in failures] == [
        (f"S{at}", reason, pause_s) for at in range(1, 5)
    ]
    assert len(network.requests) == 1
    clock.advance(pause_s - 1)
    replies, failures = client.get_all(calls(2))
    assert (replies, {failure.reason for failure in failures}) == ([], {"circuit_open"})
    assert failures[0].retry_after_s == pytest.approx(1)
    assert f"HTTP {status} stop" in failures[0].detail
    assert len(network.requests) == 1


def test_retry_after_is_obeyed_by_the_next_process_and_one_request_goes_first(tmp_path: Path):
    state, clock = tmp_path / "binance.json", Clock()
    network = Network(
        lambda request, before: httpx.Response(429 if before < 2 else 200, headers={"Retry-After": "50"})
    )

    def minute() -> tuple[int, list[str]]:
        replies, failures = asking(network, clock=clock, state_path=state).get_all(calls(3))
        return len(replies), [failure.reason for failure in failures]

    assert minute()[0] >= 1
    asked = len(network.requests)
    assert minute() == (0, ["circuit_open"] * 3)
    assert len(network.requests) == asked
    network.requests = network.requests[:1]
    clock.advance(60)
    assert minute() == (1, ["rate_limited"] * 2)
    assert len(network.requests) == 2
    clock.advance(60)
    assert minute() == (3, [])
    assert Breaker.load(state) == Breaker()


def test_three_fetches_without_an_answer_open_the_breaker_and_a_probe_closes_it():
    down = True
    network, clock = Network(lambda request, _: httpx.Response(500 if down else 200)), Clock()
    client = asking(network, clock=clock, attempts=1)
    for _ in range(3):
        assert len(client.get_all(calls(4)).replies) == 4
    assert {failure.reason for failure in client.get_all(calls(4)).failures} == {"circuit_open"}
    assert len(network.requests) == 12
    clock.advance(61)
    replies, failures = client.get_all(calls(4))
    assert (len(replies), len(failures), len(network.requests)) == (1, 3, 13)
    assert {failure.reason for failure in failures} == {"circuit_open"}
    down = False
    clock.advance(121)
    assert len(client.get_all(calls(4)).replies) == 4
    assert len(client.get_all(calls(4)).replies) == 4


def test_one_answer_among_failures_keeps_the_breaker_closed():
    network = Network(lambda request, _: httpx.Response(200 if request.url.path == "/3" else 500))
    client = asking(network, attempts=1)
    for _ in range(5):
        assert len(client.get_all(calls(4)).replies) == 4


def test_good_news_does_not_end_a_pause_another_process_saw(tmp_path: Path):
    state = tmp_path / "binance.json"
    Breaker().unanswered(OPEN, "down").save(state)

    def answer(request: httpx.Request, _: int) -> httpx.Response:
        Breaker().paused(OPEN, 600, "HTTP 418").save(state)
        return httpx.Response(200)

    asking(Network(answer), state_path=state).get_all(calls(1))
    assert Breaker.load(state).reason == "HTTP 418"


def test_the_weight_limit_postpones_what_does_not_fit_this_minute():
    network = Network(lambda request, before: httpx.Response(200, headers={USED_WEIGHT: str(7 + before)}))
    client = asking(network, weight_limit=10, connections=1, total_s=5)
    replies, failures = client.get_all(calls(4))
    assert len(replies) == 2
    assert [(failure.reason, failure.retry_after_s) for failure in failures] == [("rate_budget", 60.0)] * 2
    assert "8 request weight" in failures[0].detail


def test_the_weight_limit_waits_where_the_next_minute_is_near():
    started = time.monotonic()

    def clock() -> datetime:
        return OPEN + timedelta(seconds=59.9 + time.monotonic() - started)

    network = Network(
        lambda request, before: httpx.Response(200, headers={} if before else {USED_WEIGHT: "8"})
    )
    client = VenueClient(VENUE, SourceOptions(weight_limit=10, connections=1), network.transport, clock)
    replies, failures = client.get_all(calls(2))
    assert (len(replies), failures) == (2, [])
    assert (replies[1].received_at - OPEN) >= timedelta(seconds=60)


def test_a_fetch_ends_in_time_however_slow_the_venue_is():
    network = Network(always(), delay_s=30)
    replies, failures = asking(network, total_s=0.3, timeout_s=0.2).get_all(calls(9))
    assert replies == []
    assert {failure.reason for failure in failures} == {"timeout", "time_budget"}
    assert len(failures) == 9
    assert "no time left of the 0.3 s" in failures[-1].detail


def test_a_single_question_raises_what_the_venue_said():
    def asked(status: int, error: Exception | None = None) -> Any:
        def answer(request: httpx.Request, _: int) -> httpx.Response:
            if error:
                raise error
            return httpx.Response(status, text="no")

        return asking(Network(answer), attempts=1)

    assert asked(404).get(calls(1)[0]).status == 404
    with pytest.raises(SourceError, match=r"binance S0: .*refused"):
        asked(0, httpx.ConnectError("refused")).get(calls(1)[0])
    limited = asked(429)
    assert limited.get(calls(1)[0]).status == 429
    with pytest.raises(RateLimited, match="not asked for another 60 s"):
        limited.get(calls(1)[0])
    assert issubclass(SourceBlocked, SourceError)
