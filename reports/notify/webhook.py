"""A signed JSON webhook, by the Standard Webhooks headers.

The signature is `v1,` + base64(HMAC-SHA256(key, "{webhook-id}.{webhook-timestamp}.{body}")); the id is the
same for every try of a delivery, so that a receiver can drop doubles.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

import httpx
import orjson

from reports.notify.channel import ChannelConfig, Envelope, Outcome
from reports.notify.http import post
from reports.notify.message import Message


@dataclass(frozen=True)
class Webhook:
    """url, key (`whsec_` and base64, or any text; without it nothing is signed)."""

    config: ChannelConfig
    client: httpx.Client

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        body = orjson.dumps(payload(envelope, message))
        headers = signed_headers(envelope, body, self.config.get("key"))
        return post(self.client, self.config.need("url"), body, headers)


def payload(envelope: Envelope, message: Message) -> dict[str, object]:
    """type (tapewatch.alert or tapewatch.digest), timestamp and data, as Standard Webhooks suggests."""
    kind = f"tapewatch.{message.facts.get('kind', 'message')}"
    return {"type": kind, "timestamp": envelope.created_at.isoformat(), "data": message.json}


def signed_headers(envelope: Envelope, body: bytes, key: str) -> dict[str, str]:
    at = str(int(envelope.sent_at.timestamp()))
    headers = {"webhook-id": envelope.id, "webhook-timestamp": at}
    return headers | ({"webhook-signature": signature(envelope.id, at, body, key)} if key else {})


def signature(identity: str, timestamp: str, body: bytes, key: str) -> str:
    content = f"{identity}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(_key_bytes(key), content, hashlib.sha256).digest()).decode()}"


def _key_bytes(key: str) -> bytes:
    if key.startswith("whsec_"):
        try:
            return base64.b64decode(key.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return key.encode()
    return key.encode()
