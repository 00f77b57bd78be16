"""The digest says what, how abnormal against what, since when; as text, as HTML and as a page."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser

import polars as pl
import pytest

from pipelines.alerts.rules import BUILT_IN
from pipelines.market import Series
from reports.digest import digest
from reports.digest_facts import digest_facts
from reports.notify.message import SIMULATED, Site
from reports.notify.render import render
from reports.notify.wording import number, spark
from tests.alerts.conftest import NOON, minute
from tests.notify.conftest import an_anomaly, fired

VOID = {"meta", "br", "img", "link", "hr"}


class Reader(HTMLParser):
    """The words a reader sees, the links, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.words, self.links, self.tags = [], [], [], set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.mark.capability("ALR-11")
def test_both_alerts_and_every_episode_stand_in_one_digest(facts):
    message = digest(facts, Site("https://tape.example"))
    for said in (message.text, Reader(message.html).text):
        assert said.count("BTCUSDT Price move 1m") + said.count("BTCUSDT          Price move 1m") == 1
        assert "RESOLVED" in said
        assert "after 34 min" in said
        assert "412 vs 64.1 usual" in said
        assert "6.4×" in said
        assert "since 11:31" in said
        assert "2 bars, worst 11:31, over since 12:01" in said
        assert "z +3.42" in said
        assert "half-life 22.4 bars" in said
        assert "correlation 0.83 · fitted 11:59" in said
        assert "check close_jump on bars failed: 2 rows" in said
        assert "2 runs, 1 failed (heal), median 3.2 s; 3,000 rows loaded." in said
        assert "SOLUSDT" not in said
    assert message.subject.startswith(f"[{SIMULATED}] Tapewatch: 4 abnormal (BTCUSDT, NVDA, TSLA and 1 more)")


def test_made_up_data_says_so_and_real_data_does_not(facts):
    assert SIMULATED in digest(facts).text
    assert SIMULATED in Reader(digest(facts).html).text
    real = digest(facts | {"simulated": False})
    assert SIMULATED not in real.text + real.html + real.subject


def test_links_lead_to_the_pages_or_there_are_none(facts):
    links = Reader(digest(facts, Site("../")).html).links
    assert "../symbols/binance-BTCUSDT.html" in links
    assert "../pairs/binance-ETHUSDT~binance-BTCUSDT.html" in links
    assert f"../alerts/{facts['alerts'][0]['id']}.html" in links
    assert all(link.startswith("../") for link in links)
    assert Reader(digest(facts).html).links == []


def test_nothing_from_outside_becomes_markup_or_another_line(facts):
    hostile = copy.deepcopy(facts)
    hostile["episodes"][0]["symbol"] = '"><script>alert(1)</script>\r\nBcc: all@example.com'
    hostile["checks"]["failed"][0]["observed"] = "<img src=x onerror=alert(1)>"
    message = digest(hostile, Site("https://tape.example"))
    page = Reader(message.html)
    assert not {"script", "img"} & page.tags
    assert "<script>alert(1)</script>" in page.text
    assert not re.search(r"(?m)^Bcc:", message.text)
    assert "\n" not in message.subject + "".join(message.lines)
    assert all(re.match(r"https://tape\.example/[\w./~-]+$", link) for link in page.links)


def test_the_page_asks_nobody_for_anything(facts):
    page = digest(facts, Site("../")).html
    assert not re.search(r"(?:src|href)=\"?(?:https?:)?//|url\(|@import", page)


def test_a_quiet_hour_says_so(facts):
    quiet = digest_facts(NOON, NOON.replace(hour=13), anomalies=pl.DataFrame(schema=ANOMALY))
    message = digest(quiet)
    assert message.subject == "Tapewatch: quiet since 12:00 UTC"
    assert "Nothing: every series stayed within its usual range." in message.text
    assert "No runs since the last digest." in Reader(message.html).text


ANOMALY = {
    "id": pl.String,
    "source": pl.String,
    "symbol": pl.String,
    "kind": pl.String,
    "ts": pl.Datetime("us"),
}


def test_facts_survive_json_as_the_outbox_keeps_them(facts):
    assert digest(json.loads(json.dumps(facts))).html == digest(facts).html


@pytest.mark.capability("ALR-11")
def test_history_is_one_line_and_its_gravest_with_their_year(facts):
    peg = facts["episodes"][0] | {
        "symbol": "USDCUSD", "severity": "critical", "state": "over",
        "since": "2023-03-11T06:00:00+00:00", "last": "2023-03-11T09:00:00+00:00",
    }  # fmt: skip
    loaded = {
        "bars": 20_934, "series": 1, "from": "2023-03-01T00:00:00+00:00", "to": "2023-03-21T23:58:00+00:00",
        "anomalies": 96, "counts": {"critical": 1, "high": 0, "medium": 95, "info": 0},
        "episodes": [peg], "episodes_total": 1,
    }  # fmt: skip
    message = digest(facts | {"history": loaded})
    assert message.subject.endswith("history with 1 critical (USDCUSD)")
    said = "20,934 bars of one series, 1 Mar 2023 00:00 to 21 Mar 2023 23:58; 96 anomalies: 1 critical, 95 medium"
    assert said in message.text
    assert said in Reader(message.html).text
    assert "CRITICAL  USDCUSD" in message.text
    assert "since 11 Mar 2023 06:00 UTC" in message.text


@pytest.mark.capability("ALR-09")
def test_an_alert_message_says_how_many_were_held_back(alert_row):
    message = render(alert_row["facts"] | {"suppressed": 2}, Site("https://tape.example/"))
    assert message.subject == "2 CRITICAL alerts: BTCUSDT, ETHUSDT"
    assert "2 of these fired in the cooldown" in message.text
    assert message.link == "https://tape.example/alerts/index.html"
    assert message.lines[0] == (
        "CRITICAL BTCUSDT Price move 1m: +6.2 % (64,250 vs mean 60,499), since 12:00"
    )  # fmt: skip
    assert "fired 12:01 · rule price" in message.text  # the close of the bar that opened at 12:00


def test_a_message_of_two_alerts_has_the_commands_of_each(alert_row):
    message = render(alert_row["facts"], Site("https://tape.example/"))
    ids = sorted(alert["id"] for alert in alert_row["facts"]["alerts"])
    for said in (message.text, Reader(message.html).text):
        for command in ("alerts ack", "alerts silence", "explain"):
            assert sorted(re.findall(rf"tapewatch {command} (\w+)", said)) == ids
    many = [alert_row["facts"]["alerts"][0] | {"id": f"id{n}"} for n in range(7)]
    assert "2 more: `tapewatch alerts list`" in render(alert_row["facts"] | {"alerts": many}, Site()).text


def test_a_rule_that_tells_the_same_fact_is_in_the_mail_but_no_alert_more(alert_row):
    fires = alert_row["facts"]["alerts"][0]
    again = fires | {"id": "other", "rule": "mine", "severity": "medium", "same_as": fires["rule"]}
    message = render(alert_row["facts"] | {"alerts": [again, fires]}, Site("https://tape.example"))
    assert message.subject.startswith("CRITICAL BTCUSDT Price move 1m: +6.2 %")
    assert len(message.lines) == 1
    assert f"the same fact as rule {fires['rule']} tells" in message.text


def test_the_gravest_that_fires_comes_first_and_gives_the_subject_its_word(alert_row):
    fires, other = alert_row["facts"]["alerts"]
    over = {**other, "state": "resolved", "resolved_at": alert_row["facts"]["at"]}
    lesser = {**other, "severity": "high"}
    one = render(alert_row["facts"] | {"alerts": [over, fires]}, Site())
    assert one.subject == "1 CRITICAL alert: BTCUSDT; 1 resolved: ETHUSDT"
    assert one.lines[0].startswith("CRITICAL BTCUSDT")
    assert one.lines[1].startswith("RESOLVED ETHUSDT")
    two = render(alert_row["facts"] | {"alerts": [lesser, fires]}, Site())
    assert two.subject == "2 alerts up to CRITICAL: BTCUSDT, ETHUSDT"


def test_only_what_still_fires_is_to_be_seen_or_silenced(alert_row):
    fires, other = alert_row["facts"]["alerts"]
    over = {**other, "state": "resolved", "resolved_at": alert_row["facts"]["at"]}
    for alerts, names in (([over], []), ([over, fires], [fires["id"]])):
        message = render(alert_row["facts"] | {"alerts": alerts}, Site())
        for said in (message.text, Reader(message.html).text):
            assert re.findall(r"alerts ack (\w+)", said) == names
            assert re.findall(r"alerts silence (\w+)", said) == names
            assert "tapewatch explain" in said


def test_what_is_over_reads_as_the_time_it_lasted_and_no_line_ends_in_a_comma(alert_row):
    slow = alert_row["facts"]["alerts"][0] | {
        "state": "resolved", "symbol": None, "interval": None, "source": "yahoo", "evidence": {"column": "latency_p99_ms", "operator": ">"},
        "fired_at": "2026-11-20T12:01:00+00:00", "resolved_at": "2026-11-20T12:02:00+00:00",
    }  # fmt: skip
    message = render(alert_row["facts"] | {"alerts": [slow]}, Site())
    assert "Latency p99 (received to landed) over after 60 s" in re.sub(" +", " ", message.text)
    moment = an_anomaly(-170, "TSLA", "rsi_extreme", "medium", 81.2, 70.0)
    said = digest(
        digest_facts(
            NOON - timedelta(hours=3), NOON, anomalies=pl.DataFrame([moment]).cast({"zscore": pl.Float64})
        )
    ).text
    assert "limit 70\n" in said


def test_an_episode_of_several_widths_is_over_when_the_last_of_them_is(facts):
    rows = [an_anomaly(-60, "TSLA", "volume", "high", 900.0, 100.0, interval="1h"),
            *(an_anomaly(at, "TSLA", "volume", "medium", 400.0, 100.0) for at in (-45, -30, -15))]  # fmt: skip
    since, frame = NOON - timedelta(hours=3), pl.DataFrame(rows, schema_overrides={"zscore": pl.Float64})
    told = digest_facts(since, NOON + timedelta(hours=3), anomalies=frame)
    assert "one bar of 1h, also on 15m, worst 11:00, over since 12:00" in digest(told).text


def test_what_passed_a_limit_is_not_told_against_what_is_usual(facts):
    slow = an_anomaly(0, "", "latency", "medium", 141.7, 100.0) | {"symbol": None, "interval": None}
    frame = pl.DataFrame(
        [slow], schema_overrides={"zscore": pl.Float64, "symbol": pl.String, "interval": pl.String}
    )
    told = digest_facts(NOON - timedelta(hours=3), NOON + timedelta(hours=3), anomalies=frame)
    message = digest(told)
    assert [row["baseline_is"] for row in message.facts["episodes"]] == ["limit"]
    assert message.lines[0] == "MEDIUM binance Latency: 142 ms (limit 100 ms)"
    assert "told once, 12:00" in message.text
    assert "usual\n" not in message.text


def test_an_episode_whose_alert_has_ended_is_not_still_on(facts):
    rule = next(rule for rule in BUILT_IN if rule.name == "price")
    alert = fired("XRPUSDT")[0]
    ended = replace(alert, state="resolved", resolved_at=minute(3), seen_at=minute(3))
    spike = an_anomaly(0, "XRPUSDT", "price_spike", "critical", 0.66, 0.61, interval="1m")
    frame = pl.DataFrame([spike]).cast({"zscore": pl.Float64})
    states = [
        digest_facts(NOON - timedelta(hours=1), minute(5), anomalies=frame, alerts=[one])["episodes"][0][
            "state"
        ]
        for one in (alert, ended)
    ]
    assert (rule.name, states) == (alert.rule, ["open", "over"])


@pytest.mark.capability("ALR-05")
def test_a_resolved_alert_says_what_it_fired_with_and_how_long_it_lasted(facts):
    said = digest(facts).text.partition("RESOLVED  XRPUSDT")[2].splitlines()[:2]
    assert "after " in said[0]
    assert "+6.2 %, " in said[1]


def test_a_pairs_alert_is_called_by_its_legs(alert_row):
    pair = alert_row["facts"]["alerts"][0] | {"symbol": None, "pair": "binance-ETHUSDT~binance-BTCUSDT"}
    pair["evidence"] = pair["evidence"] | {"series": ["binance:ETHUSDT", "binance:BTCUSDT"]}
    facts = alert_row["facts"] | {"alerts": [pair]}
    assert render(facts, Site()).subject.startswith("CRITICAL ETHUSDT / BTCUSDT ")


def test_one_alert_is_its_own_subject(alert_row):
    facts = alert_row["facts"] | {"alerts": alert_row["facts"]["alerts"][:1], "occasion": "repeat"}
    assert render(facts, Site()).subject.startswith("Still firing: CRITICAL BTCUSDT Price move 1m: +6.2 %")


def test_unknown_facts_are_refused():
    with pytest.raises(ValueError, match="kind 'x'"):
        render({"kind": "x"}, Site())


@pytest.mark.parametrize(
    ("value", "said"),
    [(412.0, "412"), (64.1234, "64.12"), (0.000012345, "0.00001234"), (-2.6, "−2.6"), (64250.4, "64,250"),
     (9_100_000, "9.1M"), (0, "0"), (None, "–"), (float("nan"), "–"), (99.999, "100"), (1e-12, "1.000e−12")],
)  # fmt: skip
def test_figures_are_short(value, said):
    assert number(value) == said


def test_a_sparkline_spans_its_values_and_leaves_holes():
    assert spark([1, None, 2, 3]) == "▁ ▅█"
    assert spark([5, 5]) == "▁▁"
    assert spark([1]) == spark([]) == ""
    assert len(spark(range(100))) == 24


def test_the_line_of_a_series_is_drawn_beside_its_first_row_only_and_told(facts):
    rows = [an_anomaly(-9, "BTCUSDT", kind, "high", 412.0, 64.1) for kind in ("volume", "volatility")]
    closes = {Series("binance", "BTCUSDT"): [1.0, 2.0, 3.0]}
    twice = digest_facts(
        NOON - timedelta(hours=3),
        NOON,
        anomalies=pl.DataFrame(rows, schema_overrides={"zscore": pl.Float64}),
        closes=closes,
    )
    assert sorted(row["spark"] for row in twice["episodes"]) == [[], [1.0, 2.0, 3.0]]
    for said in (digest(facts).text, Reader(digest(facts).html).text):
        assert "The little lines are closes of the last hours." in said
    assert "little lines" not in digest(facts | {"episodes": []}).text


def test_the_facts_are_of_their_time(facts):
    assert datetime.fromisoformat(facts["until"]).tzinfo is not None
