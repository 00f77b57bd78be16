"""Configured channels into senders; the one place that knows every kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from reports.notify.channel import Channel, ChannelConfig, ChannelError, Option
from reports.notify.discord import Discord
from reports.notify.email import Email
from reports.notify.file import File
from reports.notify.message import Site
from reports.notify.slack import Slack
from reports.notify.teams import Teams
from reports.notify.telegram import Telegram
from reports.notify.webhook import Webhook

_POSTED: dict[str, Callable[[ChannelConfig, httpx.Client], Channel]] = {
    "slack": Slack,
    "discord": Discord,
    "telegram": Telegram,
    "teams": Teams,
    "webhook": Webhook,
}
USUAL: dict[str, dict[str, Option]] = {"slack": {"url": "env:SLACK_WEBHOOK_URL"}}
"""Options of a kind where the configuration says nothing."""
KINDS = ("file", "email", *_POSTED, "apprise")


@dataclass(frozen=True)
class Sender:
    """A channel, and where the site is as its readers see it."""

    channel: Channel
    site: Site


def senders(
    configs: Iterable[ChannelConfig], client: httpx.Client, site_dir: Path, site_url: str | None = None
) -> dict[str, Sender]:
    """name -> Sender; `file` is always there. ChannelError for an unknown kind or a name given twice."""
    found = {"file": Sender(File(ChannelConfig("file", "file"), site_dir), Site("../"))}
    for config in configs:
        if config.kind == "file":
            continue
        if config.name in found:
            raise ChannelError(f"two channels are called {config.name}; names must differ")
        usual = replace(config, options={**USUAL.get(config.kind, {}), **config.options})
        found[config.name] = Sender(_channel(usual, client), Site(site_url))
    return found


def _channel(config: ChannelConfig, client: httpx.Client) -> Channel:
    if config.kind in _POSTED:
        return _POSTED[config.kind](config, client)
    if config.kind == "email":
        return Email(config)
    if config.kind == "apprise":
        # Apprise takes a second to load, which only those pay who use it.
        anywhere: Channel = importlib.import_module("reports.notify.anywhere").Anywhere(config)
        return anywhere
    raise ChannelError(f"channel {config.name}: kind {config.kind!r} is not one of {', '.join(KINDS)}")
