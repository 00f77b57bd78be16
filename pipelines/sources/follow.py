"""Following one stream for ever: connect, watch, replace before it ends, come back after it died.

A connection that is to end is replaced first and closed afterwards: both land for a moment, and the trade ids
tell what came twice. One that died is replaced after a pause that doubles, with jitter, up to half a minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from pipelines.sources.feed_socket import Batching, FeedSocket, Land, dial
from pipelines.sources.streams import Stream

log = logging.getLogger(__name__)

Dial = Callable[[str, Land, Batching, bytes | None], Awaitable[FeedSocket]]
BLOCKED = (403, 451)
PAUSE = (418, 429)


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds."""

    first: float = 0.5
    longest: float = 30.0
    blocked: float = 300.0
    """After an answer that waiting does not change soon."""
    proven: float = 30.0
    """A connection that lived so long was a good one: the next pause begins at `first` again."""
    overlap: float = 10.0
    """How long a new connection may take to say something before the old one is closed all the same."""
    linger: float = 1.0
    """How long the old one is heard on after that: what was under way on it may be older than the new one's first."""
    look: float = 0.25
    """How often the watch looks."""


@dataclass
class LineStatus:
    """One connection's life so far, for people."""

    symbols: tuple[str, ...]
    state: str = "connecting"
    reason: str | None = None
    connected_at: datetime | None = None
    heard_at: datetime | None = None
    frames: int = 0
    connections: int = 0
    handovers: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "reason": self.reason,
            "symbols": list(self.symbols),
            "connected_at": self.connected_at and self.connected_at.isoformat(timespec="milliseconds"),
            "heard_at": self.heard_at and self.heard_at.isoformat(timespec="milliseconds"),
            "frames": self.frames,
            "connections": self.connections,
            "handovers": self.handovers,
        }


def lines(stream: Stream, symbols: Sequence[str]) -> list[tuple[str, ...]]:
    """The symbols, each once, in groups of as many as one connection takes."""
    wanted = tuple(dict.fromkeys(symbol.upper() for symbol in symbols))
    step = stream.symbols_per_line
    return [wanted[first : first + step] for first in range(0, len(wanted), step)]


@dataclass
class Line:
    """Follows some symbols of one stream until `stop` is set; everything heard goes to `land`."""

    stream: Stream
    symbols: tuple[str, ...]
    land: Land
    stop: asyncio.Event
    batching: Batching = field(default_factory=Batching)
    patience: Patience = field(default_factory=Patience)
    rng: random.Random = field(default_factory=random.Random)
    dial: Dial = dial
    status: LineStatus = field(init=False)

    def __post_init__(self) -> None:
        self.status = LineStatus(self.symbols)
        self._failures = 0
        self._silence_s = self.stream.silence_s

    async def run(self) -> None:
        socket = await self._connect(pause=False)
        while socket:
            planned, why = await self._watch(socket)
            if self.stop.is_set():
                break
            log.log(
                logging.INFO if planned else logging.WARNING,
                "%s: connection of %d symbols %s: %s",
                self.stream.name, len(self.symbols), "is replaced" if planned else "lost", why,
            )  # fmt: skip
            self.status.reason = why
            if planned:
                fresh = await self._connect(pause=False)
                if fresh:
                    self.status.handovers += 1
                    await self._first_word(fresh)
                    await self._wait(self.patience.linger)
            else:
                await self._close(socket)
                self._judge(socket)
                fresh = await self._connect()
            await self._close(socket)
            socket = fresh
        if socket:
            await self._close(socket)
        self.status.state = "stopped"

    async def _connect(self, pause: bool = True) -> FeedSocket | None:
        """An open connection however long it takes; None when told to stop."""
        if pause:
            await self._wait(self._backoff())
        while not self.stop.is_set():
            self.status.state = "connecting"
            try:
                socket = await self.dial(
                    self.stream.address(self.symbols), self.land, self.batching, self.stream.farewell
                )
                for text in self.stream.greetings(self.symbols):
                    await socket.send(text)
            except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
                self._failures += 1
                wait = self._wait_after(error)
                self.status.state, self.status.reason = "waiting", _words(error)
                log.warning("%s: %s; again in %.1f s", self.stream.name, self.status.reason, wait)
                await self._wait(wait)
                continue
            except InvalidURI as error:
                self.status.state, self.status.reason = "failed", str(error)
                log.error("%s: %s; correct stream_url", self.stream.name, error)
                return None
            self.status.state, self.status.connected_at = "connected", datetime.now(UTC)
            self.status.connections += 1
            return socket
        return None

    async def _watch(self, socket: FeedSocket) -> tuple[bool, str]:
        """Until the connection must be replaced: whether it still works meanwhile, and why."""
        opened = greeted = time.monotonic()
        gone = asyncio.ensure_future(socket.wait_closed())
        stopped = asyncio.ensure_future(self.stop.wait())
        before = self.status.frames
        try:
            while True:
                await asyncio.wait(
                    {gone, stopped}, timeout=self.patience.look, return_when=asyncio.FIRST_COMPLETED
                )
                now = time.monotonic()
                self._note(socket, before, now)
                if stopped.done():
                    return True, "stopped"
                if gone.done():
                    code, said = socket.close_code, socket.close_reason
                    return (
                        False,
                        f"closed by the venue ({code or 'no farewell'}{': ' + said if said else ''})",
                    )
                if socket.says_farewell:
                    return True, "the venue is about to close it"
                if now - opened > self.stream.max_age_s:
                    return True, f"{(now - opened) / 3600:.1f} hours old"
                if now - socket.heard_at > self._silence_s:
                    silent = self._silence_s
                    self._silence_s = min(self._silence_s * 2, max(600.0, self.stream.silence_s))
                    return False, f"silent for {silent:g} s"
                if self.stream.heartbeat_s and now - greeted > self.stream.heartbeat_s:
                    greeted = now
                    with suppress(ConnectionClosed):
                        for text in self.stream.greetings(self.symbols):
                            await socket.send(text)
        finally:
            for task in (gone, stopped):
                task.cancel()

    def _note(self, socket: FeedSocket, before: int, now: float) -> None:
        self.status.frames = before + socket.frames_heard
        if socket.frames_heard:
            self._silence_s = self.stream.silence_s
            ago = now - socket.heard_at
            self.status.heard_at = datetime.fromtimestamp(time.time() - ago, UTC)

    def _judge(self, socket: FeedSocket) -> None:
        """A connection that lived long was a good one; others make the next pause longer."""
        lived = (datetime.now(UTC) - (self.status.connected_at or datetime.now(UTC))).total_seconds()
        self._failures = 0 if lived >= self.patience.proven and socket.frames_heard else self._failures + 1

    def _backoff(self) -> float:
        """Half to the whole of a pause that doubles with each failure."""
        pause: float = min(self.patience.first * 2.0 ** max(self._failures - 1, 0), self.patience.longest)
        return pause * self.rng.uniform(0.5, 1.0)

    def _wait_after(self, error: Exception) -> float:
        if isinstance(error, InvalidStatus):
            asked = error.response.headers.get("Retry-After", "")
            if error.response.status_code in PAUSE and asked.isdigit():
                return float(asked) + self._backoff()
            if error.response.status_code in BLOCKED:
                return max(self.patience.blocked, self._backoff())
        return self._backoff()

    async def _first_word(self, socket: FeedSocket) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(socket.first_heard.wait(), self.patience.overlap)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)

    async def _close(self, socket: FeedSocket) -> None:
        with suppress(OSError, ConnectionClosed):
            await socket.close()
        socket.flush()


def _words(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        return f"the venue answered {error.response.status_code}"
    return f"cannot connect: {error or type(error).__name__}"
