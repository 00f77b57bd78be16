"""Discord by webhook."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx
import orjson

from reports.notify.channel import ChannelConfig, Envelope, Outcome, clipped
from reports.notify.http import post
from reports.notify.message import Message

LONGEST = 2_000


@dataclass(frozen=True)
class Discord:
    """url of the channel's webhook."""

    config: ChannelConfig
    client: httpx.Client

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        return post(self.client, self.config.need("url"), orjson.dumps(payload(message)))


def payload(message: Message) -> dict[str, object]:
    """One text of at most 2,000 characters; nobody is mentioned, whatever it says."""
    lines = [f"**{escaped(message.subject)[:300]}**", *(f"- {escaped(line)}" for line in message.lines)]
    link = [f"<{message.link}>"] if message.link else []
    room = LONGEST - sum(len(part) + 1 for part in link)
    return {"content": "\n".join([clipped(lines, room), *link]), "allowed_mentions": {"parse": []}}


def escaped(text: str) -> str:
    return re.sub(r"([\\*_~`|>\[\]])", r"\\\1", text)
