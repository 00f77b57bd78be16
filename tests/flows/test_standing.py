"""A configuration that goes wrong under a running platform: the last usable one stays in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.alerting import rules_of
from flows.cli.call import Call
from flows.cli.doctor import doctor
from flows.context import assemble
from flows.in_force import settings_in_force
from flows.standing import STANDING, place_in
from pipelines.alerts.history import Orders
from pipelines.settings import ConfigError
from pipelines.settings_alerts import Rule
from tests.lakes import settings_at

GOOD = 'data_dir = "data"\n[[source]]\nname = "binance"\nsymbols = ["{}"]\n'
WRONG = '[[channel]]\nname = "mail"\nkind = "email"\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "here" / "tapewatch.toml"
    found.parent.mkdir()
    found.write_text(GOOD.format("BTCUSDT"))
    monkeypatch.setenv("TAPEWATCH_CONFIG", str(found))
    monkeypatch.setenv(STANDING, str(tmp_path / "run" / "standing.json"))
    return found


def test_a_mistake_in_the_file_leaves_what_it_said_before_in_force_until_it_is_mended(file: Path):
    before = settings_in_force()
    assert (before.source("binance").symbols, before.fault) == (("BTCUSDT",), "")
    file.write_text(GOOD.format("ETHUSDT") + WRONG)
    during = settings_in_force()
    assert during == before
    assert during.data_dir == file.parent / "data"
    assert 'a channel of kind "email" needs host' in during.fault
    file.write_text(GOOD.format("ETHUSDT"))
    assert settings_in_force().source("binance").symbols == ("ETHUSDT",)


def test_a_file_that_never_was_right_is_an_error(file: Path):
    file.write_text(WRONG)
    with pytest.raises(ConfigError, match="needs host"):
        settings_in_force()


def test_the_command_line_is_told_of_the_mistake(file: Path, monkeypatch: pytest.MonkeyPatch):
    settings_in_force()
    file.write_text(WRONG)
    monkeypatch.delenv(STANDING)
    with pytest.raises(ConfigError, match="needs host"):
        settings_in_force()


def test_doctor_checks_the_rest_by_what_stays_in_force(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(STANDING, str(place_in(file.parent / "data")))
    settings_in_force()
    file.write_text(GOOD.format("BTCUSDT") + WRONG)
    monkeypatch.delenv(STANDING)
    assert doctor(call=Call(json=True)) == 2
    lines = [(line["state"], line["check"], line["detail"]) for line in json.loads(capsys.readouterr().out)]
    assert any(state == "fail" and check == "config" and "host" in detail for state, check, detail in lines)
    assert any(state == "warn" and "stays in force" in detail for state, _, detail in lines)
    assert {"disk", "warehouse"} <= {check for _, check, _ in lines}


def test_a_rule_that_cannot_be_judged_keeps_the_others_and_the_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    wrong, right = Rule("mine", "volum_ratio > 3"), Rule("also-mine", "volume_ratio > 3")
    context = assemble(settings_at(tmp_path, rules=(wrong, right)))
    names = {rule.name for rule in rules_of(context, Orders())}
    assert "also-mine" in names
    assert "mine" not in names
    assert "volume_ratio" in caplog.text
