"""A command's answer for eyes and for programs, and times as people type them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flows.cli.call import Call
from flows.cli.tables import show
from flows.times import moment
from warehouse.errors import UsageError

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
ROWS = [
    {
        "symbol": "BTCUSDT",
        "ts": datetime(2024, 3, 1, 12),
        "close": 0.1234567,
        "z": float("nan"),
        "extra": None,
    }
]


def test_eyes_get_the_chosen_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(Call(), ROWS, ("ts", "symbol", "close", "z"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ts", "symbol", "close", "z"]
    assert lines[1].split() == ["2024-03-01", "12:00:00", "BTCUSDT", "0.123457"]


def test_programs_get_every_key_and_null_for_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    show(Call(json=True), ROWS, ("ts",))
    assert json.loads(capsys.readouterr().out) == [
        {"symbol": "BTCUSDT", "ts": "2024-03-01T12:00:00Z", "close": 0.1234567, "z": None, "extra": None}
    ]


def test_markup_in_a_name_stays_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    show(Call(), [{"name": "[red]x[/red]"}], ("name",))
    assert "[red]x[/red]" in capsys.readouterr().out


def test_nothing_is_said_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(Call(), [], ("name",))
    assert capsys.readouterr().out == "nothing to show\n"


@pytest.mark.parametrize(
    "text",
    ["2024-03-01T12:00", "2024-03-01T12:00Z", "2024-03-01 13:00+01:00", "1709294400", "1709294400000", "now"],
)
def test_a_moment_in_many_spellings(text: str) -> None:
    assert moment(text, "--at", NOON.astimezone(timezone(timedelta(hours=2)))) == NOON


def test_a_duration_is_a_time_ago() -> None:
    assert moment("7d", "--start", NOON) == NOON - timedelta(days=7)


def test_a_wrong_time_names_its_option() -> None:
    with pytest.raises(UsageError, match="--start: 'yesterday' is not a time; write 2024-03-01"):
        moment("yesterday", "--start")
