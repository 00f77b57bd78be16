"""The configuration: what a user may write, where each value comes from, and how mistakes are told."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.alerts.rules import rule_from
from pipelines.secrets import Secret, SecretError
from pipelines.settings import STARTED_IN, ConfigError, Settings, load, provenance
from pipelines.settings_places import dotenv, key_lines
from pipelines.settings_sections import Collector
from pipelines.settings_starter import STARTER
from pipelines.settings_values import duration, interval_name


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(home: Path, text: str, name: str = "tapewatch.toml") -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def complaints(home: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        load(environ=environ or {})
    return str(caught.value).split("\n")


@pytest.mark.capability("ING-08")
def test_without_a_file_the_defaults_run(home: Path) -> None:
    settings = load(environ={})
    binance, yahoo = settings.sources
    assert binance.symbols == ("BTCUSDT", "ETHUSDT")
    assert (binance.fallback, binance.stream, binance.calendar) == (("coinbase", "kraken"), True, "24/7")
    assert yahoo.symbols == ("AAPL", "MSFT", "GOOGL", "NVDA", "AMZN", "TSLA", "SPY")
    assert yahoo.calendar == "XNYS"
    assert settings.data_dir == home / "data"
    assert settings.windows.intervals == ("5m", "15m", "30m", "1h", "4h", "1d")
    assert (settings.baseline.sessions, settings.baseline.min_sessions) == (20, 5)
    assert (settings.retention.trades_days, settings.retention.bars_days) == (7, 365)
    assert settings.digest.every == timedelta(hours=1)


@pytest.mark.capability("ING-08")
def test_symbols_are_upper_cased_and_counted_once(home: Path) -> None:
    write(home, '[[source]]\nname = "Binance"\nsymbols = ["btcusdt", "BTCUSDT", "EthUsdt"]')
    assert load(environ={}).sources[0].symbols == ("BTCUSDT", "ETHUSDT")


def test_every_problem_is_told_at_once_with_its_line(home: Path) -> None:
    lines = complaints(
        home,
        'data_dirr = "x"\n\n[[source]]\nname = "binance"\nsymbol = ["BTCUSDT"]\n'
        '[[source]]\nname = "binanse"\nsymbols = ["A"]\n'
        '[windows]\nintervals = ["5m", "7m"]\n[baseline]\nsessions = "many"\n',
    )
    told = [line for line in lines if not line.startswith("    ")]
    assert told[0].startswith("tapewatch.toml:1: data_dirr: unknown key; allowed: data_dir, site_dir")
    assert told[0].endswith('did you mean "data_dir"?')
    assert lines[1] == '    data_dirr = "x"'
    assert told[1].startswith("tapewatch.toml:5: source.binance.symbol: unknown key")
    assert told[1].endswith('did you mean "symbols"?')
    assert told[2].startswith('tapewatch.toml:7: source.binanse.name: no adapter is called "binanse"')
    assert told[2].endswith('did you mean "binance"?')
    assert told[3].startswith('tapewatch.toml:10: windows.intervals: "7m" does not divide the day')
    assert told[4].startswith('tapewatch.toml:12: baseline.sessions: "many" is not possible here')
    assert len(told) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[baseline]\nsessions = 3.5", "tapewatch.toml:2: baseline.sessions: 3.5 is not possible here"),
        ("[baseline]\nsessions = true", "baseline.sessions: true is not possible here"),
        ("[baseline]\nsessions = 4\nmin_sessions = 9", "baseline.min_sessions: 9 is more than sessions = 4"),
        ("site_dir = 3", "tapewatch.toml:1: site_dir: 3 is not a text"),
        ("data_dir = ", "tapewatch.toml:1: not TOML: Invalid value"),
        ("[site]\nport = 99999", "allowed: a whole number from 1 to 65535"),
        ("[source]\nname = 'yahoo'", "tapewatch.toml:1: source: written as one table; allowed: [[source]]"),
        ("[[source]]\nsymbols = ['A']", "tapewatch.toml:1: source.[1].name: missing"),
        ("[[source]]\nname = 'yahoo'", "source.yahoo.symbols: no symbols"),
        (
            "[[source]]\nname='yahoo'\nsymbols=['A']\n[[source]]\nname='yahoo'\nsymbols=['B']",
            '"yahoo" stands there 2 times',
        ),
        (
            "[[source]]\nname='kraken'\nsymbols=['A']\nfallback=['kraken']",
            "kraken cannot stand in for itself",
        ),
        (
            "[[source]]\nname='massive'\nsymbols=['A']",
            'massive needs a key; write api_key = "env:MASSIVE_API_KEY"',
        ),
        (
            "[indicators]\nmacd = {fast = 30}",
            "tapewatch.toml:2: indicators.macd.fast: fast = 30 must be smaller",
        ),
        ("[indicators]\nrsi = {perod = 7}", 'did you mean "period"?'),
        ("[pairs]\nuniverse = [['A']]", "pairs.universe: ['A'] is not a pair"),
        ("[pairs]\nuniverse = 'same-sauce'", 'did you mean "same-source"?'),
        ("path = 'x'", "path: unknown key"),
        ("[[rule]]\nname='a'\nwhen='x > 1'\nseverity='hihg'", 'did you mean "high"?'),
        ("[[rule]]\nname='a'\nwhen='x > 1'\nexpires='soon'", '"soon" is not a moment'),
        (
            "[[channel]]\nname='mail'\nkind='email'\nhost='h'\nto='a@b.c'",
            'channel.mail.kind: a channel of kind "email" needs from',
        ),
        (
            "[[channel]]\nname='s'\nkind='slack'\nurl='https://hooks.slack.com/x'",
            "a slack address is a secret",
        ),
        ("[digest]\nchannels = ['pager']", 'no channel is called "pager"; there are file'),
        (
            "[[session]]\ncalendar='XNYS'\ndate='2026-11-27'",
            "session.[1].closed: write closed = true, or open and close",
        ),
    ],
)
def test_a_mistake_is_named_in_words(home: Path, text: str, words: str) -> None:
    assert words in "\n".join(complaints(home, text))


def test_a_file_that_was_asked_for_must_exist(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file; `tapewatch config init"):
        load(home / "absent.toml", {})


@pytest.mark.capability("OPS-03")
def test_environment_beats_dotenv_beats_file_beats_default(home: Path) -> None:
    write(home, 'data_dir = "from_file"\nsite_dir = "from_file"\nlog_level = "debug"\n')
    write(home, 'TAPEWATCH_DATA_DIR=from_dotenv\nexport TAPEWATCH_SITE_DIR="from_dotenv" # twice\n', ".env")
    settings = load(environ={"TAPEWATCH_DATA_DIR": "from_environment"})
    origins = {row.key: (row.value, row.origin) for row in provenance(settings)}
    assert origins["data_dir"] == (str(home / "from_environment"), "environment TAPEWATCH_DATA_DIR")
    assert origins["site_dir"] == (str(home / "from_dotenv"), ".env:2 TAPEWATCH_SITE_DIR")
    assert origins["log_level"] == ("debug", "tapewatch.toml:3")
    assert origins["site.port"] == ("8787", "default")
    assert origins["source.yahoo.calendar"] == ("XNYS", "default")


@pytest.mark.capability("OPS-03")
def test_the_environment_reaches_every_key(home: Path) -> None:
    settings = load(
        environ={
            "TAPEWATCH_SITE__PORT": "9000",
            "TAPEWATCH_WINDOWS__INTERVALS": "5m, 1h",
            "TAPEWATCH_INDICATORS__RSI__PERIOD": "7",
            "TAPEWATCH_INDICATORS__SMA": "[10, 30]",
            "TAPEWATCH_SOURCE__BINANCE__BASE_URL": "http://127.0.0.1:9999/",
            "TAPEWATCH_SOURCE__BINANCE__STREAM": "no",
            "TAPEWATCH_SOURCE__KRAKEN__SYMBOLS": "xbtusd",
            "TAPEWATCH_PORT": "tcp://10.0.0.1:80",
            "LOG_LEVEL": "WARNING",
        }
    )
    assert (settings.site.port, settings.windows.intervals) == (9000, ("5m", "1h"))
    assert (settings.indicators.rsi.period, settings.indicators.sma) == ((7,), (10, 30))
    binance, _, kraken = settings.sources
    assert (binance.base_url, binance.stream, binance.symbols) == (
        "http://127.0.0.1:9999",
        False,
        ("BTCUSDT", "ETHUSDT"),
    )
    assert (kraken.name, kraken.symbols) == ("kraken", ("XBTUSD",))
    assert settings.log_level == "warning"


def test_a_mistake_in_the_environment_names_the_variable(home: Path) -> None:
    lines = complaints(
        home, "", {"TAPEWATCH_SITE__PORT": "x", "TAPEWATCH_SITE__PROT": "1", "TAPEWATCH_DATADIR": "y"}
    )
    assert lines[0].startswith("environment TAPEWATCH_DATADIR: datadir: unknown key")
    assert lines[0].endswith('did you mean "data_dir"?')
    assert lines[1].startswith("environment TAPEWATCH_SITE__PROT: site.prot: unknown key")
    assert lines[2].startswith('environment TAPEWATCH_SITE__PORT: site.port: "x" is not possible here')


def test_what_else_is_wrong_with_a_table_does_not_wait_for_its_first_mistake(home: Path) -> None:
    write(home, '[[source]]\nname = "yahoo"\nsymbols = []\nhistory = "soon"\nfallback = ["yahoo"]\n')
    with pytest.raises(ConfigError) as error:
        load(environ={})
    assert [problem.key for problem in error.value.problems] == [
        "source.yahoo.history",
        "source.yahoo.symbols",
        "source.yahoo.fallback",
    ]


@pytest.mark.capability("RES-03")
def test_a_window_may_be_a_name_or_seconds_or_a_table(home: Path) -> None:
    write(home, '[windows]\nintervals = [300, "15 min", {name = "half hour", duration = 1800}, "60m"]')
    assert load(environ={}).windows.intervals == ("5m", "15m", "30m", "1h")
    widths = ", ".join(f'{{name = "{n}min", duration = {60 * n}}}' for n in (1, 5, 30))
    write(home, f"[windows]\nintervals = [{widths}]")
    assert load(environ={}).windows.intervals == ("1m", "5m", "30m")


def test_a_process_of_the_platform_reads_the_env_file_of_where_that_was_started(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, "HOOK=https://hooks.example/T0P\n", ".env")
    data = home / "data"
    data.mkdir()
    write(data, "[[channel]]\nname='ops'\nkind='slack'\nurl='env:HOOK'\n", "demo.toml")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = load(data / "demo.toml", {STARTED_IN: str(home)})
    assert settings.channels[0].url.reveal() == "https://hooks.example/T0P"
    write(data, "HOOK=https://hooks.example/own\n", ".env")
    nearer = load(data / "demo.toml", {STARTED_IN: str(home)})
    assert nearer.channels[0].url.reveal() == "https://hooks.example/own"


@pytest.mark.capability("OPS-10")
def test_a_secret_is_fetched_late_and_never_shown(home: Path) -> None:
    write(home, "HOOK=https://hooks.example/T0P\n", ".env")
    write(home, "s3cret\n", "key.txt")
    write(
        home,
        "[[channel]]\nname='ops'\nkind='slack'\nurl='env:HOOK'\n"
        "[[channel]]\nname='hook'\nkind='webhook'\nurl='http://127.0.0.1:1/x'\nsecret='file:key.txt'\n",
    )
    settings = load(environ={})
    ops, hook = settings.channels
    assert (ops.url.reveal(), hook.secret.reveal()) == ("https://hooks.example/T0P", "s3cret")
    shown = repr(settings) + str(provenance(settings))
    assert "T0P" not in shown
    assert "s3cret" not in shown
    assert "env:HOOK" in shown


def test_a_secret_in_plain_text_is_refused_and_not_repeated(home: Path) -> None:
    text = "\n".join(complaints(home, "[[channel]]\nname='t'\nkind='telegram'\nchat_id=5\ntoken='12:AAHq'"))
    assert "tapewatch.toml:5: channel.t.token: a secret does not belong in the configuration" in text
    assert "AAHq" not in text


def test_a_missing_secret_names_its_variable_when_it_is_needed(home: Path) -> None:
    with pytest.raises(SecretError, match="env:NOWHERE: NOWHERE is not set"):
        Secret("env:NOWHERE", {}).reveal()
    with pytest.raises(SecretError, match=r"absent\.txt"):
        Secret("file:absent.txt").reveal()


def test_relative_paths_belong_to_the_file_and_to_the_working_directory(home: Path) -> None:
    path = write(home, 'data_dir = "d"\n', "etc/mine.toml")
    settings = load(path, {"TAPEWATCH_SITE_DIR": "s"})
    assert (settings.data_dir, settings.site_dir) == (home / "etc" / "d", home / "s")
    assert load(environ={"TAPEWATCH_CONFIG": str(path)}).data_dir == home / "etc" / "d"


def test_a_full_file_is_read_with_its_types(home: Path) -> None:
    write(
        home,
        """
[warehouse]
catalog = "env:CATALOG"
storage = "s3://lake/tapewatch"
[[source]]
name = "yahoo"
symbols = ["AAPL", "BTC-USD"]
calendars = {"BTC-USD" = "24/7"}
[pairs]
universe = [["binance:btcusdt", "binance:ETHUSDT"], "AAPL~MSFT"]
refit = "1h"
[[rule]]
name = "spread"
when = "abs(zscore) > 2"
on = "binance:*"
interval = "5m"
for = "3 bars"
clear = "abs(zscore) < 1"
severity = "HIGH"
expires = 2027-01-01T00:00:00Z
[[channel]]
name = "mail"
kind = "email"
host = "smtp.example"
from = "tape@example"
to = ["a@example", "b@example"]
password = "env:PASSWORD"
[[session]]
calendar = "XNYS"
date = 2027-01-09
closed = true
""",
    )
    settings = load(environ={"CATALOG": "postgres:dbname=lake"})
    assert settings.warehouse.catalog.reveal() == "postgres:dbname=lake"
    yahoo = settings.source("yahoo")
    assert (yahoo.calendar_of("btc-usd"), yahoo.calendar_of("AAPL")) == ("24/7", "XNYS")
    assert settings.pairs.universe == (("binance:BTCUSDT", "binance:ETHUSDT"), ("AAPL", "MSFT"))
    (rule,) = settings.rules
    assert (rule.on, rule.interval, rule.for_, rule.severity) == (("binance:*",), ("5m",), 3, "high")
    assert rule_from(rule.table()).clear == "abs(zscore) < 1"
    assert rule.expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert settings.channels[0].from_ == "tape@example"
    assert settings.sessions[0].date == date(2027, 1, 9)
    assert {row.key: row.origin for row in provenance(settings)}["pairs.refit"] == "tapewatch.toml:11"


def test_inline_tables_and_long_lists_keep_their_line(home: Path) -> None:
    write(home, "[indicators]\nsma = [\n  20,\n  50, # x = 1\n]\nrsi = {period = 7}\n[site]\nport = 1234\n")
    origins = {row.key: row.origin for row in provenance(load(environ={}))}
    assert origins["indicators.sma"] == "tapewatch.toml:2"
    assert origins["indicators.rsi.period"] == "tapewatch.toml:6"
    assert origins["indicators.rsi.oversold"] == "default"
    assert origins["site.port"] == "tapewatch.toml:8"


def test_key_lines_see_through_quotes_and_brackets() -> None:
    text = '[[a]]\nx = "]"\ny = """\nz = 1\n"""\n[a.b]\n"q r" = {k = [1,\n2]}\nm = 1\n[[a]]\nx = 2\n'
    assert list(key_lines(text)) == [
        (("a", 0), 1), (("a", 0, "x"), 2), (("a", 0, "y"), 3), (("a", 0, "b"), 6), (("a", 0, "b", "q r"), 7),
        (("a", 0, "b", "m"), 9), (("a", 1), 10), (("a", 1, "x"), 11),
    ]  # fmt: skip


def test_dotenv_reads_quotes_comments_and_export() -> None:
    text = "# no\nA=1 # one\nexport B='x # y'\nC=\"z\"  # z\nnonsense\nD="
    assert dotenv(text) == {"A": ("1", 2), "B": ("x # y", 3), "C": ("z", 4), "D": ("", 6)}


@given(st.integers(1, 10**7))
def test_an_interval_name_says_its_length(seconds: int) -> None:
    assert duration(interval_name(seconds)) == timedelta(seconds=seconds)


def test_settings_cost_the_minute_no_heavy_import() -> None:
    heavy = "{'polars', 'duckdb', 'prefect', 'pydantic', 'pandas'} & set(sys.modules)"
    code = f"import sys, pipelines.settings; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_ROOT)
    assert done.stdout.strip() == "set()"


def test_settings_survive_a_pickle_without_the_environment(home: Path) -> None:
    write(home, "TOKEN_OF_MINE=abc\n", ".env")
    settings = load(environ={})
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings


_ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.capability("ING-18")
def test_how_frames_are_batched_can_be_set(home: Path) -> None:
    write(home, '[collector]\nlinger_ms = 5\nbatch_kb = 16\nqueue_mb = 8\ncodec = "none"\n')
    assert load(environ={}).collector == Collector(5.0, 16, 8, "none")


def test_the_starter_file_shows_the_true_defaults(home: Path) -> None:
    write(home, STARTER)
    defaults = _defaults(home)
    assert replace(load(environ={}), path=None) == defaults
    lines = [re.sub(r"^# (?=[\w\[]+.*[=\]])", "", line) for line in STARTER.splitlines()]
    text = "\n".join(line for line in lines if '"..."' not in line and "env:..." not in line)
    text = re.sub(r"(?m)^(Tapewatch|The env|Environment|Secrets).*$", "", text)
    for example in ("catalog =", "storage =", "api_url =", "calendars ="):
        text = re.sub(rf"(?m)^{example}.*$", "", text)
    write(home, text)
    everything = load(environ={})
    assert (everything.pairs, everything.retention, everything.indicators) == (
        defaults.pairs,
        defaults.retention,
        defaults.indicators,
    )
    assert everything.sources == defaults.sources
    assert (everything.rules[0].for_, everything.channels[0].kind, everything.sessions[0].closed) == (
        2,
        "slack",
        True,
    )


def _defaults(home: Path) -> Settings:
    (home / "tapewatch.toml").rename(home / "aside.toml")
    try:
        return load(environ={})
    finally:
        (home / "aside.toml").rename(home / "tapewatch.toml")
