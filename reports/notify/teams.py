"""Microsoft Teams by a Workflows webhook."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx
import orjson

from reports.notify.channel import ChannelConfig, Envelope, Outcome, clipped
from reports.notify.http import post
from reports.notify.message import Message

LONGEST = 12_000
"""Of text; the whole message may have 28 KB."""


@dataclass(frozen=True)
class Teams:
    """url of the workflow that posts what it gets."""

    config: ChannelConfig
    client: httpx.Client

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        return post(self.client, self.config.need("url"), orjson.dumps(payload(message)))


def payload(message: Message) -> dict[str, object]:
    """One adaptive card: the subject, the lines, a button to the page."""
    listed = clipped([f"- {escaped(line)}" for line in message.lines], LONGEST, by="\r")
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {
                "type": "TextBlock",
                "text": escaped(message.subject),
                "weight": "Bolder",
                "size": "Medium",
                "wrap": True,
            },
            {"type": "TextBlock", "text": listed, "wrap": True},
        ],
    }
    if message.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": message.link}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def escaped(text: str) -> str:
    return re.sub(r"([\\*_~`\[\]])", r"\\\1", text)
