"""Requests of one fetch share a few kept-alive connections, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Thread

import pytest

from pipelines.sources.base import SourceOptions
from pipelines.sources.client import VenueClient
from pipelines.sources.venue import Call, Venue


class Counter:
    """A server that answers everything and counts connections and requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port: int = self.server.sockets[0].getsockname()[1]
        self.thread = Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


@pytest.fixture
def counter() -> Iterator[Counter]:
    counter = Counter()
    yield counter
    counter.close()


@pytest.mark.capability("ING-01")
def test_sixty_requests_need_five_connections(counter: Counter):
    venue = Venue("binance", (f"http://127.0.0.1:{counter.port}",), connections=5, weight_limit=6000)
    calls = [Call(f"S{n}", "/", {}) for n in range(60)]
    assert len(VenueClient(venue, SourceOptions()).get_all(calls).replies) == 60
    assert (counter.connections, counter.requests) == (5, 60)


def test_nobody_listening_is_a_failure_that_says_so(counter: Counter):
    port = counter.port
    venue = Venue("binance", (f"http://127.0.0.1:{port}",), connections=2, weight_limit=6000)
    counter.server.close()
    [failure] = (
        VenueClient(venue, SourceOptions(attempts=1, total_s=2)).get_all([Call("S", "/", {})]).failures
    )
    assert (failure.reason, failure.symbol) == ("connection", "S")
    assert str(port) in failure.detail
