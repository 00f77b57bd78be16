"""Each channel against a real receiver, and what its answers mean."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from reports.notify import discord, slack, teams, telegram
from reports.notify.channel import ChannelConfig, ChannelError, Dead, Envelope, Retry, Sent, clipped, redacted
from reports.notify.channels import senders
from reports.notify.message import Message, Site
from reports.notify.render import render
from tests.alerts.conftest import NOON
from tests.notify.wires import posting, receiving

ENVELOPE = Envelope("d1", NOON, NOON + timedelta(minutes=3), "binance|critical")


@pytest.fixture
def client():
    with httpx.Client() as client:
        yield client


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def message(alert_row):
    return render(alert_row["facts"], Site("https://tape.example"))


@pytest.fixture
def sending(client, tmp_path, message):
    def send(kind, **options):
        secrets = options.pop("secrets", {})
        config = ChannelConfig("mine", kind, options, secrets.get)
        return senders([config], client, tmp_path)["mine"].channel.send(ENVELOPE, message)

    return send


def test_a_webhook_is_signed_so_that_the_receiver_can_verify_it(sending, receiver):
    key = base64.b64encode(b"k" * 32).decode()
    assert sending("webhook", url=receiver.url, key=f"whsec_{key}") == Sent()
    headers, body = receiver.got[0]
    assert headers["webhook-id"] == "d1"
    assert int(headers["webhook-timestamp"]) == ENVELOPE.sent_at.timestamp()
    signed = f"d1.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    told = json.loads(body)
    assert told["type"] == "tapewatch.alert"
    assert [alert["symbol"] for alert in told["data"]["facts"]["alerts"]] == ["BTCUSDT", "ETHUSDT"]


@pytest.mark.capability("ALR-07")
def test_slack_gets_one_valid_json_at_the_address_of_the_environment(sending, receiver):
    assert sending("slack", secrets={"env:SLACK_WEBHOOK_URL": f"{receiver.url}/services/T0/B0/x"}) == Sent()
    (headers, body), *more = receiver.got
    assert not more
    assert headers["content-type"] == "application/json"
    text = json.loads(body)["text"]
    assert text.startswith("*2 CRITICAL alerts: BTCUSDT, ETHUSDT*\n• CRITICAL BTCUSDT Price move 1m: +6.2 %")
    assert text.endswith("<https://tape.example/alerts/index.html|Open>")


def test_discord_telegram_and_teams_get_their_own_shapes(sending, receiver):
    assert sending("discord", url=receiver.url) == Sent()
    assert sending("telegram", api=receiver.url, token="123:abc", chat="@tape") == Sent()
    assert sending("teams", url=receiver.url) == Sent()
    for_discord, for_telegram, for_teams = (json.loads(body) for _, body in receiver.got)
    assert for_discord["allowed_mentions"] == {"parse": []}
    assert for_telegram["chat_id"] == "@tape"
    assert "BTCUSDT" in for_telegram["text"]
    card = for_teams["attachments"][0]["content"]
    assert card["actions"][0]["url"] == "https://tape.example/alerts/index.html"
    assert "BTCUSDT" in card["body"][1]["text"]


def test_apprise_takes_any_other_address(sending, receiver):
    address = receiver.url.replace("http://", "json://")
    assert sending("apprise", url=address) == Sent()
    assert "BTCUSDT" in json.loads(receiver.got[0][1])["message"]
    receiver.answers = [(500, {})]
    assert isinstance(sending("apprise", url=address), Retry)
    assert isinstance(sending("apprise", url="nonsense"), Dead)


def test_long_messages_stay_within_each_services_limit():
    lines = tuple(f"line {n} @everyone <!channel> " + "x" * 80 for n in range(2000))
    long = Message("s" * 5000, "", "", {}, lines, "https://tape.example/")
    assert len(slack.payload(long)["text"]) <= 40_000
    assert len(discord.payload(long)["content"]) <= 2_000
    assert len(telegram.payload(long, "1")["text"]) <= 4_096
    assert len(json.dumps(teams.payload(long))) <= 28_000
    assert "<!channel>" not in slack.payload(long)["text"]
    assert clipped([f"{n}" for n in range(2000)], 40).endswith("12\n… 1987 more")


@pytest.mark.parametrize(
    ("status", "headers", "means"),
    [
        (204, {}, Sent()),
        (500, {}, Retry("answered 500: you asked /", None)),
        (429, {"Retry-After": "37"}, Retry("answered 429: you asked /", 37.0)),
        (408, {}, Retry("answered 408: you asked /", None)),
        (400, {}, Dead("answered 400: you asked /")),
        (404, {}, Dead("answered 404: you asked /")),
        (302, {"Location": "http://127.0.0.1:1/"}, Dead("answered 302: you asked /")),
    ],
)
def test_what_an_answer_means(sending, receiver, status, headers, means):
    receiver.answers = [(status, headers)]
    assert sending("webhook", url=receiver.url + "/") == means


def test_a_retry_after_may_be_a_date(sending, receiver):
    ahead = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    receiver.answers = [
        (503, {"Retry-After": ahead}),
        (503, {"Retry-After": "Sat, 21 Nov 1998 12:00:00 GMT"}),
    ]
    assert 500 < sending("webhook", url=receiver.url).after <= 600
    assert sending("webhook", url=receiver.url).after == 0


def test_nobody_listening_comes_again_and_a_bad_address_does_not(sending):
    assert isinstance(sending("webhook", url="http://127.0.0.1:1"), Retry)
    assert isinstance(sending("webhook", url="ftp://127.0.0.1"), Dead)


def test_a_subject_arrives_letter_by_letter(client, tmp_path, message):
    subject = "[SIMULATED DATA] HIGH BTCUSDT / ETHUSDT Spread z 1m: z +2.51 (limit ±2), since 20:16 and more to come"
    with posting() as box:
        options = {"host": box.host, "port": box.port, "from": "t@x.org", "to": "a@x.org"}
        channel = senders([ChannelConfig("mine", "email", options, {}.get)], client, tmp_path)["mine"].channel
        assert channel.send(ENVELOPE, replace(message, subject=subject)) == Sent()
    assert [mail["Subject"] for mail in box.mails] == [subject]


def test_mail_arrives_with_both_parts_and_its_headers(sending, message):
    with posting() as box:
        options = {
            "host": box.host,
            "port": box.port,
            "from": "Tape <tape@example.com>",
            "to": ["a@x.org", "b@x.org"],
        }
        assert sending("email", **options) == Sent()
        assert sending("email", **options) == Sent()
    first, again = box.mails
    assert first["Subject"] == "2 CRITICAL alerts: BTCUSDT, ETHUSDT"
    assert (first["From"], first["To"]) == ("Tape <tape@example.com>", "a@x.org, b@x.org")
    assert first["Message-ID"] == again["Message-ID"] == "<d1@example.com>"
    assert first["Date"] == again["Date"]
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["List-Id"] == "Tapewatch alerts <tapewatch.example.com>"
    assert first.get_content_type() == "multipart/alternative"
    text, html = first.iter_parts()
    assert text.get_content().replace("\r\n", "\n").strip() == message.text.strip()
    assert html.get_content().replace("\r\n", "\n").strip() == message.html.strip()


@pytest.mark.parametrize(("said", "means"), [("550 no such user", Dead), ("451 later", Retry)])
def test_what_a_mail_servers_refusal_means(sending, said, means):
    with posting() as box:
        box.refuse = said
        outcome = sending("email", host=box.host, port=box.port, to="a@x.org", **{"from": "t@x.org"})
    assert isinstance(outcome, means)
    assert said.split()[0] in outcome.reason


def test_a_password_is_never_sent_in_clear(sending):
    with pytest.raises(ChannelError, match="in clear"):
        sending(
            "email", host="mail.example", security="none", username="u", to="a@x.org", **{"from": "t@x.org"}
        )


@pytest.mark.capability("ALR-11")
def test_the_file_channel_writes_the_digest_as_a_page(client, tmp_path, facts):
    sender = senders([], client, tmp_path)["file"]
    assert sender.channel.send(ENVELOPE, render(facts, sender.site)) == Sent()
    page = tmp_path / "digests" / "20261121T1240Z.html"
    assert 'href="../symbols/binance-BTCUSDT.html"' in page.read_text()
    assert [path.name for path in page.parent.iterdir()] == [page.name]


def test_what_is_missing_or_unknown_is_said_with_the_channels_name(sending):
    with pytest.raises(ChannelError, match=r"channel mine \(webhook\): url is not set"):
        sending("webhook")
    with pytest.raises(ChannelError, match="env:NOWHERE, which is not set"):
        sending("webhook", url="env:NOWHERE")
    with pytest.raises(ChannelError, match="kind 'pigeon' is not one of file, email, slack"):
        sending("pigeon")


@pytest.mark.capability("OPS-10")
def test_secrets_are_cut_out_in_every_form():
    address = "https://user:pa$$word@hooks.example/services/T000AAAA/B000BBBB?token=abcdefgh"
    said = f"{address} /services/T000AAAA/B000BBBB pa%24%24word T000AAAA abcdefgh hooks.example"
    shown = redacted(said, [address, "pa$$word"])
    for part in ("pa$$word", "pa%24", "T000AAAA", "B000BBBB", "abcdefgh"):
        assert part not in shown
    assert redacted("no hooks.example here", ["https://hooks.example/T000AAAA"]) == "no hooks.example here"
    assert "mytokenA1" not in redacted("discord://mytokenA1/x mytokenA1", ["discord://mytokenA1/x"])
