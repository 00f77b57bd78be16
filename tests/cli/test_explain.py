"""`tapewatch explain`: every kind of anomaly recomputed from what is stored, and alerts from their evidence."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli.call import Call
from flows.cli.explain_anomaly import explain_anomaly
from flows.cli.lake import context_of, rows
from flows.context import reading, writing
from pipelines.alerts.history import write_events
from pipelines.alerts.preview import preview
from pipelines.alerts.rules import Rule
from tests.cli.conftest import START, Said, write_bars
from warehouse.connect import transaction
from warehouse.stage import frame

Command = Callable[..., Said]
Ask = Callable[[str], list[dict[str, Any]]]


@pytest.mark.capability("ANO-01")
@pytest.mark.parametrize("kind", ["price_spike", "volume", "rsi_extreme", "volatility"])
def test_every_stored_anomaly_is_recomputed_to_the_same_numbers(lake: Path, kind: str) -> None:
    context = context_of(Call())
    with reading(context) as con:
        found = {
            row["interval"]: row
            for row in rows(con, f"SELECT * FROM anomalies WHERE kind = '{kind}' ORDER BY ts")
        }
        assert found
        for interval, row in found.items():
            told = explain_anomaly(con, context, row)
            assert told.as_json()["equal"], (interval, told.checks, told.notes)
            assert told.formulas


def test_the_sample_is_what_the_sql_gives(lake: Path, tapewatch: Command, ask: Ask) -> None:
    row = ask("SELECT * FROM anomalies WHERE kind = 'volume' AND interval = '1m'")[0]
    answer = tapewatch("explain", row["id"], "--json").json()
    told = answer["explanation"]
    assert (answer["kind"], told["equal"]) == ("volume", True)
    sampled = ask(told["sql"])
    assert [one["volume"] for one in sampled] == [one["volume"] for one in told["sample"]]
    assert statistics.median(one["volume"] for one in sampled) == pytest.approx(row["baseline"], rel=1e-12)
    assert all(one["session"] < row["ts"].date() for one in sampled)


def test_the_beginning_of_an_id_is_enough_and_eyes_get_the_formula(
    lake: Path, tapewatch: Command, ask: Ask
) -> None:
    identity = ask("SELECT id FROM anomalies WHERE kind = 'price_spike' AND interval = '1m' LIMIT 1")[0]["id"]
    said = tapewatch("explain", identity[:12])
    assert said.code == 0
    assert "100 x (close - mean) / mean = 100 x (" in said.out
    assert "equal" in said.out
    assert "differs" not in said.out
    assert "run_id" in said.out


def test_an_unknown_id_says_how_to_list_them(lake: Path, tapewatch: Command) -> None:
    said = tapewatch("explain", "nonsense")
    assert said.code == 1
    assert "`tapewatch alerts list`" in said.err
    assert "FROM anomalies" in said.err


@pytest.mark.capability("ALR-05")
def test_an_alert_is_explained_by_its_evidence_and_listed_and_acknowledged(
    lake: Path, tapewatch: Command
) -> None:
    context = context_of(Call())
    rule = Rule("jump", "dev_20_pct > 7", on=("mine:SPIKE",), intervals=("1m",), severity="high")
    with reading(context) as con:
        bars = frame(
            con,
            "SELECT * FROM ohlcv JOIN indicators USING (source, symbol, interval, ts) WHERE interval = '1m'",
        )
    events = preview(rule, datetime.now(UTC), series=bars)
    with writing(context) as con, transaction(con, context.location):
        write_events(con, events[:1], datetime.now(UTC).replace(tzinfo=None), "test")
    identity = events[0].id
    told = tapewatch("explain", identity, "--json").json()["explanation"]
    assert told["equal"]
    assert told["facts"]["expression"] == "dev_20_pct > 7"
    assert "dev_20_pct > 7: true on these columns" in told["formulas"]
    listed = tapewatch("alerts", "list", "--state", "firing", "--json").json()
    assert [(row["id"], row["subject"]) for row in listed] == [(identity, "mine:SPIKE")]
    assert "acknowledged" in tapewatch("alerts", "ack", identity[:8], "--note", "seen").out
    assert "acknowledged already" in tapewatch("alerts", "ack", identity).out
    assert tapewatch("alerts", "ack", "nonsense").code == 1
    with writing(context) as con, transaction(con, context.location):
        write_events(con, events[1:], datetime.now(UTC).replace(tzinfo=None), "test")
    (over,) = tapewatch("alerts", "list", "--json").json()
    assert (over["state"], over["value"], over["threshold"]) == ("resolved", events[0].value, 7)
    told = tapewatch("explain", identity, "--json").json()
    assert (told["value"], told["explanation"]["equal"]) == (events[0].value, True)
    assert told["explanation"]["facts"]["ended with"] != told["explanation"]["facts"]["fired with"]


@pytest.mark.capability("ANO-01")
def test_an_anomaly_that_a_correction_takes_back_says_so_and_the_others_keep_their_moment(
    bare: Path, tapewatch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPEWATCH_WINDOWS__INTERVALS", '["5m"]')

    def load(name: str, spikes: dict[int, float], minutes: range) -> None:
        flat = [(START + timedelta(minutes=n), 100 * spikes.get(n, 1) + 0.01 * (n % 3), 5.0) for n in minutes]
        assert tapewatch("import", str(write_bars(bare / name, {"X": flat})), "--source", "lab").code == 0

    def known() -> dict[datetime, tuple[str, str]]:
        told = tapewatch(
            "sql", "SELECT ts, id, known_at FROM anomalies WHERE interval = '1m'", "--format", "json"
        )
        return {datetime.fromisoformat(row["ts"]): (row["id"], row["known_at"]) for row in told.json()}

    load("first.csv", {30: 1.08, 50: 1.09}, range(60))
    before = known()
    gone, stays = sorted(before)
    load("corrected.csv", {}, range(30, 31))
    assert known() == {stays: before[stays]}
    told = tapewatch("explain", before[gone][0])
    assert (told.code, "withdrawn at" in told.out) == (0, True)
    assert (
        "Withdrawn because the bar was judged again and value and ratio and zscore came out otherwise"
        in told.out
    )
    assert "withdrawn" not in tapewatch("explain", before[stays][0]).out
    load("again.csv", {30: 1.08}, range(30, 31))
    assert set(known()) == {gone, stays}
    assert "withdrawn" not in tapewatch("explain", before[gone][0]).out
