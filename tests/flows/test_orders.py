"""What people ask of the alerts is obeyed by the next minute: silences and acknowledgements."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows import alerting, alerts_admin, orders
from pipelines.alerts.history import read_orders
from pipelines.alerts.silences import Silence, silence_of
from pipelines.market import naive
from pipelines.settings_alerts import Channel
from tests.warehouse.conftest import Lake
from warehouse.connect import transaction
from warehouse.errors import TapewatchError

MINUTE = timedelta(minutes=1)


def wall() -> datetime:
    return datetime.now(UTC)


def minute(lake: Lake, at: datetime, stale_s: float = 600.0) -> list[str]:
    """One minute in which binance is stale; gives the occasions of the messages it made."""
    settings = replace(lake.context.settings, channels=(Channel("ops", "slack"),))
    context = replace(lake.context, settings=settings)
    feed = pl.DataFrame(
        [{"source": "binance", "symbol": None, "ts": naive(at), "stale_s": stale_s, "latency_p99_ms": None, "gap_minutes": None}],
        schema_overrides=dict.fromkeys(("stale_s", "latency_p99_ms", "gap_minutes"), pl.Float64) | {"symbol": pl.String},
    )  # fmt: skip
    spoken = alerting.judge(lake.con, context, None, feed, at, at, "run-1")
    with transaction(lake.con, lake.location):
        alerting.write(lake.con, spoken, at, "run-1")
    return [message["facts"]["occasion"] for message in spoken.messages]


@pytest.mark.capability("ALR-09")
def test_a_silence_keeps_the_alert_and_holds_its_message_until_it_ends(lake: Lake):
    start = wall()
    made = orders.silence(
        lake.con, lake.context, "stale@binance", "exchange maintenance", start + 10 * MINUTE, "me"
    )
    assert minute(lake, start + MINUTE) == []
    assert lake.rows("SELECT rule, state FROM alerts") == [("stale", "firing")]
    assert minute(lake, start + 9 * MINUTE) == []
    assert minute(lake, start + 11 * MINUTE) == ["news"]
    assert read_orders(lake.con).silences == (made,)


def test_a_silence_taken_back_speaks_at_once(lake: Lake):
    made = orders.silence(lake.con, lake.context, "bin*", "maintenance", wall() + 60 * MINUTE, "me")
    assert minute(lake, wall() + MINUTE) == []
    orders.unsilence(lake.con, lake.context, made.id)
    assert read_orders(lake.con).silences == ()
    assert minute(lake, wall() + 2 * MINUTE) == ["news"]


def test_an_acknowledged_alert_is_not_repeated(lake: Lake):
    start = wall()
    assert minute(lake, start) == ["news"]
    assert minute(lake, start + timedelta(hours=4, minutes=1)) == ["repeat"]
    orders.acknowledge(lake.con, lake.context, lake.one("SELECT id FROM alerts"), "me", "on it")
    assert minute(lake, start + timedelta(hours=9)) == []
    assert lake.one("SELECT acked_at FROM alerts") is not None


def test_an_alerts_id_silences_its_rule_on_its_subject(lake: Lake):
    minute(lake, wall())
    made = orders.silence(
        lake.con, lake.context, lake.one("SELECT id FROM alerts"), "seen", wall() + MINUTE, "me"
    )
    assert made.match == "stale@binance"


def test_what_cannot_be_taken_back_says_what_there_is(lake: Lake):
    made = orders.silence(lake.con, lake.context, "rsi", "noise", wall() + MINUTE, "me")
    with pytest.raises(TapewatchError, match=f"no such silence; known: {made.id} \\(rsi\\)"):
        orders.unsilence(lake.con, lake.context, "zz")
    with pytest.raises(TapewatchError, match="a reason"):
        orders.silence(lake.con, lake.context, "rsi", " ", wall() + MINUTE, "me")


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ("*", True), ("volume", True), ("BTC*", True), ("binance:btcusdt", True), ("binance", True),
        ("vol*@binance:*", True), ("rsi@BTCUSDT", False), ("volume@ETH*", False), ("yahoo*", False), ("a1b2", True),
    ],
)  # fmt: skip
def test_a_match_names_a_rule_a_subject_or_both(match: str, holds: bool):
    now = wall()
    silence = Silence("s", match, "why", "me", now, now + MINUTE)
    names = ["a1b2", "binance", "BTCUSDT", "binance:BTCUSDT"]
    assert (silence_of([silence], "volume", names, now) is not None) is holds
    assert silence_of([silence], "volume", names, now + MINUTE) is None


@pytest.mark.capability("ALR-01")
def test_rules_and_silences_come_and_go_from_the_prefect_ui(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    tables: dict[str, list[dict]] = {}
    monkeypatch.setattr(alerts_admin, "assemble", lambda: lake.context)
    monkeypatch.setattr(
        alerts_admin, "create_table_artifact", lambda key, table, **_: tables.update({key: table})
    )

    def ask(action: str, **given: object) -> str:
        every = {"name": "", "when": "", "on": [], "interval": None, "severity": "high", "for": 1, "clear": None,
                 "expires": "7d", "match": "", "reason": "", "lasts": "1h"}  # fmt: skip
        return alerts_admin.order.fn(action, every | given)

    assert (
        ask("add", name="mine", when="abs(dev_20_pct) > 2", on=["BTC*"])
        == "mine: watches BTC* for abs(dev_20_pct) > 2"
    )
    assert {row["name"]: row["origin"] for row in tables["rules"]}["mine"] == "user"
    said = ask("silence", match="mine", reason="a test", lasts="2h")
    (quiet,) = tables["silences"]
    assert (quiet["match"], quiet["by"]) == ("mine", "Prefect UI")
    assert said.startswith(quiet["id"])
    ask("unsilence", match=quiet["id"])
    ask("remove", name="mine")
    assert tables["silences"] == []
    assert "mine" not in {row["name"] for row in tables["rules"]}
    with pytest.raises(TapewatchError, match="price is built in"):
        ask("remove", name="price")
    with pytest.raises(TapewatchError, match="no such alert"):
        ask("acknowledge", match="nothing")
