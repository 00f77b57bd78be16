"""The replica's websocket side: connections, their limits, and the faults between the venue and the wire."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipelines.replica.app import CutError, Message, Receive, Send
from pipelines.replica.clock import Clock
from pipelines.replica.faults import CONNECTION, MESSAGES, Fault, Faults
from pipelines.replica.stream_frames import Dialect, Frame, Session
from pipelines.replica.truth import Book

GOING_AWAY, POLICY = 1001, 1008
REFUSALS = ("status", "outage", "html", "cut", "timeout")
"""Faults of requests that keep a connection from being opened."""
TICK_S = 0.05
"""How often the tape is looked at for what is due."""


@dataclass
class StreamLimits:
    """What a connection may do, in real seconds; Binance's own numbers."""

    messages_per_s: int = 5
    max_age_s: float = 86_400.0


@dataclass
class Connection:
    """One client."""

    venue: str
    path: str
    session: Session
    send: Send
    opened: float = field(default_factory=time.monotonic)
    sent: int = 0
    closes_at: float | None = None
    heard: deque[float] = field(default_factory=deque)

    def as_dict(self) -> dict[str, Any]:
        age = time.monotonic() - self.opened
        return {"venue": self.venue, "path": self.path, "sent": self.sent, "age_s": round(age, 3)}


class Streams:
    """Takes websocket connections for every dialect and follows the tape on each until it ends."""

    def __init__(
        self, book: Book, clock: Clock, faults: Faults, dialects: list[Dialect], stopping: asyncio.Event
    ) -> None:
        self.book, self.clock, self.faults, self.dialects = book, clock, faults, dialects
        self.stopping = stopping
        self.limits = StreamLimits()
        self.open: list[Connection] = []
        self.refused = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        path, query = scope["path"], scope["query_string"].decode()
        now = self.clock.now()
        found = ((one.name, one.open(path, query, now)) for one in self.dialects)
        venue, session = next(((name, session) for name, session in found if session), ("", None))
        refusal = self.faults.strike(venue, "", path, now, among=REFUSALS)
        if session is None or refusal:
            self.refused += 1
            await _refuse(scope, send, refusal[0] if refusal else None)
            return
        connection = Connection(venue, path, session, send)
        self.open.append(connection)
        try:
            await send({"type": "websocket.accept"})
            await self._serve(connection, receive)
        finally:
            self.open.remove(connection)

    async def _serve(self, connection: Connection, receive: Receive) -> None:
        listener = asyncio.create_task(self._listen(connection, receive))
        try:
            while not listener.done() and not self.stopping.is_set():
                if code := await self._pump(connection):
                    await connection.send({"type": "websocket.close", "code": code})
                    return
                await asyncio.wait({listener}, timeout=TICK_S)
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _listen(self, connection: Connection, receive: Receive) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            now = time.monotonic()
            connection.heard.append(now)
            while connection.heard[0] < now - 1:
                connection.heard.popleft()
            if len(connection.heard) > self.limits.messages_per_s:
                await connection.send({"type": "websocket.close", "code": POLICY})
                return
            text = message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
            if (answer := connection.session.hear(text)) is not None:
                await connection.send({"type": "websocket.send", "text": answer})

    async def _pump(self, connection: Connection) -> int | None:
        """Sends what is due; the code to close with, when it is time. Raises CutError for a cut line."""
        market_now = self.clock.now()
        age = time.monotonic() - connection.opened
        if age > self.limits.max_age_s or (connection.closes_at and time.monotonic() >= connection.closes_at):
            return GOING_AWAY
        venue, path = connection.venue, connection.path
        for fault in self.faults.strike(venue, "", path, market_now, among=CONNECTION):
            if fault.kind == "cut_stream":
                raise CutError
            if connection.closes_at is None:
                connection.closes_at = time.monotonic() + float(fault.params.get("seconds", 0.5))
                if (last := connection.session.goodbye()) is not None:
                    await connection.send({"type": "websocket.send", "text": last})
        frames = connection.session.due(market_now + self.faults.skew(venue, market_now))
        for message in self._bent(venue, path, frames, market_now):
            await connection.send({"type": "websocket.send", **message})
            connection.sent += 1
        return None

    def _bent(self, venue: str, path: str, frames: list[Frame], now: float) -> Iterator[Message]:
        """The frames as the faults let them through; what goes out whole is remembered as served."""
        late: list[Frame] = []
        for frame in frames:
            struck = {
                one.kind: one for one in self.faults.strike(venue, frame.symbol, path, now, among=MESSAGES)
            }
            if "silent_stream" in struck or "drop_messages" in struck:
                continue
            if broken := struck.get("corrupt_messages") or struck.get("oversized_messages"):
                yield _broken(frame, broken)
                continue
            if "reorder_messages" in struck:
                late.append(frame)
                continue
            for _ in range(2 if "duplicate_messages" in struck else 1):
                yield self._whole(venue, frame)
        for frame in reversed(late):
            yield self._whole(venue, frame)

    def _whole(self, venue: str, frame: Frame) -> Message:
        if frame.trade_id is not None:
            self.book.deliveries[venue, frame.symbol].mark_trade(frame.trade_id)
        return {"text": frame.text}


def _broken(frame: Frame, fault: Fault) -> Message:
    if fault.kind == "oversized_messages":
        return {"text": frame.text + " " * int(fault.params.get("bytes", 4_000_000))}
    if fault.params.get("binary"):
        return {"bytes": bytes(range(256)) + frame.text.encode()}
    half = len(frame.text) // 2
    return {"text": frame.text[:half] + '"<<~corrupt\n' + frame.text[half:]}


async def _refuse(scope: Message, send: Send, fault: Fault | None) -> None:
    """With an HTTP status where the server can: the fault's, or 404 for a path of no venue."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1013})
        return
    status = int(fault.params.get("status", 503)) if fault else 404
    wait = fault.params.get("retry_after") if fault else None
    headers = [] if wait is None else [(b"retry-after", str(wait).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})
