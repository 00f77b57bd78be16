"""What a channel is: a name, options, secrets that stay secret, and what may become of a send."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from reports.notify.message import Message

Option = str | int | bool | list[str]

SECRET_OPTIONS = frozenset({"url", "urls", "token", "password", "key"})
"""Redacted even where they were written into the configuration in plain text."""
CONFIGURED = {"key": "secret"}
"""Option -> its name in the configuration, where that is another."""


class ChannelError(Exception):
    """A channel that cannot send as it is configured: says the channel, the option and what to do."""


@dataclass(frozen=True)
class ChannelConfig:
    """A `[[channel]]`: kind is file, email, slack, discord, telegram, teams, webhook or apprise.

    secret: gives the value behind an option's `env:NAME` or `file:PATH` (by the reference's text), None if
    there is none. It is asked at each send, so that a rotated secret needs no restart.
    """

    name: str
    kind: str
    options: Mapping[str, Option] = field(default_factory=dict)
    secret: Callable[[str], str | None] = field(default=lambda reference: resolved(reference), repr=False)

    def get(self, key: str, default: str = "") -> str:
        """An option as text, its reference resolved; ChannelError where what it refers to is absent."""
        value = self.options.get(key, default)
        return self._resolve(key, str(value))

    def need(self, key: str) -> str:
        """An option that must be there."""
        value = self.options.get(key, "")
        if value in ("", None):
            raise ChannelError(
                f"channel {self.name} ({self.kind}): {key} is not set; add it to its [[channel]] table"
            )
        return self._resolve(key, str(value))

    def many(self, key: str) -> list[str]:
        """An option that is one text or a list of them."""
        value = self.options.get(key, [])
        return [self._resolve(key, str(part)) for part in (value if isinstance(value, list) else [value])]

    def secrets(self) -> list[str]:
        """Every value that must never be shown, as far as it can be resolved now."""
        found: list[str] = []
        for key, value in self.options.items():
            for part in value if isinstance(value, list) else [value]:
                text = str(part)
                if is_reference(text):
                    found.append(self.secret(text) or "")
                elif key in SECRET_OPTIONS:
                    found.append(text)
        return [value for value in found if value]

    def _resolve(self, key: str, value: str) -> str:
        if not is_reference(value):
            return value
        found = self.secret(value)
        if not found:
            raise ChannelError(
                f"channel {self.name} ({self.kind}): {CONFIGURED.get(key, key)} refers to {value}, which is not set"
            )
        return found


def is_reference(value: str) -> bool:
    return value.startswith(("env:", "file:"))


def resolved(reference: str) -> str | None:
    """The value of `env:NAME` or of the file of `file:PATH`; None if there is none."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return os.environ.get(name)
    try:
        return Path(name).read_text().strip()
    except OSError:
        return None


def redacted(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets: their values, their quoted forms, and the path and user of addresses."""
    for shown in sorted({part for secret in secrets for part in _forms(secret)}, key=len, reverse=True):
        text = text.replace(shown, "***")
    return text


def _forms(secret: str) -> list[str]:
    forms = [secret, quote(secret, safe=""), quote(secret)]
    if "://" in secret:
        parts = urlsplit(secret)
        forms += [parts.path, parts.query, parts.password or "", parts.username or ""]
        pieces = re.split(r"[/?&=@:]", secret.partition("://")[2])
        # What follows http:// is a host, which an error may name; in Apprise's addresses it is a token.
        is_host = parts.scheme in ("http", "https") and not parts.username
        forms += [piece for piece in pieces[is_host:] if len(piece) >= 8]
    return [form for form in forms if len(form) >= 4]


@dataclass(frozen=True)
class Envelope:
    """Around the message: the delivery's stable id, when it was queued, and its group."""

    id: str
    created_at: datetime
    sent_at: datetime
    group_key: str


@dataclass(frozen=True)
class Sent:
    """The other side has it."""


@dataclass(frozen=True)
class Retry:
    """Not now; `after` seconds if the other side said how long."""

    reason: str
    after: float | None = None


@dataclass(frozen=True)
class Dead:
    """Never in this form: sending it again would fail alike."""

    reason: str


Outcome = Sent | Retry | Dead


class Channel(Protocol):
    """Sends one message. Network trouble is an Outcome, a wrong configuration a ChannelError."""

    @property
    def config(self) -> ChannelConfig: ...

    def send(self, envelope: Envelope, message: Message) -> Outcome: ...


def clipped(lines: Iterable[str], most: int, by: str = "\n") -> str:
    """As many whole lines as fit into `most` characters, and how many were left out."""
    kept: list[str] = []
    rest = list(lines)
    room = most - len("… 9999 more")
    while rest and len(by.join([*kept, rest[0]])) <= room:
        kept.append(rest.pop(0))
    if rest and not kept:
        kept.append(rest.pop(0)[: max(0, room - 1)] + "…")
    return by.join([*kept, f"… {len(rest)} more"] if rest else kept)
