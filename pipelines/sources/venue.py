"""One venue on the wire: where it lives, how it wants to be asked, and a response as a `Reply`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import urlsplit

import httpx

from pipelines.market import utc
from pipelines.sources.base import Reply, SourceOptions


@dataclass(frozen=True)
class Venue:
    """How one venue wants to be asked; `hosts` after the first are tried when the one before fails."""

    name: str
    hosts: tuple[str, ...]
    connections: int
    weight_limit: int
    """Per minute."""
    jitter_s: float = 0.0
    """Longest random pause before each request, so that we never knock in step."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Query parameters such as a key: sent with every request, written down nowhere."""
    meaning: Callable[[Reply], Reply] = lambda reply: reply
    """For a venue that refuses with HTTP 200: the reply with the status that its words mean."""


@dataclass(frozen=True, slots=True)
class Call:
    """One GET: `symbol` is whom it is for, `weight` what the venue charges; `since`, `until` as in `Reply`."""

    symbol: str
    path: str
    params: Mapping[str, str]
    weight: int = 1
    since: datetime | None = None
    until: datetime | None = None


def connect(
    venue: Venue, options: SourceOptions, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """A client with one kept-alive connection; proxies of the environment are used, but not for loopback."""
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        headers=dict(venue.headers),
        timeout=options.timeout_s,
        transport=transport,
        verify=_ssl_context(venue.hosts[0].startswith("https")),
        trust_env=not all(_is_loopback(host) for host in venue.hosts),
    )


def read_reply(venue: Venue, call: Call, response: httpx.Response, latency_ms: float, now: datetime) -> Reply:
    """The response as received, with what its headers say about the time and about waiting.

    A venue that repeats our key in its words gets it struck out before anything is written down.
    """
    server_time = _http_date(response.headers.get("Date", ""))
    reply = Reply(
        source=venue.name,
        symbol=call.symbol,
        path=call.path,
        params=dict(call.params),
        status=response.status_code,
        body=_without(response.content, venue.secret),
        received_at=now,
        latency_ms=latency_ms,
        server_time=server_time,
        retry_after_s=_retry_after_s(response.headers.get("Retry-After", ""), server_time or now),
        since=call.since,
        until=call.until,
    )
    return venue.meaning(reply)


def _without(body: bytes, secret: Mapping[str, str]) -> bytes:
    for value in secret.values():
        if value:
            body = body.replace(value.encode(), b"***")
    return body


@cache
def _ssl_context(encrypted: bool) -> ssl.SSLContext:
    """One for all connections: reading the certificates takes longer than a request."""
    return httpx.create_ssl_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_loopback(host: str) -> bool:
    return urlsplit(host).hostname in ("127.0.0.1", "localhost", "::1")


def _http_date(text: str) -> datetime | None:
    try:
        return utc(parsedate_to_datetime(text))
    except ValueError:
        return None


def _retry_after_s(text: str, now: datetime) -> float | None:
    """`Retry-After` as seconds or as a date; None if absent or unreadable."""
    if text.isascii() and text.isdigit():
        return float(text)
    until = _http_date(text)
    return max(0.0, (until - now).total_seconds()) if until else None
