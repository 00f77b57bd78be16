"""The outbox drained: retried, given up, sent again after a kill; nothing lost, nothing secret shown."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from pipelines.alerts.grouping import Route, messages, notices
from pipelines.alerts.history import (
    acknowledge,
    read_alerts,
    read_rules,
    remove_rule,
    write_events,
    write_rule,
)
from pipelines.alerts.outgoing import outgoing
from pipelines.alerts.rules import Rule, user_rule
from reports.digest_facts import digest_rows
from reports.notify.channel import ChannelConfig
from reports.notify.channels import senders
from reports.notify.deliver import TRIES, backoff_s, drain
from tests.alerts.conftest import NOON, minute
from tests.conftest import REPOSITORY
from tests.notify.conftest import fired
from tests.notify.wires import receiving
from warehouse.connect import Location, connect, transaction
from warehouse.migrate import migrate
from warehouse.outbox import enqueue, resend, told, told_by_channel

INDICATORS = dict.fromkeys(("zscore_20", "volatility_20", "pv_corr_60", "volume_ratio"), "DOUBLE")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


class Desk:
    """A warehouse with an outbox, one webhook called `hook`, and a clock that only we turn."""

    def __init__(self, home) -> None:
        self.location, self.site, self.clock = Location(home / "warehouse"), home / "site", Clock()
        self.con = connect(self.location)
        migrate(self.con, self.location, INDICATORS)
        self.client = httpx.Client()
        self.channels = {}

    def hook(self, url, **options) -> None:
        config = ChannelConfig("hook", "webhook", {"url": url, **options})
        self.channels = senders([config], self.client, self.site)

    def put(self, *rows) -> int:
        with transaction(self.con, self.location):
            return enqueue(self.con, rows, self.clock())

    def drain(self):
        done = drain(self.con, self.location, self.channels, self.clock, lambda: 0.0, "run-9")
        return done.sent, done.retried, done.dead

    @property
    def delivery(self):
        row = self.con.execute("SELECT state, attempts, next_try, last_error FROM deliveries").fetchone()
        return dict(zip(("state", "attempts", "next_try", "last_error"), row, strict=True))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.client.close()
    desk.con.close()


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def test_a_message_is_sent_once_and_only_once(desk, receiver, alert_row):
    desk.hook(receiver.url)
    assert desk.put(alert_row) == 1
    assert desk.put(alert_row) == 0
    assert desk.drain() == (1, 0, 0)
    assert desk.drain() == (0, 0, 0)
    assert len(receiver.got) == 1
    assert (desk.delivery["state"], desk.delivery["attempts"]) == ("sent", 1)


def test_a_server_error_is_retried_with_the_same_id_after_the_backoff(desk, receiver, alert_row):
    desk.hook(receiver.url)
    desk.put(alert_row)
    receiver.answers = [(500, {}), (502, {})]
    assert desk.drain() == (0, 1, 0)
    assert desk.drain() == (0, 0, 0)
    desk.clock.forward(seconds=5)
    assert desk.drain() == (0, 1, 0)
    desk.clock.forward(seconds=9)
    assert desk.drain() == (0, 0, 0)
    desk.clock.forward(seconds=1)
    assert desk.drain() == (1, 0, 0)
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {alert_row["id"]}
    assert desk.delivery["attempts"] == 3
    assert desk.delivery["last_error"] is None


def test_a_message_that_had_to_wait_says_that_it_tells_of_earlier(desk, receiver, alert_row):
    desk.hook(receiver.url)
    desk.put(alert_row)
    receiver.answers = [(503, {"Retry-After": "600"})]
    desk.drain()
    desk.clock.forward(minutes=10)
    desk.drain()
    first, second = (json.loads(body)["data"]["text"] for _, body in receiver.got)
    assert "late" not in first
    assert "Sent 10 min late: this is how it stood at" in second
    assert "the channel could not be reached before" in second


def test_a_message_that_nobody_tried_to_send_does_not_blame_the_channel(desk, receiver, alert_row):
    desk.hook(receiver.url)
    desk.put(alert_row)
    desk.clock.forward(minutes=10)
    desk.drain()
    ((_, body),) = receiver.got
    text = json.loads(body)["data"]["text"]
    assert "Sent 10 min late" in text
    assert "nothing was sent meanwhile" in text


def test_retry_after_is_obeyed(desk, receiver, alert_row):
    desk.hook(receiver.url)
    desk.put(alert_row)
    receiver.answers = [(429, {"Retry-After": "600"})]
    assert desk.drain() == (0, 1, 0)
    desk.clock.forward(seconds=599)
    assert desk.drain() == (0, 0, 0)
    desk.clock.forward(seconds=1)
    assert desk.drain() == (1, 0, 0)


def test_a_refusal_is_dead_at_once_and_can_be_sent_again_by_hand(desk, receiver, alert_row):
    desk.hook(receiver.url)
    desk.put(alert_row)
    receiver.answers = [(400, {})]
    assert desk.drain() == (0, 0, 1)
    assert desk.delivery["last_error"].startswith("answered 400")
    desk.clock.forward(days=3)
    assert desk.drain() == (0, 0, 0)
    with transaction(desk.con, desk.location):
        assert resend(desk.con, alert_row["id"], desk.clock())
        assert not resend(desk.con, "nothing", desk.clock())
    receiver.answers = [(500, {})]
    assert desk.drain() == (0, 1, 0)
    desk.clock.forward(seconds=5)
    assert desk.drain() == (1, 0, 0)


def test_nobody_listening_is_given_up_after_eight_tries(desk, alert_row):
    desk.hook("http://127.0.0.1:1/")
    desk.put(alert_row)
    for _ in range(TRIES - 1):
        assert desk.drain() == (0, 1, 0)
        desk.clock.forward(hours=1)
    assert desk.drain() == (0, 0, 1)
    assert desk.delivery["attempts"] == TRIES
    assert desk.delivery["last_error"].startswith("gave up after 8 tries: ConnectError")


def test_it_is_given_up_when_the_next_try_would_come_after_a_day(desk, receiver, alert_row):
    desk.hook(receiver.url)
    desk.put(alert_row)
    receiver.answers = [(503, {"Retry-After": "86000"}), (503, {"Retry-After": "500"})]
    assert desk.drain() == (0, 1, 0)
    desk.clock.forward(seconds=86_000)
    assert desk.drain() == (0, 0, 1)


KILLED = """
import os, sys
from pathlib import Path
from reports.notify.webhook import Webhook
from tests.notify import test_deliver
send = Webhook.send
Webhook.send = lambda *given: (send(*given), os._exit(9))
desk = test_deliver.Desk(Path(sys.argv[1]))
desk.hook(sys.argv[2])
desk.drain()
"""


def test_a_sender_killed_between_sending_and_recording_sends_the_same_id_again(
    desk, receiver, alert_row, tmp_path
):
    desk.hook(receiver.url)
    desk.put(alert_row)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, receiver.url], cwd=REPOSITORY, check=False
    )
    assert (killed.returncode, len(receiver.got)) == (9, 1)
    assert desk.delivery["state"] == "sending"
    assert desk.drain() == (0, 0, 0)
    desk.clock.forward(minutes=5)
    assert desk.drain() == (1, 0, 0)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [alert_row["id"]] * 2
    assert desk.delivery["attempts"] == 2


def test_one_channels_fault_keeps_no_other_message(desk, receiver, alert_row):
    desk.hook(receiver.url)
    gone = alert_row | {"id": "x1", "channel": "gone"}
    broken = alert_row | {"id": "x2", "facts": {"kind": "alert"}}
    desk.put(gone, broken, alert_row)
    assert desk.drain() == (1, 0, 2)
    errors = dict(desk.con.execute("SELECT id, last_error FROM deliveries WHERE state = 'dead'").fetchall())
    assert errors["x1"].startswith("no channel is called gone; configured are file, hook")
    assert errors["x2"].startswith("the message cannot be rendered: KeyError")


@pytest.mark.capability("OPS-10")
def test_secrets_reach_neither_the_log_nor_the_warehouse_nor_the_site(
    desk, receiver, alert_row, facts, caplog
):
    secret = "s3cr3tT0ken99"
    desk.hook(f"{receiver.url}/services/{secret}", key="whsec_signing0key")
    receiver.answers = [(500, {}), (404, {})]
    desk.put(
        alert_row,
        alert_row | {"id": "x3"},
        {"id": "f", "channel": "file", "group_key": "digest", "facts": facts},
    )
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="httpx"):
        assert desk.drain() == (1, 1, 1)
    stored = str(desk.con.execute("FROM ops.outbox").fetchall())
    pages = "".join(path.read_text() for path in desk.site.rglob("*.html"))
    assert "HTTP Request: POST" in caplog.text
    assert "you asked" in stored
    for text in (caplog.text, stored, pages):
        assert secret not in text
        assert "signing0key" not in text


@pytest.mark.capability("ALR-11")
def test_a_digest_reaches_the_page_and_the_webhook_once_however_often_it_is_made(desk, receiver, facts):
    desk.hook(receiver.url)
    assert desk.put(*digest_rows(facts, ["hook"])) == 2
    assert desk.put(*digest_rows(facts, ["hook"])) == 0
    assert desk.drain() == (2, 0, 0)
    told = json.loads(receiver.got[0][1])
    assert told["type"] == "tapewatch.digest"
    assert [alert["symbol"] for alert in told["data"]["facts"]["alerts"]] == ["BTCUSDT", "XRPUSDT"]
    assert (desk.site / "digests" / "20261121T1240Z.html").exists()


def test_the_wait_doubles_up_to_an_hour():
    assert [backoff_s(n, 0.0) for n in (1, 2, 3)] == [5, 10, 20]
    assert backoff_s(1, 0.99) < 6.25
    assert backoff_s(30, 0.5) == 3600


@pytest.mark.capability("ALR-05")
def test_alerts_survive_the_warehouse_and_their_message_is_told_once(desk):
    events = fired()
    with transaction(desk.con, desk.location):
        write_events(desk.con, events, desk.clock(), "run-7")
        enqueue(desk.con, messages(notices(events, {}, minute(1)), ["hook"]), desk.clock(), "run-7")
    assert read_alerts(desk.con, NOON) == events
    assert (
        outgoing(read_alerts(desk.con, NOON), told_by_channel(desk.con), minute(6), {"hook": Route()}) == []
    )
    assert told(desk.con) == told_by_channel(desk.con)["hook"]
    acknowledge(desk.con, events[0].id, minute(2), "me")
    row = desk.con.execute(
        "SELECT rule, state, value, threshold, rule_version, acked_at FROM alerts"
    ).fetchone()
    assert row == ("price", "firing", 6.2, 5.0, events[0].rule_version, minute(2).replace(tzinfo=None))
    assert read_alerts(desk.con, NOON)[0].acked_at == minute(2)


@pytest.mark.capability("ALR-01")
def test_a_users_rule_is_added_listed_and_removed(desk):
    rule = user_rule("mine", "close > 5", NOON, severity="high")
    write_rule(desk.con, rule, NOON)
    write_rule(desk.con, Rule("other", "rsi_7 > 80", catalogue={"series": {"rsi_7": "number"}}), NOON)
    assert read_rules(desk.con) == [rule]
    assert remove_rule(desk.con, "mine", minute(1))
    assert not remove_rule(desk.con, "mine", minute(2))
    assert read_rules(desk.con) == []
