"""The life of an alert: when it begins, holds, fires and ends, and what silences it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.alerts.judge import Labels, fingerprint, judge
from pipelines.alerts.preview import episodes_of, preview
from pipelines.alerts.rules import BUILT_IN, Rule, RuleError, built_in, rule_from, table_of, user_rule
from pipelines.alerts.states import open_labels, step
from pipelines.market import naive
from tests.alerts.conftest import NOON, bars, minute


def played(rule, frame, now=None, previous=()):
    now = now or minute(600)
    return step(previous, judge([rule], now, series=frame, open_alerts=open_labels(previous)), [rule], now)


@pytest.mark.capability("OPS-07", "ALR-02", "ANO-07")
def test_it_fires_once_and_resolves_below_the_lower_threshold(live):
    rule = Rule("z", "abs(zscore_20) > 2")
    assert live(rule, 1, 2.0, 2.01, 1.9, 2.1, 1.81, 1.79, 2.2, column="zscore_20") == [
        ("firing", 2), ("resolved", 6), ("firing", 7)
    ]  # fmt: skip


def test_an_own_clear_condition_replaces_the_hysteresis(live):
    rule = Rule("rsi", "rsi_14 > 70", clear="rsi_14 < 50")
    assert live(rule, 71, 69, 51, 49.9, column="rsi_14") == [("firing", 0), ("resolved", 3)]


def test_a_null_changes_nothing(live):
    assert live(Rule("p", "close > 5"), 6, None, None, 1) == [("firing", 0), ("resolved", 3)]
    assert live(Rule("p", "close > 5"), None, None) == []


def test_it_fires_only_after_so_many_bars_in_a_row(live):
    rule = Rule("p", "close > 5", for_=3)
    assert live(rule, 6, 6, 1, 6, 6, 6, 6, 1) == [
        ("pending", 0), ("pending", 1), ("resolved", 2),
        ("pending", 3), ("pending", 4), ("firing", 5), ("resolved", 7),
    ]  # fmt: skip


def test_the_episode_keeps_its_id_and_the_next_one_gets_another(live):
    events = preview(Rule("p", "close > 5", for_=2), minute(600), bars(6, 6, 1, 6, 6))
    assert [event.state for event in events] == ["pending", "firing", "resolved", "pending", "firing"]
    first, second = {e.id for e in events[:3]}, {e.id for e in events[3:]}
    assert len(first) == len(second) == 1
    assert first != second
    assert len({event.fingerprint for event in events}) == 1


def test_the_fingerprint_comes_from_labels_and_never_from_values():
    low, high = (played(Rule("p", "close > 5"), bars(value))[0] for value in (6.0, 99.0))
    assert low.fingerprint == high.fingerprint == fingerprint("p", Labels("binance", "BTCUSDT", None, "1m"))
    assert fingerprint("p", Labels("binance", "BTCUSDT", None, "5m")) != low.fingerprint
    assert fingerprint("q", Labels("binance", "BTCUSDT", None, "1m")) != low.fingerprint


def test_judging_a_bar_twice_or_an_older_one_later_changes_nothing():
    rule = Rule("p", "close > 5", for_=2)
    pending = played(rule, bars(6))
    assert played(rule, bars(6), previous=pending) == []
    over = played(rule, bars(6, 6, 1))[-1:]
    assert over[0].state == "resolved"
    assert played(rule, bars(6, 6, 1), previous=over) == []


@pytest.mark.capability("ALR-05")
def test_the_event_holds_value_threshold_version_and_evidence():
    frame = bars(6.4, column="volume_ratio").with_columns(volume=pl.lit(412.0), volume_robust_z=None)
    rule = BUILT_IN[1]
    event = played(rule, frame)[0]
    assert (event.rule, event.value, event.threshold, event.severity) == ("volume", 6.4, 3.0, "medium")
    assert event.started_at == event.fired_at == minute(1)
    assert event.rule_version == rule.version
    assert event.evidence["baseline"]["value"] == pytest.approx(412 / 6.4)
    assert event.evidence["expression"] == rule.when
    assert event.evidence["ts"] == NOON.isoformat()
    assert event.evidence["columns"] == {"volume_ratio": 6.4, "volume_robust_z": None, "volume": 412.0}


@pytest.mark.capability("ALR-05")
def test_a_resolved_alert_keeps_what_it_fired_with_and_knows_the_worst():
    events = preview(Rule("p", "close > 5"), minute(600), bars(6, 6.2, 9, 9.5, 8, 1))
    assert [(event.state, event.value, event.worst) for event in events] == [
        ("firing", 6, 6), ("firing", 6, 9), ("resolved", 6, 9)
    ]  # fmt: skip
    fired, over = events[0].evidence, events[-1].evidence
    assert (over["columns"], over["ts"], over["value"]) == (fired["columns"], fired["ts"], 6)
    assert (over["end"]["value"], over["worst"]["ts"]) == (1, minute(2).isoformat())


def test_the_worst_of_a_falling_value_is_the_lowest():
    events = preview(Rule("p", "abs(zscore_20) > 2"), minute(9), bars(-2.1, 2.2, -4, 0, column="zscore_20"))
    assert [(event.state, event.value, event.worst) for event in events][-1] == ("resolved", -2.1, -4)
    events = preview(Rule("p", "close < 5"), minute(9), bars(4, 1, 6))
    assert events[-1].worst == 1


def test_partial_windows_are_never_judged():
    assert played(Rule("p", "close > 5"), bars(6).with_columns(is_complete=False)) == []


def test_globs_and_intervals_choose_what_is_judged():
    frame = pl.concat([bars(6), bars(6, symbol="ETHUSDT"), bars(6, symbol="BTCEUR")])

    def symbols(**parts):
        return sorted(event.labels.symbol for event in played(Rule("p", "close > 5", **parts), frame))

    assert symbols() == ["BTCEUR", "BTCUSDT", "ETHUSDT"]
    assert symbols(on=("btc*",)) == ["BTCEUR", "BTCUSDT"]
    assert symbols(on=("binance:ETH*", "BTCEUR")) == ["BTCEUR", "ETHUSDT"]
    assert symbols(on=("yahoo:*",)) == []
    assert symbols(intervals=("5m",)) == []


PAIR = {
    "pair": "binance-ETHUSDT~binance-BTCUSDT", "interval": "1m", "fitted_at": naive(NOON),
    "source_y": "binance", "symbol_y": "ETHUSDT",
    "source_x": "binance", "symbol_x": "BTCUSDT", "zscore": -2.6, "is_cointegrated": True,
}  # fmt: skip


@pytest.mark.capability("ALR-02", "ANO-07")
def test_a_stretched_pair_fires_only_if_it_is_cointegrated():
    for row, events in ((PAIR, 1), (PAIR | {"is_cointegrated": False}, 0), (PAIR | {"zscore": 2.0}, 0)):
        found = step([], judge(BUILT_IN, NOON, pairs=pl.DataFrame([row])), BUILT_IN, NOON)
        assert len(found) == events
    event = step([], judge(BUILT_IN, NOON, pairs=pl.DataFrame([PAIR])), BUILT_IN, NOON)[0]
    assert (event.rule, event.severity, event.value, event.threshold) == ("spread", "high", -2.6, 2.0)
    assert event.labels == Labels("binance", None, PAIR["pair"], "1m")


FEED = {
    "source": "binance",
    "symbol": None,
    "ts": naive(minute(1)),
    "stale_s": 400.0,
    "latency_p99_ms": 101.0,
}


def feed(**parts):
    return pl.DataFrame([FEED | parts], schema_overrides={"symbol": pl.String, "stale_s": pl.Float64})


@pytest.mark.capability("ANO-04")
def test_feed_rules_fire_on_latency_silence_and_gaps():
    rows = feed(gap_minutes=3)
    events = step([], judge(BUILT_IN, minute(1), feeds=rows), BUILT_IN, minute(1))
    assert {(e.rule, e.severity) for e in events} == {
        ("latency", "medium"),
        ("stale", "critical"),
        ("gap", "high"),
    }
    assert (
        step(
            [],
            judge(BUILT_IN, minute(1), feeds=feed(stale_s=None, latency_p99_ms=100.0)),
            BUILT_IN,
            minute(1),
        )
        == []
    )


def test_a_stale_feed_silences_the_market_alerts_of_its_source_until_it_speaks():
    rules = [*BUILT_IN, Rule("p", "close > 5")]

    def states(feeds, previous=()):
        judged = judge(rules, minute(1), series=bars(6), feeds=feeds, open_alerts=open_labels(previous))
        return step(previous, judged, rules, minute(1))

    assert {event.rule for event in states(feed())} == {"stale", "latency"}
    assert "p" in {event.rule for event in states(feed(source="yahoo"))}
    assert "p" not in {event.rule for event in states(feed(symbol="BTCUSDT"))}
    assert "p" in {event.rule for event in states(feed(symbol="ETHUSDT"))}
    stale = [event for event in states(feed()) if event.rule == "stale"]
    healed = states(feed(stale_s=30.0, ts=naive(minute(2))), stale)
    assert ("stale", "resolved") in {(event.rule, event.state) for event in healed}


@pytest.mark.capability("ALR-03")
def test_a_users_rule_ends_after_seven_days():
    rule = user_rule("p", "close > 5", NOON)
    last, after = NOON + timedelta(days=7) - timedelta(seconds=1), NOON + timedelta(days=7, seconds=1)
    firing = played(rule, bars(6), last)
    assert [event.state for event in firing] == ["firing"]
    ended = played(rule, bars(6, start=10), after, previous=firing)
    assert [(e.state, e.resolved_at, e.evidence["reason"]) for e in ended] == [
        ("resolved", after, "the rule has expired or was removed")
    ]
    assert user_rule("p", "close > 5", NOON, lifetime=None).is_active(NOON + timedelta(days=4000))


@pytest.mark.capability("ALR-01")
def test_a_rule_goes_through_its_table_unchanged():
    rule = user_rule(
        "p", "close > 5", NOON, on=("btc*",), intervals=("5m",), severity="high", for_=3, clear="close < 4"
    )
    assert rule_from(table_of(rule), origin="user") == rule
    assert (
        rule_from({"name": "x", "when": "zscore > 2", "on": "A~B", "interval": "1m", "for": "2 bars"}).for_
        == 2
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"name": "x"}, "when must be given"),
        ({"name": "x", "when": "close > 1", "wen": 1}, "unknown key wen; allowed: clear, expires"),
        ({"name": "x", "when": "close > 1 and corr > 1"}, "not columns of one kind of row"),
        ({"name": "x", "when": "volume_ration > 1"}, "did you mean volume_ratio"),
        ({"name": "x", "when": "close > 1", "clear": "zscore < 1"}, "clear: unknown column"),
        ({"name": "x", "when": "close > 1", "severity": "bad"}, "not one of critical, high, medium, info"),
        ({"name": "x", "when": "close > 1", "for": "soon"}, "counts closed bars"),
        ({"name": "x", "when": "close > 1", "interval": "5x"}, "not an interval"),
    ],
)
def test_a_bad_rule_is_refused_by_name_and_key(table, says):
    with pytest.raises(RuleError, match="rule x:") as error:
        rule_from(table)
    assert says in str(error.value)


def test_the_price_rule_judges_every_window_from_a_minute_to_an_hour():
    price = built_in(["10m", "1h", "4h", "1d"])[0]
    assert price.intervals == ("1m", "10m", "1h")
    assert (price.severity, price.when) == ("critical", "abs(dev_20_pct) > 5")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.integers(0, 8), min_size=1, max_size=25),
    st.integers(1, 3),
    st.sampled_from([None, "close < 3"]),
)
def test_a_preview_over_history_equals_stepping_bar_by_bar(values, for_, clear):
    rule = Rule("p", "close > 5", for_=for_, clear=clear)
    frame, newest, live = bars(*values), {}, []
    for n in range(len(values)):
        events = played(rule, frame[n : n + 1], minute(n + 1), list(newest.values()))
        newest |= {event.fingerprint: event for event in events}
        live += events
    at_once = preview(rule, minute(600), frame)
    assert at_once == live
    assert len(episodes_of(at_once)) == len({event.id for event in live if event.state == "firing"})
