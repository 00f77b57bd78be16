"""Draining the outbox with the configured channels."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import duckdb

from flows.context import Context
from pipelines.secrets import SecretError
from pipelines.settings_alerts import Channel
from reports.notify.channel import ChannelConfig, Option
from reports.notify.channels import senders
from reports.notify.deliver import drain
from reports.notify.http import client


def deliver_due(con: duckdb.DuckDBPyConnection, context: Context, run_id: str) -> int:
    """Sends what is due and returns how many messages were sent; the rest waits in the outbox."""
    settings = context.settings
    configured = [channel_config(channel) for channel in settings.channels if channel.enabled]
    site_url = f"http://{settings.site.host}:{settings.site.port}/"
    with client() as shared:
        drained = drain(
            con,
            context.location,
            senders(configured, shared, settings.site_dir, site_url),
            lambda: datetime.now(UTC),
            random.random,
            run_id,
        )
    return drained.sent


def channel_config(channel: Channel) -> ChannelConfig:
    """A `[[channel]]` of the settings as the channels read it; secrets are revealed only when a message is sent."""
    secrets = {
        "url": channel.url,
        "key": channel.secret,
        "token": channel.token,
        "password": channel.password,
    }
    options: dict[str, Option] = {name: secret.reference for name, secret in secrets.items() if secret}
    plain: dict[str, Option] = {
        "chat": channel.chat_id,
        "host": channel.host,
        "port": channel.port,
        "username": channel.user,
        "from": channel.from_,
        "to": list(channel.to),
        "security": channel.tls if channel.kind == "email" else "",
    }
    options |= {name: value for name, value in plain.items() if value}
    known = {str(secret.reference): secret for secret in secrets.values() if secret}

    def revealed(reference: str) -> str | None:
        """None for a secret that is not there: that channel's message then says so, the others are sent."""
        try:
            return known[reference].reveal() if reference in known else None
        except SecretError:
            return None

    return ChannelConfig(channel.name, channel.kind, options, revealed)
