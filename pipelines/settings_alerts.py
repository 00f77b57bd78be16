"""The `[[rule]]` and `[[channel]]` tables of `tapewatch.toml`."""

# ruff: noqa: RUF009 - key() and table() return dataclass fields

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pipelines import settings_values as read
from pipelines.secrets import Secret
from pipelines.settings_sections import Problems, key

CHANNEL_KINDS = ("file", "email", "slack", "discord", "telegram", "teams", "webhook", "apprise")
_HOOKS = frozenset({"slack", "discord", "teams", "webhook", "apprise"})
_NEEDS = {
    "email": ("host", "from", "to"),
    "telegram": ("token", "chat_id"),
    **dict.fromkeys(_HOOKS, ("url",)),
}


def bars(value: Any) -> int:
    """A number of bars: `3` or `"3 bars"`."""
    count = re.fullmatch(r"(\d+)\s*(?:bars?)?", value.strip()) if isinstance(value, str) else None
    return read.whole(1, 10_000)(int(count[1]) if count else value)


@dataclass(frozen=True)
class Rule:
    """What to watch for: a condition on columns, on which series or pairs (globs), how grave it is.

    `for_` counts closed bars in a row; `clear` is the condition that ends it, empty for the opposite of
    `when` with a tenth of slack; `expires` is None for never.
    What `when` and `clear` mean is judged by pipelines.alerts.rules.
    """

    name: str = key("", read.name, required=True)
    when: str = key("", read.text, required=True)
    on: tuple[str, ...] = key((), read.listed(read.text))
    interval: tuple[str, ...] = key((), read.listed(read.interval))
    severity: str = key("medium", read.severity)
    for_: int = key(1, bars, name="for")
    clear: str = key("", read.text)
    expires: datetime | None = key(None, read.expiry)
    enabled: bool = key(True, read.flag)

    def table(self) -> dict[str, Any]:
        """The rule as the table that `pipelines.alerts.rules.rule_from` reads."""
        return {
            "name": self.name,
            "when": self.when,
            "on": self.on,
            "interval": self.interval,
            "severity": self.severity,
            "for": self.for_,
            "clear": self.clear or None,
            "expires": self.expires,
        }


def tls(value: Any) -> str:
    """How a mail server is spoken to: `starttls`, `ssl`, `none`; true means starttls."""
    if isinstance(value, bool):
        return "starttls" if value else "none"
    return read.choice("starttls", "ssl", "none")(value)


@dataclass(frozen=True)
class Channel:
    """Where messages go. Times: `cooldown` per group, `repeat` while it still fires, `escalate_after` without
    an acknowledgement."""

    name: str = key("", read.name, required=True)
    kind: str = key("", read.choice(*CHANNEL_KINDS), required=True)
    enabled: bool = key(True, read.flag)
    min_severity: str = key("high", read.severity)
    digest: bool = key(True, read.flag)
    url: Secret = key(Secret(), read.maybe_secret)
    secret: Secret = key(Secret(), read.secret)
    token: Secret = key(Secret(), read.secret)
    chat_id: str = key("", lambda value: read.text(str(value)))
    host: str = key("", read.text)
    port: int = key(587, read.whole(1, 65535))
    user: str = key("", read.text)
    password: Secret = key(Secret(), read.secret)
    tls: str = key("starttls", tls)
    from_: str = key("", read.text, name="from")
    to: tuple[str, ...] = key((), read.listed(read.text))
    group_wait: timedelta = key(timedelta(seconds=30), read.duration)
    cooldown: timedelta = key(timedelta(minutes=5), read.duration)
    repeat: timedelta = key(timedelta(hours=4), read.duration)
    send_resolved: bool = key(True, read.flag)
    escalate_after: timedelta | None = key(None, read.duration)
    escalate_to: str = key("", read.name)

    def check(self) -> Problems:
        for need in _NEEDS.get(self.kind, ()):
            if not getattr(self, "from_" if need == "from" else need):
                yield "kind", f'a channel of kind "{self.kind}" needs {need}'
        if self.kind in _HOOKS and self.url and not _is_address(self.kind, self.url.reference):
            yield "url", "not an address; write https://..., or env:NAME or file:PATH that holds one"
        elif self.kind in _HOOKS and self.url and not _may_be_plain(self.kind, self.url.reference):
            yield "url", f'a {self.kind} address is a secret; write url = "env:NAME" or "file:PATH"'
        if self.escalate_after and not self.escalate_to:
            yield "escalate_after", "escalate_to is missing: the channel that is told next"


def _is_address(kind: str, url: str) -> bool:
    """Whether `url` may be one; apprise has schemes of its own."""
    parts = urlsplit(url)
    web = parts.scheme in ("http", "https") and bool(parts.hostname)
    return url.startswith(("env:", "file:")) or web or (kind == "apprise" and "://" in url)


def _may_be_plain(kind: str, url: str) -> bool:
    """Whether `url` gives nothing away: a reference, a loopback address, or a webhook without a login."""
    if url.startswith(("env:", "file:")):
        return True
    parts = urlsplit(url)
    return _is_loopback(parts.hostname or "") or (kind == "webhook" and parts.password is None)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    return bool(re.fullmatch(r"[\d.]+|[\da-f:]+", host)) and ipaddress.ip_address(host).is_loopback
