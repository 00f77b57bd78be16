"""The replica as an ASGI application: every venue on one port, faults between the venue and the wire."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines.replica.clock import Clock
from pipelines.replica.control import PREFIX, Control
from pipelines.replica.faults import ROWS, Fault, Faults
from pipelines.replica.spoil import spoil
from pipelines.replica.truth import Book
from pipelines.replica.wire import Reply, Request, Venue, http_date, reply_json

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Stream = Callable[[Message, Receive, Send], Awaitable[None]]

HTML = b"<!DOCTYPE html><html><head><title>Error</title></head><body>Will be right back...</body></html>"
RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this "
    "message in error."
)


@dataclass
class Traffic:
    """What one venue was asked."""

    requests: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_path: Counter[str] = field(default_factory=Counter)
    faulted: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "faulted": self.faulted,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_path": dict(self.by_path),
        }


class CutError(Exception):
    """Raised out of the application to make the server drop the connection."""


class ReplicaApp:
    """Routes by path, lets faults strike, remembers what was delivered.

    `streams` takes websocket connections; without one they are refused.
    """

    def __init__(
        self, book: Book, clock: Clock, faults: Faults, venues: list[Venue], streams: Stream | None = None
    ) -> None:
        self.book, self.clock, self.faults, self.venues, self.streams = book, clock, faults, venues, streams
        self.traffic = {venue.name: Traffic() for venue in venues}
        self.control = Control(book, clock, faults, [venue.name for venue in venues], self.traffic_report)
        self.stopping = asyncio.Event()

    def traffic_report(self) -> dict[str, Any]:
        return {name: one.as_dict() for name, one in self.traffic.items()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket" and self.streams:
            await self.streams(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        request = await _request(scope, receive)
        venue = next((one for one in self.venues if one.owns(request.path)), None)
        if venue is None:
            reply = self.control.answer(request) if request.path.startswith(PREFIX) else _nowhere(request)
            await self._deliver(reply, send)
            return
        traffic = self.traffic[venue.name]
        traffic.requests += 1
        traffic.by_path[request.path] += 1
        traffic.in_flight += 1
        traffic.max_in_flight = max(traffic.max_in_flight, traffic.in_flight)
        try:
            await self._trade(venue, request, traffic, send)
        finally:
            traffic.in_flight -= 1

    async def _trade(self, venue: Venue, request: Request, traffic: Traffic, send: Send) -> None:
        market_now = self.clock.now()
        self.control.catch_up(market_now)
        symbol = venue.symbol(request)
        struck = self.faults.strike(venue.name, symbol, request.path, market_now)
        traffic.faulted += bool(struck)
        await self._wait(struck)
        now = self.clock.now() + self.faults.skew(venue.name, market_now)
        refusal = next((one for one in struck if one.kind in ("status", "outage", "html")), None)
        reply = _refusal(refusal, venue.name) if refusal else venue.answer(request, now)
        whole = self._spoil(reply, [one for one in struck if one.kind in ROWS])
        broken = next((one for one in struck if one.kind in ("malformed", "truncated", "cut")), None)
        traffic.by_status[reply.status] += 1
        await self._deliver(reply, send, broken, now)
        if reply.status == 200 and not broken:
            self._remember(venue.name, symbol, reply, whole, now)

    async def _wait(self, struck: list[Fault]) -> None:
        seconds = self.control.latency_s
        for one in struck:
            usual = {"timeout": 3600.0, "slow": 2.0}.get(one.kind, 0.0)
            seconds += float(one.params.get("seconds", usual)) if usual else 0.0
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stopping.wait(), seconds)
            except TimeoutError:
                return
            raise CutError

    def _spoil(self, reply: Reply, struck: list[Fault]) -> bool:
        """Rewrite the reply's rows as the faults want them; False if any did."""
        if not struck or reply.served is None:
            return True
        rows = list(reply.served.bars.rows())
        for fault in struck:
            rows = spoil(rows, fault)
        reply.body = reply.served.write(rows)
        return False

    def _remember(self, venue: str, symbol: str, reply: Reply, whole: bool, now: float) -> None:
        if reply.trades:
            self.book.deliveries[venue, symbol].trades += reply.trades
        if reply.served is not None and whole:
            self.book.served(venue, reply.served.symbol, reply.served.bars, now)

    async def _deliver(
        self, reply: Reply, send: Send, broken: Fault | None = None, now: float | None = None
    ) -> None:
        body = _broken(reply.body, broken.kind) if broken else reply.body
        headers = [
            (b"content-type", reply.content_type),
            (b"date", http_date(int(self.clock.now() if now is None else now))),
            (b"content-length", str(len(reply.body if broken and broken.kind == "cut" else body)).encode()),
            *reply.headers,
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        cut = broken is not None and broken.kind == "cut"
        await send({"type": "http.response.body", "body": body, "more_body": cut})
        if cut:
            raise CutError


async def _request(scope: Message, receive: Receive) -> Request:
    body = b""
    if scope["method"] != "GET":
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    return Request(
        scope["method"], scope["path"], scope["query_string"].decode(), dict(scope["headers"]), body
    )


def _nowhere(request: Request) -> Reply:
    return reply_json({"error": f"no venue of the replica answers {request.path}"}, 404)


def _refusal(fault: Fault, venue: str) -> Reply:
    if fault.kind == "html":
        return Reply(int(fault.params.get("status", 503)), HTML, content_type=b"text/html; charset=UTF-8")
    status = int(fault.params.get("status", 503))
    headers = []
    if status in (418, 429) or "retry_after" in fault.params:
        headers = [(b"retry-after", str(fault.params.get("retry_after", 1)).encode())]
    if "body" in fault.params:
        return Reply(status, str(fault.params["body"]).encode(), headers)
    if status == 429 and venue == "yahoo":
        return Reply(status, b"Too Many Requests\r\n", headers, b"text/plain")
    code, message = {
        418: (-1003, "Way too much request weight used; IP banned."),
        429: (-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."),
        451: (0, RESTRICTED),
        503: (
            -1008,
            "Server is currently overloaded with other requests. Please try again in a few minutes.",
        ),
    }.get(status, (-1000, "An unknown error occurred while processing the request."))
    return reply_json({"code": code, "msg": message}, status, headers)


def _broken(body: bytes, kind: str) -> bytes:
    half = body[: max(1, len(body) // 2)]
    return half + b'"<<~corrupt' + body[len(half) :] if kind == "malformed" else half
