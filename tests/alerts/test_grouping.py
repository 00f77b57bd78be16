"""What is pushed at once, together with what, how often; and anomalies as episodes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from pipelines.alerts.episodes import episodes
from pipelines.alerts.grouping import Route, Told, at_least, messages, notices
from pipelines.alerts.judge import Labels
from pipelines.alerts.outgoing import outgoing
from pipelines.alerts.silences import Silence, subjects_of
from pipelines.alerts.states import Alert
from pipelines.market import naive
from tests.alerts.conftest import NOON, minute


def alert(name="a", at=0.0, severity="critical", state="firing", until=None, **labels):
    where = {"source": "binance", "symbol": "BTCUSDT", "interval": "1m"} | labels
    started = minute(at)
    return Alert(
        id=name, rule="price", rule_version="1", fingerprint=name, labels=Labels(**where),
        state=state, severity=severity, value=6.0, threshold=5.0, started_at=started,
        seen_at=minute(until) if until else started, fired_at=started, resolved_at=minute(until) if until else None,
    )  # fmt: skip


class Desk:
    """Remembers what was told, as the outbox does."""

    def __init__(self, route=None, silences=()):
        self.told, self.route, self.silences = {}, route, silences

    def ask(self, alerts, at):
        found = notices(alerts, self.told, minute(at), self.route, self.silences)
        for notice in found:
            before = self.told.get(notice.group_key, Told(minute(-999)))
            self.told[notice.group_key] = Told(notice.at, {**before.states, **notice.states})
        return [(n.group_key, n.occasion, sorted(n.states), n.suppressed) for n in found]


@pytest.mark.capability("ALR-09")
def test_fires_within_five_minutes_are_one_message_and_the_next_tells_how_many_were_held():
    desk = Desk()
    fires = [alert("a", 0), alert("b", 1), alert("c", 4 + 59 / 60), alert("d", 5)]
    assert desk.ask(fires[:1], 0) == [("binance|critical", "news", ["a"], 0)]
    assert desk.ask(fires[:2], 1) == []
    assert desk.ask(fires[:3], 4 + 59 / 60) == []
    assert desk.ask(fires, 5) == [("binance|critical", "news", ["b", "c", "d"], 2)]


@pytest.mark.capability("ALR-09")
def test_what_was_held_is_told_when_the_cooldown_ends_even_if_it_is_over_by_then():
    desk = Desk()
    desk.ask([alert("a", 0)], 0)
    flapped = [alert("a", 0), alert("b", 1, state="resolved", until=2)]
    assert desk.ask(flapped, 4) == []
    assert desk.ask(flapped, 5.2) == [("binance|critical", "news", ["b"], 1)]
    assert desk.ask(flapped, 60) == []


@pytest.mark.capability("ALR-08")
def test_only_critical_and_high_are_pushed():
    grades = ("critical", "high", "medium", "info")
    found = Desk().ask([alert(grade, severity=grade) for grade in grades], 0)
    assert [row[0] for row in found] == ["binance|critical", "binance|high"]


def test_alerts_of_one_market_are_one_message_and_markets_speak_apart():
    many = [alert(f"s{n}", symbol=f"S{n}") for n in range(50)]
    found = Desk().ask([*many, alert("y", source="yahoo"), alert("p", source=None)], 0)
    assert [(key, len(ids)) for key, _, ids, _ in found] == [
        ("binance|critical", 50), ("cross|critical", 1), ("yahoo|critical", 1)
    ]  # fmt: skip


def test_the_end_of_a_told_alert_is_told_and_that_of_an_untold_one_is_not():
    desk = Desk()
    desk.ask([alert("a", 0)], 0)
    ended = alert("a", 0, state="resolved", until=7)
    assert desk.ask([ended], 7) == [("binance|critical", "news", ["a"], 0)]
    assert desk.ask([ended], 20) == []
    assert Desk().ask([ended], 7) == []


def test_a_runs_own_delay_does_not_lengthen_the_cooldown():
    desk = Desk()
    assert desk.ask([alert("a", 0)], 4.9 / 60)
    assert desk.ask([alert("a", 0), alert("b", 5)], 5 + 4.1 / 60)


def test_what_still_fires_is_repeated_after_four_hours_until_acknowledged():
    desk = Desk()
    desk.ask([alert("a")], 0)
    assert desk.ask([alert("a")], 239) == []
    assert desk.ask([alert("a")], 240) == [("binance|critical", "repeat", ["a"], 0)]
    assert desk.ask([replace(alert("a"), acked_at=minute(241))], 600) == []


def test_a_silence_holds_the_message_until_it_ends():
    silence = Silence("1", "pri*@btc*", "maintenance", "me", NOON, minute(60))
    desk = Desk(silences=[silence])
    assert desk.ask([alert("a")], 0) == []
    assert [row[2] for row in desk.ask([alert("a"), alert("e", symbol="ETHUSDT")], 1)] == [["e"]]
    assert desk.ask([alert("a")], 60) == [("binance|critical", "news", ["a"], 0)]


@pytest.mark.parametrize(
    ("match", "holds"),
    [("binance:*", True), ("binance-*~binance-*", True), ("binance:BTC*", False), ("yahoo:*", False)],
)
def test_a_silence_of_series_holds_for_a_pair_whose_legs_it_covers_both(match: str, holds: bool):
    silence = Silence("1", match, "maintenance", "me", NOON, minute(60))
    names = subjects_of("binance", None, "binance-BTCUSDT~binance-ETHUSDT")
    assert silence.covers("stretched", names) == holds


def test_nobody_acknowledging_escalates_once_to_the_second_channel():
    desk = Desk(Route(("slack",), escalate_after=timedelta(minutes=15), escalate_to=("email",)))
    desk.ask([alert("a")], 0)
    assert desk.ask([alert("a")], 14) == []
    assert desk.ask([alert("a")], 15) == [("escalation|binance|critical", "escalation", ["a"], 0)]
    assert desk.ask([alert("a")], 30) == []
    assert desk.ask([replace(alert("b", 20), acked_at=minute(21))], 60) == [
        ("binance|critical", "news", ["b"], 0)
    ]


def test_a_notice_becomes_one_row_a_channel_with_a_stable_id():
    notice = notices([alert("a")], {}, NOON)[0]
    rows = messages([notice], ["file", "slack", "email"])
    assert [row["channel"] for row in rows] == ["slack", "email"]
    assert [row["id"] for row in rows] == [row["id"] for row in messages([notice], ["slack", "email"])]
    assert len({row["id"] for row in rows}) == 2
    assert rows[0]["facts"]["alerts"][0]["symbol"] == "BTCUSDT"
    assert messages([replace(notice, channels=("email",))], ["slack"])[0]["channel"] == "email"


def test_each_channel_goes_by_its_own_route_and_is_told_apart():
    routes = {
        "slack": Route(),
        "desk": Route(severities=at_least("medium"), send_resolved=False,
                      escalate_after=timedelta(minutes=10), escalate_to=("boss",)),
    }  # fmt: skip
    told: dict = {}

    def ask(alerts, at):
        rows = outgoing(alerts, told, minute(at), routes)
        for row in rows:
            groups = told.setdefault(row["channel"], {})
            _, before = groups.get(row["group_key"], (None, {}))
            groups[row["group_key"]] = minute(at), before | row["facts"]["states"]
        return [(row["channel"], row["group_key"]) for row in rows]

    both = [alert("a"), alert("m", severity="medium")]
    assert ask(both, 0) == [
        ("slack", "binance|critical"), ("desk", "binance|critical"), ("desk", "binance|medium")
    ]  # fmt: skip
    assert ask(both, 10) == [("boss", "escalation|binance|critical"), ("boss", "escalation|binance|medium")]
    over = [replace(one, state="resolved", resolved_at=minute(11), seen_at=minute(11)) for one in both]
    assert ask(over, 11) == [("slack", "binance|critical")]
    assert ask(over, 30) == []


def test_two_rules_on_one_fact_speak_once_in_the_group_of_the_graver():
    seen = {"evidence": {"column": "volume_ratio"}}
    own = replace(alert("own", 2, severity="high"), rule="sol-volume", **seen)
    built_in = replace(alert("builtin", 2, severity="medium"), **seen)
    route = Route(severities=at_least("medium"))
    desk = Desk(route)
    assert desk.ask([own, built_in], 2) == [("binance|high", "news", ["builtin", "own"], 0)]
    (row,) = messages(notices([own, built_in], {}, minute(2), route), ["mail"])
    assert {one["id"]: one.get("same_as") for one in row["facts"]["alerts"]} == {
        "own": None,
        "builtin": "sol-volume",
    }
    over = replace(own, state="resolved", resolved_at=minute(9), seen_at=minute(9))
    assert desk.ask([over, built_in], 9) == [("binance|high", "news", ["own"], 0)]
    assert desk.ask([built_in], 20) == []  # told already, though its group has never spoken
    ended = replace(built_in, state="resolved", resolved_at=minute(30), seen_at=minute(30))
    assert desk.ask([ended], 30) == [("binance|medium", "news", ["builtin"], 0)]
    other_bar = [own, replace(built_in, fired_at=minute(3), started_at=minute(3))]
    assert [key for key, *_ in Desk(route).ask(other_bar, 3)] == ["binance|high", "binance|medium"]


def anomaly(at, kind="volume", severity="medium", ratio=4.0, symbol="BTCUSDT", interval="1m"):
    return {
        "id": f"{kind}{at}{interval}", "source": "binance", "symbol": symbol, "interval": interval,
        "ts": naive(minute(at)), "kind": kind, "value": 100.0 * ratio, "baseline": 100.0, "ratio": ratio,
        "zscore": None, "severity": severity,
        "reason": f"{ratio} times the usual",
    }  # fmt: skip


def test_anomalies_close_to_each_other_are_one_episode_shown_by_its_worst_bar():
    rows = [
        anomaly(0),
        anomaly(1, ratio=6.4),
        anomaly(2),
        anomaly(40),
        anomaly(1, kind="price_spike", severity="critical"),
    ]
    found = episodes(pl.DataFrame(rows, schema_overrides={"zscore": pl.Float64}), minute(41))
    assert found.select("kind", "severity", "bars", "ratio", "state").rows() == [
        ("price_spike", "critical", 1, 4.0, "over"),
        ("volume", "medium", 1, 4.0, "open"),
        ("volume", "medium", 3, 6.4, "over"),
    ]
    worst = found.row(2, named=True)
    assert (worst["since"], worst["last"], worst["worst_ts"]) == tuple(naive(minute(n)) for n in (0, 2, 1))


def test_an_episode_of_several_widths_ends_with_its_latest_bar_and_counts_those_it_names():
    rows = [
        anomaly(-30, interval="1h", ratio=9.0),
        *(anomaly(n, interval="15m") for n in (-15, 0, 15)),
        anomaly(29),
    ]
    found = episodes(pl.DataFrame(rows, schema_overrides={"zscore": pl.Float64}), minute(180)).row(
        0, named=True
    )
    assert (found["interval"], found["bars"], found["others"]) == ("1h", 1, ["1m", "15m"])
    assert (found["since"], found["last"], found["ends"]) == tuple(naive(minute(n)) for n in (-30, 29, 30))


def test_hourly_anomalies_in_a_row_are_one_episode():
    rows = [anomaly(0, interval="1h"), anomaly(60, interval="1h"), anomaly(120, interval="1h")]
    found = episodes(pl.DataFrame(rows, schema_overrides={"zscore": pl.Float64}), minute(180))
    assert found["bars"].to_list() == [3]
    assert episodes(pl.DataFrame(rows).clear(), minute(0)).is_empty()
