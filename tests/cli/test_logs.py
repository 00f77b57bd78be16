"""Logs: one line an event, for programs as JSON, secrets masked by value."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import logs
from flows.cli.call import Call
from pipelines.secrets import Secret


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in [each for each in root.handlers if each.get_name() == "tapewatch"]:
        root.removeHandler(handler)


@pytest.mark.capability("OPS-04")
def test_an_event_is_one_json_line_with_its_numbers() -> None:
    out = io.StringIO()
    logs.set_up("info", "auto", out)
    logging.getLogger("flows.minute").info("loaded %s", "binance", extra={"rows": 500, "lag_s": 1.25})
    logging.getLogger("flows.minute").debug("not this")
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert (event["level"], event["logger"], event["event"]) == ("info", "flows.minute", "loaded binance")
    assert (event["rows"], event["lag_s"]) == (500, 1.25)
    assert event["ts"].endswith("Z")


@pytest.mark.capability("OPS-04")
def test_the_level_is_obeyed_and_text_is_for_eyes() -> None:
    out = io.StringIO()
    logs.set_up("warning", "text", out)
    logs.set_up("warning", "text", out)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud", extra={"rows": 1})
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().endswith("warning loud  rows=1\n")


@pytest.mark.capability("OPS-10")
def test_a_secret_that_was_fetched_never_reaches_the_log() -> None:
    out = io.StringIO()
    logs.set_up("info", "json", out)
    value = Secret("env:HOOK", {"HOOK": "T0PSECRET"}).reveal()
    try:
        raise ValueError(f"refused by {value}")
    except ValueError:
        logging.getLogger("x").exception("post to %s failed", value, extra={"url": value})
    assert "T0PSECRET" not in out.getvalue()
    assert json.loads(out.getvalue())["event"] == "post to *** failed"


@pytest.mark.capability("OPS-04")
def test_the_file_sets_the_level_and_the_option_beats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOG_LEVEL", "TAPEWATCH_LOG_LEVEL", "TAPEWATCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mine.toml").write_text('log_level = "error"\n')
    assert Call(config=tmp_path / "mine.toml").settings.log_level == "error"
    assert logging.getLogger().level == logging.ERROR
    assert Call(config=tmp_path / "mine.toml", log_level="debug").settings
    assert logging.getLogger().level == logging.DEBUG
