"""The command line as its users meet it: help, global options, errors in words, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main
from flows.cli.call import split_globals
from flows.cli.commands import COMMANDS, GROUPS
from warehouse.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
ALL = [[name] for name in COMMANDS] + [
    [group, name] for group, (_, inner) in GROUPS.items() for name in inner
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("TAPEWATCH_CONFIG", "LOG_LEVEL", "TAPEWATCH_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in [*COMMANDS, *GROUPS]:
        assert f" {name} " in shown
    assert "--config FILE" in shown


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: tapewatch {' '.join(command)}" in shown
    assert f"Example: tapewatch {' '.join(command)}" in shown
    assert "--call" not in shown


def test_the_frame_loads_nothing_heavy() -> None:
    heavy = "{'prefect', 'polars', 'duckdb', 'pandas', 'numpy', 'httpx', 'statsmodels', 'exchange_calendars'}"
    code = f"import sys; from flows.cli import main; main(['--help']); print({heavy} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "set()"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.parametrize(
    "argv",
    [
        ["--config", "x.toml", "--json", "sql", "SELECT 1"],
        ["sql", "SELECT 1", "--config=x.toml", "--json"],
        ["sql", "--json", "SELECT 1", "--config", "x.toml"],
    ],
)
def test_global_options_stand_anywhere(argv: list[str]) -> None:
    call, rest = split_globals([*argv, "--log-level", "WARNING"])
    assert (call.config, call.json, call.log_level, rest) == (
        Path("x.toml"),
        True,
        "warning",
        ["sql", "SELECT 1"],
    )


def test_after_two_dashes_everything_is_the_command_s() -> None:
    call, rest = split_globals(["sql", "--", "--json"])
    assert (call.json, rest) == (False, ["sql", "--", "--json"])


@pytest.mark.parametrize("argv", [["--config"], ["--config", "--json"], ["--log-level", "loud"]])
def test_a_global_option_without_a_sense_is_refused(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError):
        split_globals(argv)
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith(f"error: {argv[0]}: ")


@pytest.mark.parametrize("argv", [["nonsense"], ["sql", "--formt", "csv"], ["config", "chek"], ["explain"]])
def test_wrong_usage_is_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err + told.out


@pytest.mark.capability("OPS-03")
def test_config_check_tells_all_problems(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "tapewatch.toml").write_text("[site]\nprot = 1\nport = 0\n")
    assert main(["config", "check"]) == 2
    shown = capsys.readouterr().out
    assert 'tapewatch.toml:2: site.prot: unknown key; allowed: host, port; did you mean "port"?' in shown
    assert "tapewatch.toml:3: site.port: 0 is not possible here" in shown


def test_config_check_knows_calendars_rules_and_secrets(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "mine.toml").write_text(
        '[[source]]\nname = "yahoo"\nsymbols = ["A"]\ncalendar = "XNIS"\n'
        '[[rule]]\nname = "r"\nwhen = "volum_ratio >"\n'
    )
    assert main(["config", "check", "--config", "mine.toml"]) == 2
    shown = capsys.readouterr().out
    assert "mine.toml:4: source.yahoo.calendar: no calendar is called 'XNIS'" in shown
    assert "mine.toml:7: rule.r:" in shown
    (home / "mine.toml").write_text('[[channel]]\nname = "s"\nkind = "slack"\nurl = "env:NOT_SET_HERE"\n')
    assert main(["--config", "mine.toml", "config", "check", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert "NOT_SET_HERE is not set" in answer["warnings"][0]


def test_config_check_looks_behind_a_misspelt_adapter_and_knows_who_is_paired(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    misspelt = '[[source]]\nname = "binanse"\nsymbols = ["BTCUSDT"]\ncalendar = "XNYX"\n'
    yahoo = '[[source]]\nname = "yahoo"\nsymbols = ["AAPL", "MSFT", "aapl"]\n'
    (home / "mine.toml").write_text(misspelt + yahoo + 'calendar = "XNYZ"\n')
    assert main(["config", "check", "--config", "mine.toml"]) == 2
    shown = capsys.readouterr().out
    assert 'mine.toml:2: source.binanse.name: no adapter is called "binanse"' in shown
    assert "mine.toml:4: source.[1].calendar: no calendar is called 'XNYX'" in shown
    assert "mine.toml:8: source.yahoo.calendar: no calendar is called 'XNYZ'" in shown
    pairs = '[pairs]\nuniverse = [["yahoo:AAPL", "yahoo:NOPE"], ["MSFT", "AAPL"]]\n'
    (home / "mine.toml").write_text(pairs + yahoo)
    assert main(["config", "check", "--config", "mine.toml"]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [line.partition(";")[0] for line in warnings] == [
        "warning: source.yahoo.symbols: AAPL stands there 2 times",
        "warning: pairs.universe: yahoo:NOPE fits no series here",
    ]


def test_config_check_sees_what_is_behind_the_first_mistake_and_what_does_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = '[[rule]]\nname = "r"\nwhen = "volume_ratio > 3"\non = ["binance:BTCUSD"]\n'
    hook = '[[channel]]\nname = "h"\nkind = "webhook"\nurl = "https://example.com/x"\n'
    own = '[[channel]]\nname = "disk"\nkind = "file"\n'
    (home / "tapewatch.toml").write_text('[windows]\nintervals = ["5m", "7m", "banana"]\n' + rule + rule)
    assert main(["config", "check"]) == 2
    shown = capsys.readouterr().out
    assert '"7m" does not divide the day' in shown
    assert '"banana"' in shown
    assert 'tapewatch.toml:8: rule: "r" stands there 2 times' in shown
    (home / "tapewatch.toml").write_text(hook.replace("https://example.com/x", "notaurl"))
    assert main(["config", "check"]) == 2
    assert "channel.h.url: not an address" in capsys.readouterr().out
    (home / "tapewatch.toml").write_text(rule + hook + own)
    assert main(["config", "check"]) == 0
    shown = capsys.readouterr().out
    assert "rule.r.on: binance:BTCUSD fits no series here; did you mean binance:BTCUSDT" in shown
    assert "channel.h: without secret" in shown
    assert 'channel.disk: "file" is always on' in shown


def test_the_demos_own_configuration_is_the_one_that_is_checked_and_shown(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = home / "data" / "demo.toml"
    demo.parent.mkdir()
    demo.write_text('data_dir = "."\n[[source]]\nname = "binance"\nsymbols = ["SOLUSDT"]\n')
    assert main(["config", "show"]) == 0
    assert "[SOLUSDT]" in capsys.readouterr().out
    demo.write_text(demo.read_text() + "[site]\nprot = 1\n")
    assert main(["config", "check"]) == 2
    assert "demo.toml:6: site.prot: unknown key" in capsys.readouterr().out


def test_a_wrong_configuration_stops_every_command_with_two(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "tapewatch.toml").write_text("x = 1")
    assert main(["sources", "list"]) == 2
    assert capsys.readouterr().err.startswith("error: tapewatch.toml:1: x: unknown key")


@pytest.mark.capability("OPS-03")
def test_config_show_says_where_each_value_comes_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "tapewatch.toml").write_text('[digest]\nevery = "2h"\n')
    monkeypatch.setenv("TAPEWATCH_SITE__PORT", "9001")
    assert main(["config", "show", "--json"]) == 0
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}
    assert rows["digest.every"] == ("2h", "tapewatch.toml:2")
    assert rows["site.port"] == ("9001", "environment TAPEWATCH_SITE__PORT")
    assert rows["pairs.fdr"] == ("0.05", "default")
    assert main(["config", "show"]) == 0
    assert "environment TAPEWATCH_SITE__PORT" in capsys.readouterr().out


def test_config_init_writes_a_file_that_stands(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init", "sub/new.toml"]) == 0
    assert main(["config", "check", "--config", "sub/new.toml"]) == 0
    assert "binance (2), yahoo (7)" in capsys.readouterr().out
    assert main(["config", "init", "sub/new.toml"]) == 1
    assert "there is one already" in capsys.readouterr().err
    assert main(["config", "init", "sub/new.toml", "--force"]) == 0


@pytest.mark.capability("ING-04")
def test_sources_list_shows_keys_and_state(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["binance"]["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert rows["binance"]["key"] == "none needed"
    assert rows["yahoo"]["calendar"] == "XNYS"
    assert rows["binance"]["budget"] == "50% of 6000/min"
    free = {"binance", "binance_futures", "yahoo", "coinbase", "kraken"}
    assert {name for name, row in rows.items() if row["key"] == "none needed"} >= free
    needed = {name: row["key"] for name, row in rows.items() if row["key"].startswith("needed")}
    assert needed == {
        name: f"needed: env:{name.upper()}_API_KEY" for name in ("massive", "alpha_vantage", "fmp", "finage")
    }


def test_a_surprise_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.cli._run", lambda *_: 1 // 0)
    assert main(["status"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ZeroDivisionError: ")
    assert "Traceback" not in told
    assert main(["status", "--log-level", "debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
