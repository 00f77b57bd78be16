"""What the providers of share prices that need a key share: New York's hours, words for quota and key."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from pipelines.market import epoch_ms
from pipelines.sources.base import Reply
from pipelines.sources.candles import CandleVenue

NEW_YORK = ZoneInfo("America/New_York")
A_MINUTE_S, AN_HOUR_S = 60.0, 3600.0
QUOTA = ("limit", "too many", "per minute", "per day", "quota", "frequency", "exceeded")
KEY = ("api key", "apikey", "api_key", "token")
PLAN = ("premium", "upgrade", "not entitled", "subscription", "your plan")


class KeyedVenue(CandleVenue):
    """A provider whose plan decides how often it may be asked; `rate_limit` in its [[source]] says so."""

    calendar = "XNYS"
    needs_key = True
    connections = 2
    error_keys: tuple[str, ...] = ("error", "message", "Error Message", "Note", "Information")
    """Members of an answer that hold a refusal."""

    def words(self, body: Any) -> tuple[str, bool]:
        said = next((str(body[name]) for name in self.error_keys if body.get(name)), "")
        return said, meant(said)[0] == 404

    def meaning(self, reply: Reply) -> Reply:
        """HTTP 200 with a note instead of data is a refusal."""
        if reply.status != 200 or not any(
            f'"{name}"'.encode() in reply.body[:2000] for name in self.error_keys
        ):
            return reply
        try:
            said, _ = self.words(orjson.loads(reply.body))
        except (ValueError, AttributeError):
            return reply
        if not said:
            return reply
        status, pause_s = meant(said)
        return replace(reply, status=status, retry_after_s=pause_s)


def meant(said: str) -> tuple[int, float | None]:
    """The HTTP status that a refusal's words mean, and the pause they ask for in seconds.

    A quota is 429, for an hour where it is one of the day; what the plan lacks is 403; a key that is not
    taken 401; anything else is about the symbol, 404.
    """
    words = said.lower()
    if any(word in words for word in QUOTA):
        return 429, AN_HOUR_S if "day" in words and "minute" not in words else A_MINUTE_S
    if any(word in words for word in PLAN):
        return 403, None
    if any(word in words for word in KEY):
        return 401, None
    return 404, None


def local_ms(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    """Epoch milliseconds of a local time such as `2024-11-01 19:59:00`; ValueError where it is none."""
    return epoch_ms(datetime.fromisoformat(text).replace(tzinfo=zone))
