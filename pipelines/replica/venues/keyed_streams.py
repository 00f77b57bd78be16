"""The trades of Massive, FMP and Finage by websocket; keys as in `keyed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.replica.stream_frames import Frame, Session
from pipelines.replica.truth import Book
from pipelines.replica.venues.keyed import GOOD
from pipelines.replica.venues.matches_streams import Following, message, rows_of, said_object

PATHS = {"massive": "/stocks", "fmp": "/fmp", "finage": "/finage"}


class MassiveSession(Following):
    """`{"action": "auth", "params": KEY}`, then `{"action": "subscribe", "params": "T.AAPL,T.MSFT"}`."""

    is_known = False

    def hear(self, text: str) -> str | None:
        said = said_object(text)
        action, params = said.get("action"), str(said.get("params", ""))
        if action == "auth":
            self.is_known = params == GOOD
            words = (
                ("auth_success", "authenticated")
                if self.is_known
                else ("auth_failed", "authentication failed")
            )
        elif not self.is_known:
            words = ("auth_required", "not authenticated")
        else:
            wanted = [name.removeprefix("T.") for name in params.split(",")]
            unknown = [name for name in wanted if not self.follow(name)]
            words = ("error", f"unknown {unknown[0]}") if unknown else ("success", f"subscribed to: {params}")
        return message([{"ev": "status", "status": words[0], "message": words[1]}])

    def due(self, now: float) -> list[Frame]:
        self.now = now
        return [
            Frame(message([_event(symbol, *row)]), symbol, row[0])
            for symbol in list(self.seen_ms)
            for row in rows_of(self.fresh(symbol, now))
        ]


class FmpSession(Following):
    """`{"event": "login", "data": {"apiKey": KEY}}`, then `{"event": "subscribe", "data": {"ticker": "aapl"}}`."""

    is_known = False

    def hear(self, text: str) -> str | None:
        said = said_object(text)
        event, data = said.get("event"), said.get("data") or {}
        if event == "login":
            self.is_known = data.get("apiKey") == GOOD
            status = (200, "Authenticated") if self.is_known else (401, "Unauthorized")
        elif not self.is_known:
            status = (401, "Unauthorized")
        else:
            known = self.follow(str(data.get("ticker", "")).upper())
            status = (200, "Subscribed to selected ticker") if known else (404, "Unknown ticker")
        return message({"event": event, "status": status[0], "message": status[1]})

    def due(self, now: float) -> list[Frame]:
        self.now = now
        return [
            Frame(
                message({"s": symbol.lower(), "t": at_ms, "type": "T", "lp": price, "ls": qty}),
                symbol,
                number,
            )
            for symbol in list(self.seen_ms)
            for number, price, qty, at_ms, _ in rows_of(self.fresh(symbol, now))
        ]


class FinageSession(Following):
    """`{"action": "subscribe", "symbols": "AAPL,MSFT"}`; the address is the account's, so nobody is asked for a key."""

    def hear(self, text: str) -> str | None:
        said = said_object(text)
        wanted = str(said.get("symbols", "")).split(",") if said.get("action") == "subscribe" else []
        known = [name for name in wanted if self.follow(name)]
        return message({"status_code": 200 if known else 400, "message": f"Subscribed {','.join(known)}"})

    def due(self, now: float) -> list[Frame]:
        self.now = now
        return [
            Frame(message({"s": symbol, "p": price, "t": at_ms, "v": qty}), symbol, number)
            for symbol in list(self.seen_ms)
            for number, price, qty, at_ms, _ in rows_of(self.fresh(symbol, now))
        ]


SESSIONS: dict[str, Callable[[Book, str, float], Session]] = {
    "massive": MassiveSession,
    "fmp": FmpSession,
    "finage": FinageSession,
}


class KeyedStreams:
    """The dialect of one of the three, on a path of its own."""

    def __init__(self, book: Book, name: str) -> None:
        self.book, self.name = book, name

    def open(self, path: str, query: str, now: float) -> Session | None:
        return SESSIONS[self.name](self.book, self.name, now) if path == PATHS[self.name] else None


def _event(symbol: str, number: int, price: float, qty: float, at_ms: int, sold: bool) -> dict[str, Any]:
    return {
        "ev": "T", "sym": symbol, "x": 4, "i": str(number), "z": 3, "p": price, "s": qty, "c": [0], "t": at_ms,
        "q": number,
    }  # fmt: skip
