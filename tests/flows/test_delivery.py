"""Configured channels on their way to the senders."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.delivery import channel_config
from pipelines.secrets import Secret
from pipelines.settings_alerts import Channel
from reports.notify.channel import ChannelError


def _hook(environ: dict[str, str]) -> Channel:
    return Channel(name="hook", kind="webhook", url=Secret("env:HOOK_URL", environ, Path()))


def test_a_secret_is_revealed_when_it_is_needed():
    assert channel_config(_hook({"HOOK_URL": "http://127.0.0.1:9/x"})).need("url") == "http://127.0.0.1:9/x"


def test_a_missing_secret_is_that_channels_trouble_and_nobody_elses():
    with pytest.raises(ChannelError, match="HOOK_URL"):
        channel_config(_hook({})).need("url")
