"""Configured channels on their way to the senders."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from flows import minute
from flows.cli import run_minute
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


@pytest.mark.parametrize("way", [minute, run_minute])
def test_an_alert_goes_out_whatever_the_pages_meet(way: ModuleType, monkeypatch: pytest.MonkeyPatch):
    done = []

    def step(name: str) -> None:
        owner = way if hasattr(way, name) else way.walk
        monkeypatch.setattr(owner, name, lambda *_, **__: done.append(name))

    names = ("derive", "deliver") if way is minute else ("load_streamed", "derive_and_alert", "deliver_due")
    for name in names:
        step(name)
    page = (minute, "publish") if way is minute else (run_minute.walk, "publish_site")
    monkeypatch.setattr(*page, lambda _run: 1 / 0)
    monkeypatch.setattr(way.walk, "record", lambda _run, state, **_: done.append(state))
    context = SimpleNamespace(feeds=list, streams=dict)
    with pytest.raises(ZeroDivisionError):
        way._steps(SimpleNamespace(context=context, con=None, run_id="run-1"))
    assert done[: len(names)] == list(names)
    assert "Completed" not in done
