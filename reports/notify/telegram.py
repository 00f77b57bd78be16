"""Telegram by its bot API."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import orjson

from reports.notify.channel import ChannelConfig, Envelope, Outcome, clipped
from reports.notify.http import post
from reports.notify.message import Message

LONGEST = 4_096
API = "https://api.telegram.org"


@dataclass(frozen=True)
class Telegram:
    """token of the bot, chat (a number or @name), api (another address of the bot API)."""

    config: ChannelConfig
    client: httpx.Client

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        url = f"{self.config.get('api', API)}/bot{self.config.need('token')}/sendMessage"
        return post(self.client, url, orjson.dumps(payload(message, self.config.need("chat"))))


def payload(message: Message, chat: str) -> dict[str, object]:
    """Plain text, so that nothing in it is markup; counted in UTF-16 units as Telegram does."""
    link = [message.link] if message.link else []
    # A sign outside the basic plane counts twice; a tenth is kept free for them.
    room = LONGEST * 9 // 10 - sum(len(part) + 1 for part in link)
    text = clipped([message.subject, "", *message.lines], room)
    return {"chat_id": chat, "text": "\n".join([text, *link]), "link_preview_options": {"is_disabled": True}}
