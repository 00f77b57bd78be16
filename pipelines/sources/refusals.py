"""What an error status means for the request, the source and the next try."""

from __future__ import annotations

from pipelines.sources.base import Failure, RateLimited, Reply, SourceBlocked, SourceError

RATE_LIMITED = frozenset({418, 429})
BLOCKED = frozenset({403, 451})
UNAUTHORIZED = 401
DEFAULT_PAUSE_S = {429: 60.0, 418: 120.0, 403: 900.0, 451: 900.0}
"""How long a source rests when the venue says stop but not for how long."""


def is_transient(status: int) -> bool:
    """Whether asking again at once may help."""
    return status >= 500 or status == 408


def pause_s(reply: Reply) -> float:
    """Seconds the whole source must rest after this reply; 0 for all other statuses."""
    if reply.status not in DEFAULT_PAUSE_S:
        return 0.0
    return DEFAULT_PAUSE_S[reply.status] if reply.retry_after_s is None else max(1.0, reply.retry_after_s)


def stops(reply: Reply) -> bool:
    """Whether the other requests of the same fetch would be refused alike: a pause, or a key that is not taken."""
    return pause_s(reply) > 0 or reply.status == UNAUTHORIZED


def unasked_reason(reply: Reply) -> str:
    """The `reason` of requests that were not made because of this reply."""
    if reply.status == UNAUTHORIZED:
        return "unauthorized"
    return "blocked" if reply.status in BLOCKED else "rate_limited"


def refusal(reply: Reply, words: str, unknown_symbol: bool = False) -> Failure:
    """An error status as a failure; `words` are the venue's own."""
    detail = f"{reply.source} {reply.symbol}: HTTP {reply.status} {' '.join(words.split())[:300]}"
    if reply.status in RATE_LIMITED:
        return Failure(reply.symbol, "rate_limited", detail, pause_s(reply))
    if reply.status == UNAUTHORIZED:
        return Failure(reply.symbol, "unauthorized", f"{detail}; check api_key", retryable=False)
    if reply.status in BLOCKED:
        hint = "; not served from here, set base_url to another host of the venue or use a fallback source"
        return Failure(reply.symbol, "blocked", detail + hint, pause_s(reply), retryable=False)
    if is_transient(reply.status):
        return Failure(reply.symbol, "server_error", detail, reply.retry_after_s)
    return Failure(reply.symbol, "unknown_symbol" if unknown_symbol else "refused", detail, retryable=False)


def error_of(failure: Failure) -> SourceError:
    """The exception that says the same as `failure`."""
    if failure.reason == "blocked":
        return SourceBlocked(failure.detail)
    if failure.retry_after_s is not None:
        return RateLimited(failure.detail, failure.retry_after_s)
    return SourceError(failure.detail)
