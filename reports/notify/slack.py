"""Slack by incoming webhook."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import orjson

from reports.notify.channel import ChannelConfig, Envelope, Outcome, clipped
from reports.notify.http import post
from reports.notify.message import Message

LONGEST = 35_000


@dataclass(frozen=True)
class Slack:
    """url of the incoming webhook; `env:SLACK_WEBHOOK_URL` if it is not given."""

    config: ChannelConfig
    client: httpx.Client

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        body = orjson.dumps(payload(message))
        return post(self.client, self.config.need("url"), body)


def payload(message: Message) -> dict[str, object]:
    """One text in Slack's mrkdwn; outside words cannot mention people or make links."""
    lines = [f"*{escaped(message.subject)}*", *(f"• {escaped(line)}" for line in message.lines)]
    link = [f"<{escaped(message.link)}|Open>"] if message.link else []
    room = LONGEST - sum(len(part) + 1 for part in link)
    return {"text": "\n".join([clipped(lines, room), *link]), "unfurl_links": False}


def escaped(text: str) -> str:
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    # A zero-width space takes the formatting from signs that an outside word may carry.
    return "".join(f"{sign}\u200b" if sign in "*_~`" else sign for sign in text)
