"""One POST, and what its answer means for a delivery."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from pipelines.market import utc
from reports.notify.channel import Dead, Outcome, Retry, Sent

TIMEOUT = httpx.Timeout(10.0)
_LATER = {408, 425, 429}


def post(client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Outcome:
    """Sends JSON bytes: 2xx is sent; 408, 425, 429, 5xx and trouble on the way come again; the rest is dead.

    Redirects are not followed: a secret address must not be carried elsewhere.
    """
    try:
        reply = client.post(
            url, content=body, headers={"Content-Type": "application/json", **(headers or {})},
            timeout=TIMEOUT, follow_redirects=False,
        )  # fmt: skip
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        return Dead(f"the address cannot be used: {error}")
    except httpx.HTTPError as error:
        return Retry(f"{type(error).__name__}: {error}")
    if reply.is_success:
        return Sent()
    reason = f"answered {reply.status_code}: {reply.text[:200]}"
    if reply.status_code in _LATER or reply.status_code >= 500:
        return Retry(reason, _retry_after(reply.headers.get("Retry-After"), reply.headers.get("Date")))
    return Dead(reason)


def _retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or an HTTP date (against the answer's own Date)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = utc(parsedate_to_datetime(value))
        since = utc(parsedate_to_datetime(date)) if date else datetime.now(UTC)
    except ValueError:
        return None
    return max(0.0, (until - since).total_seconds())


def client(timeout_s: float = 10.0) -> httpx.Client:
    """The client all posting channels share; a message waits no longer than `timeout_s` for its receiver."""
    return httpx.Client(timeout=timeout_s, follow_redirects=False)
