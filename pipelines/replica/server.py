"""The replica's server: blocking for the command line, in a thread for tests."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import TracebackType
from typing import Any

import httpx
import uvicorn

from pipelines.replica.app import ReplicaApp
from pipelines.replica.clock import Clock
from pipelines.replica.errors import ReplicaError
from pipelines.replica.faults import Faults
from pipelines.replica.limits import WeightLimit
from pipelines.replica.recorded import RecordedMarket
from pipelines.replica.streams import Streams
from pipelines.replica.tape import SimulatedMarket
from pipelines.replica.truth import Book, Market
from pipelines.replica.venues.binance import Binance
from pipelines.replica.venues.binance_bulk import BinanceBulk
from pipelines.replica.venues.binance_futures import BinanceFutures
from pipelines.replica.venues.binance_streams import BinanceStreams
from pipelines.replica.venues.coinbase import Coinbase
from pipelines.replica.venues.keyed import dialects
from pipelines.replica.venues.keyed_streams import PATHS, KeyedStreams
from pipelines.replica.venues.kraken import Kraken
from pipelines.replica.venues.matches_streams import MatchesStreams
from pipelines.replica.venues.yahoo import Yahoo
from pipelines.replica.venues.yahoo_streamer import YahooStreamer
from pipelines.replica.wire import Venue

HOST = "127.0.0.1"


@dataclass(frozen=True)
class ReplicaConfig:
    """What `tapewatch replica` takes; `data` is `simulated` or a folder of recordings."""

    port: int = 0
    data: str = "simulated"
    speed: float = 1.0
    now: datetime | None = None
    faults: Path | None = None
    seed: int = 0
    weight_limit: int = 6000
    latency_s: float = 0.0
    host: str = HOST
    ping_s: float = 20.0
    pong_s: float = 60.0
    """A websocket is pinged so often, and closed when the pong takes longer; Binance's own numbers."""


class _Server(uvicorn.Server):
    """Stops at once when asked and lets go of hanging requests."""

    def __init__(self, app: ReplicaApp, config: ReplicaConfig) -> None:
        super().__init__(_settings(app, config))
        self.app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self.should_exit:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), 0.1)

    def leave(self) -> None:
        """Ask it to stop, from any thread."""
        self.should_exit = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._leave.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.app.stopping.set()
        await super().shutdown(sockets)


def _settings(app: ReplicaApp, config: ReplicaConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none" if app.streams is None else "websockets-sansio",
        ws_ping_interval=config.ping_s,
        ws_ping_timeout=config.pong_s,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_level="critical",
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        backlog=512,
    )


def market_of(config: ReplicaConfig) -> Market:
    """The tape the config asks for; raises ReplicaError if the folder holds none."""
    if config.data == "simulated":
        return SimulatedMarket(config.seed)
    return RecordedMarket(Path(config.data))


def assemble(
    config: ReplicaConfig,
    market: Market | None = None,
    clock: Clock | None = None,
    limit: WeightLimit | None = None,
) -> ReplicaApp:
    """Market, clock, faults and venues put together, without a port."""
    try:
        clock = clock or Clock(config.now, config.speed)
    except ValueError as error:
        raise ReplicaError(f"--speed: {error}") from None
    book = Book(market or market_of(config))
    faults = Faults(config.seed)
    venues: list[Venue] = [
        Binance(book, limit or WeightLimit(config.weight_limit)),
        BinanceFutures(book),
        Yahoo(book),
        Coinbase(book),
        Kraken(book),
        *dialects(book),
        BinanceBulk(book),
    ]
    app = ReplicaApp(book, clock, faults, venues)
    app.streams = Streams(
        book,
        clock,
        faults,
        [
            BinanceStreams(book, "binance"),
            BinanceStreams(book, "binance_futures"),
            YahooStreamer(book),
            MatchesStreams(book, "coinbase"),
            MatchesStreams(book, "kraken"),
            *(KeyedStreams(book, name) for name in PATHS),
        ],
        app.stopping,
    )
    app.control.latency_s = config.latency_s
    if config.faults:
        faults.load(config.faults, clock.now())
    return app


def bind(host: str, port: int) -> socket.socket:
    """A listening place; raises ReplicaError when the port is taken."""
    # With the protocol named, asyncio turns Nagle off; without it every keep-alive reply waits 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ReplicaError(
            f"the replica cannot listen on {host}:{port}: {error.strerror}; "
            "choose another --port, or 0 for any"
        ) from None
    return sock


def serve(config: ReplicaConfig, announce: Callable[[str], None] = print) -> None:
    """Run until SIGTERM or Ctrl-C; announces the address once it listens. Raises ReplicaError."""
    app = assemble(config)
    sock = bind(config.host, config.port)
    sock.listen(512)
    announce(
        f"replica listening on http://{config.host}:{sock.getsockname()[1]} ({app.book.market.name} market)"
    )
    if current_thread() is main_thread():
        # uvicorn raises the signal again once it has stopped: then the process ends with 0, not by SIGTERM.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with sock, suppress(KeyboardInterrupt):
        _Server(app, config).run(sockets=[sock])


class Replica:
    """The replica in a thread of this process: `with Replica(now=noon, speed=0) as replica: replica.url`.

    `market` is a Market, `"simulated"` or a folder; `clock` and `limit` may be handed in ready made.
    """

    def __init__(
        self,
        market: Market | str | Path = "simulated",
        now: datetime | None = None,
        speed: float = 1.0,
        *,
        seed: int = 0,
        port: int = 0,
        faults: Path | None = None,
        weight_limit: int = 6000,
        latency_s: float = 0.0,
        clock: Clock | None = None,
        limit: WeightLimit | None = None,
        ping_s: float = 20.0,
        pong_s: float = 60.0,
    ) -> None:
        data = str(market) if isinstance(market, str | Path) else "simulated"
        self.config = ReplicaConfig(port, data, speed, now, faults, seed, weight_limit, latency_s)
        self.config = replace(self.config, ping_s=ping_s, pong_s=pong_s)
        ready = None if isinstance(market, str | Path) else market
        self.app = assemble(self.config, ready, clock, limit)
        self._thread: Thread | None = None
        self._server: _Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{self.config.host}:{self.port}"

    @property
    def control(self) -> str:
        """The control endpoint's address; `ask` and `tell` speak to it."""
        return f"{self.url}/control"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.config.host}:{self.port}"

    @property
    def streams(self) -> Streams:
        """The websocket side: its open connections and its limits."""
        found = self.app.streams
        assert isinstance(found, Streams)
        return found

    @property
    def clock(self) -> Clock:
        return self.app.clock

    @property
    def book(self) -> Book:
        return self.app.book

    def __enter__(self) -> Replica:
        sock = bind(self.config.host, self.config.port)
        sock.listen(512)
        self.port = sock.getsockname()[1]
        self._server = _Server(self.app, self.config)
        self._thread = Thread(target=self._run, args=(sock,), name="replica", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ReplicaError("the replica did not start")
            time.sleep(0.002)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and its thread; nothing happens the second time."""
        thread, self._thread = self._thread, None
        if self._server and thread:
            self._server.leave()
            thread.join(10)

    def _run(self, sock: socket.socket) -> None:
        with sock:
            if self._server:
                asyncio.run(self._server.serve(sockets=[sock]))

    def ask(self, what: str, **params: Any) -> Any:
        """GET /control/<what>."""
        return self._call("GET", what, params=params)

    def fault(self, kind: str, **spec: Any) -> int:
        """Inject a fault now; its id. `from` and `for` are written `from_`, `for_`."""
        body = {"kind": kind} | {name.rstrip("_"): value for name, value in spec.items()}
        return int(self._call("POST", "faults", json=body)["faults"][0]["id"])

    def heal(self) -> None:
        """Take every fault away."""
        self._call("DELETE", "faults")

    def _call(self, method: str, what: str, **more: Any) -> Any:
        # There are no certificates to verify, and reading them takes ten times as long as asking.
        reply = httpx.request(method, f"{self.control}/{what}", timeout=30, verify=False, **more)
        if reply.is_error:
            raise ReplicaError(str(reply.json().get("error", reply.text)))
        return reply.json()
