"""`tapewatch alerts`: rules come and go, and are tried on what is stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli.call import Call
from flows.cli.lake import context_of
from flows.context import writing
from tests.cli.conftest import Said
from warehouse import outbox
from warehouse.connect import transaction

Command = Callable[..., Said]


def origins(said: Said) -> dict[str, str]:
    return {row["name"]: row["origin"] for row in said.json()}


@pytest.mark.capability("ALR-01")
@pytest.mark.capability("ALR-03")
def test_add_list_remove_list(lake: Path, tapewatch: Command) -> None:
    added = tapewatch(
        "alerts", "add", "calm", "rsi_14 < 40", "--on", "mine:*", "--for", "3", "--severity", "high", "--json"
    )
    assert added.code == 0
    ends = datetime.fromisoformat(added.json()["expires"])
    assert timedelta(days=6, hours=23) < ends - datetime.now(UTC) <= timedelta(days=7)
    rules = {row["name"]: row for row in tapewatch("alerts", "rules", "--json").json()}
    assert rules["price"]["origin"] == "built-in"
    assert (rules["calm"]["origin"], rules["calm"]["for"], rules["calm"]["on"]) == ("user", 3, ["mine:*"])
    assert rules["calm"]["interval"] == ["1m"]
    assert tapewatch("alerts", "rm", "calm").code == 0
    assert "calm" not in origins(tapewatch("alerts", "rules", "--json"))
    gone = tapewatch("alerts", "rm", "calm")
    assert gone.code == 1
    assert "no such rule" in gone.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["x", "volum_ratio > 3"], "did you mean volume_ratio?"),
        (["x", "close > "], "rule x: when:"),
        (["x", "close > 1", "--interval", "fast"], "not an interval"),
        (["x", "close > 1", "--expires", "2020-01-01"], "--expires: 2020-01-01 is over already"),
    ],
)
def test_a_rule_that_cannot_stand_is_wrong_usage(
    lake: Path, tapewatch: Command, argv: list[str], words: str
) -> None:
    said = tapewatch("alerts", "add", *argv)
    assert said.code == 2
    assert words in said.err


def test_rules_of_feeds_and_pairs_have_no_interval_of_bars(lake: Path, tapewatch: Command) -> None:
    for when in ("latency_p99_ms > 50", "abs(zscore) > 3"):
        assert (
            tapewatch("alerts", "add", "one", when, "--expires", "never", "--json").json()["interval"] == []
        )
    assert tapewatch("alerts", "rm", "one").code == 0


def test_a_built_in_rule_cannot_be_removed(lake: Path, tapewatch: Command) -> None:
    assert "price is built in" in tapewatch("alerts", "rm", "price").err


def test_preview_says_when_a_rule_would_have_fired(lake: Path, tapewatch: Command) -> None:
    fired = tapewatch("alerts", "preview", "try", "--when", "dev_20_pct > 7", "--days", "30", "--json").json()
    mine = [row for row in fired if row["symbol"] == "SPIKE"]
    assert [row["fired_at"] for row in mine] == ["2024-03-10T00:31:00Z"]
    assert mine[0]["value"] == pytest.approx(8, abs=0.2)
    assert "would have fired" in tapewatch("alerts", "preview", "price", "--days", "30").out
    assert "its past is not stored" in tapewatch("alerts", "preview", "latency").err
    assert "did you mean price?" in tapewatch("alerts", "preview", "prise").err


def test_a_dead_message_is_queued_again(lake: Path, tapewatch: Command) -> None:
    context, now = context_of(Call()), datetime.now(UTC)
    message = {"id": "dead01", "channel": "hook", "group_key": "g", "facts": {"kind": "test"}}
    with writing(context) as con, transaction(con, context.location):
        outbox.enqueue(con, [message], now)
        entry = outbox.claim(con, now)[0]
        outbox.record(con, [outbox.Change(entry, "dead", "410 Gone")], now)
    doctor = {row["detail"] for row in tapewatch("doctor", "--json").json() if row["check"] == "messages"}
    assert "dead01 to hook is dead: 410 Gone" in doctor
    assert tapewatch("alerts", "resend", "dead", "--json").json()["state"] == "queued"
    assert tapewatch("alerts", "resend", "nothing").code == 1


def test_a_silence_is_set_listed_and_taken_back(lake: Path, tapewatch: Command) -> None:
    set_ = tapewatch("alerts", "silence", "mine:*", "--for", "2h", "--reason", "maintenance", "--json")
    assert set_.code == 0
    made = set_.json()
    assert (
        timedelta(minutes=119)
        < datetime.fromisoformat(made["until"]) - datetime.now(UTC)
        <= timedelta(hours=2)
    )
    (listed,) = tapewatch("alerts", "silences", "--json").json()
    assert (listed["match"], listed["state"], listed["reason"]) == ("mine:*", "in force", "maintenance")
    assert "speaks again" in tapewatch("alerts", "unsilence", made["id"][:4]).out
    assert tapewatch("alerts", "silences", "--json").json() == []
    assert "no such silence" in tapewatch("alerts", "unsilence", made["id"]).err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["mine:*", "--reason", " "], "--reason: say why"),
        (["mine:*", "--reason", "x", "--for", "never"], "a silence has an end"),
        (["mine:*", "--reason", "x", "--until", "2020-01-01"], "is over already"),
    ],
)
def test_a_silence_without_reason_or_end_is_wrong_usage(
    lake: Path, tapewatch: Command, argv: list[str], words: str
) -> None:
    said = tapewatch("alerts", "silence", *argv)
    assert said.code == 2
    assert words in said.err
