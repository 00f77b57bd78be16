import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from pipelines.alerts.silences import Silence
from pipelines.analytics.detectors import SEVERITY
from pipelines.market import Series
from reports import render
from reports.options import RuleInForce
from reports.pages import abnormal, correlations, overview, quality, runs
from reports.pages.alerts import group_name
from reports.pages.anomalies import gravest, index_page
from reports.pages.health import run_summary
from reports.pages.movers import movers
from reports.pages.others import methods_page
from reports.pages.shell import NAVIGATION
from reports.pages.spells import spells
from reports.site import publish
from reports.snapshot import take
from reports.text import kind_name, number
from tests.site import market
from tests.site.conftest import options

VOID = {"meta", "link", "input", "br", "img", "hr"}
ALLOWED = ("https://www.tradingview.com/", "http://127.0.0.1:4200")


class Reader(HTMLParser):
    """Links, ids, element balance and inline scripts of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.open, self.scripts, self.faults = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.links += [known[name] for name in ("href", "src") if known.get(name)]
        self.ids += [known["id"]] if "id" in known else []
        self.scripts += [known] if tag == "script" else []
        self.faults += [name for name in known if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at line {self.getpos()[0]}")


@pytest.fixture(scope="module")
def pages(site):
    return {
        str(path.relative_to(site)): Reader(path.read_text())
        for path in sorted(site.rglob("*.html"))
        if path.parent.name != "digests" or path.name == "index.html"
    }


def plain(site, path):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", (site / path).read_text()))


def test_every_page_of_the_navigation_exists(site, pages):
    assert {path for path, _ in NAVIGATION} <= set(pages)
    assert {"symbols/binance-BTCUSDT.html", "pairs/binance-BTCUSDT~binance-ETHUSDT.html", "alerts/alert-btc-volume.html",
            "anomalies/2026-11-20.html", "anomalies/2026-11-02.html", "api/index.html"} <= set(pages)  # fmt: skip


def test_every_page_is_well_formed_and_names_each_thing_once(pages):
    for path, page in pages.items():
        assert page.faults == [], path
        assert page.open == [], path
        assert len(page.ids) == len(set(page.ids)), path


def test_every_link_leads_to_a_file_of_the_site(site, pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if link.startswith(("http:", "https:")):
                assert link.startswith(ALLOWED), (path, link)
                continue
            target, _, fragment = link.partition("#")
            found = (site / path).parent / unquote(target.split("?")[0]) if target else site / path
            if not found.is_file():
                broken.append((path, link))
            elif fragment and found.suffix == ".html":
                ids = pages[str(found.resolve().relative_to(site.resolve()))].ids
                broken += [] if fragment in ids else [(path, link)]
    assert broken == []


def test_every_page_says_that_its_data_are_simulated(pages, site):
    assert [path for path in pages if "SIMULATED DATA" not in (site / path).read_text()] == []


def test_a_live_site_says_nothing_of_simulation(lake, tmp_path):
    publish(lake[0], tmp_path, options(simulated=False), "full")
    assert [path for path in tmp_path.rglob("*.html") if "simulated" in path.read_text().lower()] == []


def test_a_symbol_named_like_html_is_text_everywhere(site, pages):
    name = "file-_script_alert_1___script_-e5992c79"
    assert f"symbols/{name}.html" in pages
    for path in site.rglob("*"):
        if path.suffix in (".html", ".xml"):
            assert market.EVIL not in path.read_text(), path
    for page in pages.values():
        assert all(script.get("src") or script.get("type") == "application/json" for script in page.scripts)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (site / f"symbols/{name}.html").read_text()
    assert "<b>the mean</b>" not in (site / "anomalies/2026-11-19.html").read_text()


def test_a_page_asks_for_nothing_outside_its_folder(site):
    for path in [*site.rglob("*.html"), *(site / "assets").glob("site.*"), site / "assets/charts.js"]:
        asked = re.findall(r"""(?:src|@import|url\()\s*=?\s*["'(]?(?:https?:)?//""", path.read_text())
        assert asked == [], path


@pytest.mark.capability("UI-08")
@pytest.mark.capability("ING-12")
def test_an_empty_value_says_how_many_bars_it_waits_for(lake, site):
    wanting = "SELECT DISTINCT sma_20, zscore_20, volatility_20 FROM indicators WHERE symbol = 'NEWUSDT' AND interval = '1m'"
    assert lake[0].execute(wanting).fetchall() == [(None, None, None)]
    said = plain(site, "symbols/binance-NEWUSDT.html")
    assert "12 of 20" in said
    assert "12 of 15 bars" in said
    assert "no baseline yet" in said


@pytest.mark.capability("UI-08")
def test_an_empty_warehouse_gives_a_whole_site_that_explains_itself(tmp_path):
    con, _ = market.open_lake(tmp_path / "lake")
    publish(con, tmp_path / "site", options(), "full")
    assert all((tmp_path / "site" / path).is_file() for path, _ in NAVIGATION)
    assert "No bars yet" in plain(tmp_path / "site", "index.html")
    for path, _ in NAVIGATION:
        Reader((tmp_path / "site" / path).read_text())
    con.close()


def test_the_numbers_are_there_without_javascript(site):
    said = plain(site, "symbols/binance-BTCUSDT.html")
    assert "64,000.00" in said
    assert "open-gap" in said
    assert "NVDA" in plain(site, "index.html")


def test_what_is_abnormal_is_listed_worst_first_with_its_evidence(lake):
    rows = abnormal.abnormal(take(lake[0], options()))
    assert [row["severity"] for row in rows[:3]] == ["critical", "high", "high"]
    volume = next(row for row in rows if row["rule"] == "volume")
    assert (volume["measure"], volume["baseline"], volume["value"]) == ("8.5×", 41.2, 352.0)


def test_what_an_alert_tells_is_told_once_and_what_is_over_is_not_abnormal_now(lake):
    snap = take(lake[0], options())
    fit = snap.newest_fits[0]
    model, base = snap.anomalies.head(1), snap.alerts.filter(pl.col("state") == "firing").head(1)

    def anomaly(source, symbol, kind, minutes_ago, interval="1m"):
        ts = pl.lit(snap.at.replace(second=0) - timedelta(minutes=minutes_ago)).cast(pl.Datetime("us"))
        return model.with_columns(
            source=pl.lit(source), symbol=pl.lit(symbol, pl.String), kind=pl.lit(kind), ts=ts,
            interval=pl.lit(interval, pl.String), id=pl.lit(f"{symbol}{kind}"),
        )  # fmt: skip

    def alert(column, resolved_ago=None, **labels):
        ended = None if resolved_ago is None else snap.at - timedelta(minutes=resolved_ago)
        return base.with_columns(
            id=pl.lit(column), state=pl.lit("firing" if ended is None else "resolved"), evidence=pl.lit(f'{{"column": "{column}"}}'),
            resolved_at=pl.lit(ended, pl.Datetime("us")), **{k: pl.lit(labels.get(k), pl.String) for k in ("source", "symbol", "pair")},
        )  # fmt: skip

    found = pl.concat([
        anomaly("yahoo", None, "latency", 3, None), anomaly("binance", fit["pair"], "spread", 2),
        anomaly("binance", "BTCUSDT", "volume", 2), anomaly("binance", "ETHUSDT", "volume", 2),
        anomaly("binance", "ETHUSDT", "rsi_extreme", 21), anomaly("yahoo", "NVDA", "price_spike", 110, "1h"),
    ])  # fmt: skip
    alerts = pl.concat([
        alert("latency_p99_ms", 2, source="yahoo"), alert("zscore", pair=fit["pair"]),
        alert("volume_ratio", 20, source="binance", symbol="BTCUSDT"), alert("volume_ratio", source="other", symbol="ETHUSDT"),
    ])  # fmt: skip
    rows = abnormal.abnormal(replace(snap, anomalies=found, alerts=alerts))
    assert {(row["source"], row["symbol"], row["column"]) for row in rows if not row["is_alert"]} == {
        ("binance", "BTCUSDT", "volume"),
        ("binance", "ETHUSDT", "volume"),
        ("yahoo", "NVDA", "price_spike"),
    }
    assert sum(row["is_alert"] for row in rows) == 2


def test_events_since_the_digest_are_newest_first_and_many_pairs_are_one_line(lake):
    snap = take(lake[0], options())
    events = abnormal.since(snap, market.AT.replace(hour=14, minute=59))
    assert [e["at"] for e in events] == sorted((e["at"] for e in events), reverse=True)
    texts = " ".join(f"{e['who']} {e['text']}" for e in events)
    assert "resolved" in texts
    assert "pairs changed their verdict" in texts
    assert "gap of 4 min healed" in texts
    tiny = pl.when(pl.col("age") == 2).then(4e-7).otherwise(0.71).alias("p_max")
    pair = snap.fits.filter(pl.col("age") == 2, pl.col("is_cointegrated")).row(0, named=True)["pair"]
    changed = snap.fits.filter(pl.col("pair") == pair).with_columns(tiny, fitted_at=pl.lit(snap.at))
    changed = changed.with_columns(is_cointegrated=pl.col("age") == 2)
    (told,) = [
        e["text"] for e in abnormal.since(replace(snap, fits=changed), market.AT) if "lost" in e["text"]
    ]
    assert told == "lost cointegration (p < 0.0001 → 0.7100)"


def test_the_last_digest_is_read_off_the_newest_file(lake):
    snap = take(lake[0], options())
    snap.digests = ["2026-11-20T1500Z.html"]
    assert abnormal.last_digest(snap) == market.AT.replace(hour=15, minute=0, second=0)


def test_an_alert_has_a_page_that_tells_it_as_its_message_does_and_how_to_recompute_it(site):
    said = plain(site, "alerts/alert-btc-volume.html")
    assert (
        "BTCUSDT Volume 15m: 8.5× (352 vs 41.2 usual), since 2026-11-20 15:04 UTC. It fired at 15:21 and still"
        in said
    )
    assert "volume of each minute from 20 Nov 14:04 to 15:41 UTC" in said
    assert "Limit 3×" in said
    assert "Usual volume of this time of the session 41.2; there were 352" in said
    assert "Bar judged 2026-11-20 15:15:00 UTC, its open" in said
    assert "was over at 2026-11-20 15:10, after 20 h 39 min." in plain(site, "alerts/alert-tsla-old.html")
    assert "tapewatch explain alert-btc-volume" in said
    assert "FROM ohlcv JOIN indicators USING" in said
    assert "41.2" in said


@pytest.mark.capability("M5")
def test_a_pair_shows_every_statistic_and_its_verdict(lake, site):
    (tested,) = lake[0].execute("SELECT max(tested) FROM pair_stats").fetchone()
    told = plain(site, "pairs/index.html")
    assert f"correcting for all {tested} pairs of the scan" in told
    assert f"{number(0.05 * tested, 1)} of them would look cointegrated at 5 % by chance alone" in told
    said = plain(site, "pairs/binance-BTCUSDT~binance-ETHUSDT.html")
    for word in (
        "β, Theil-Sen",
        "Kalman",
        "Johansen",
        "Half-life",
        "Engle-Granger",
        "q over all pairs",
        "cointegrated",
    ):
        assert word in said


def test_the_alerts_page_tells_the_window_and_the_group_of_a_message_in_words(site):
    said = plain(site, "alerts/index.html")
    assert "BTCUSDT volume 15m 8.5×" in said
    assert "20 Nov 15:04 fired 15:21" in said
    assert "2,976 min" in said
    assert [group_name(key) for key in ("binance|high", "cross|high", "escalation|yahoo|critical", "digest", None)] == [
        "Binance, high", "Pairs over two venues, high", "Yahoo, critical, not acknowledged", "Digest", "–"
    ]  # fmt: skip
    assert "file Binance, critical ✓ sent" in said


def test_an_own_rule_on_a_small_quantity_keeps_its_digits(lake):
    snap = take(lake[0], options())
    row = snap.alerts.filter(pl.col("id") == "alert-eth-rsi").with_columns(
        rule=pl.lit("btc-move"),
        value=pl.lit(0.05968),
        threshold=pl.lit(0.004),
        interval=pl.lit("1m"),
        evidence=pl.lit('{"column": "ret_log"}'),
    )
    (shown,) = [found for found in abnormal.abnormal(replace(snap, alerts=row)) if found["is_alert"]]
    assert (shown["shown"], shown["usual"], shown["measure"]) == ("0.05968", "limit 0.004", "0.0597")
    assert shown["since"] == row["started_at"][0] - timedelta(minutes=1)


def test_the_cookbook_shows_answers_and_no_query_fails(site):
    said = plain(site, "sql/index.html")
    assert "The query failed" not in said
    assert "SELECT source, symbol, ts, price" in said
    assert re.search(r"8 of \d{2,} rows", said)
    assert "close, ret_log, volatility_20" in said
    assert "binance" in said


@pytest.mark.capability("UI-06")
def test_both_themes_and_paper_are_in_the_sheet(site):
    sheet = (site / "assets/site.css").read_text()
    assert "prefers-color-scheme: dark" in sheet
    assert "@media print" in sheet


def test_the_notice_of_the_chart_library_stands_on_each_page_with_a_chart(site):
    assert "TradingView" in (Path(site) / "assets/NOTICE.txt").read_text()
    assert "Apache License" in (site / "assets/LICENSE-lightweight-charts.txt").read_text()
    for path in ("symbols/binance-BTCUSDT.html", "pairs/binance-BTCUSDT~binance-ETHUSDT.html"):
        assert "Charts by TradingView" in (site / path).read_text()


def test_the_peak_of_a_spell_is_the_bar_with_the_largest_figure_shown():
    """A late bar of a thin minute can have the larger z and the smaller ratio."""
    rows = [
        {"id": "b", "ratio": 4.0, "zscore": 9.0, "ts": datetime(2026, 11, 20, 12, 1), "kind": "volume", "value": 40.0, "baseline": 10.0},
        {"id": "a", "ratio": 7.0, "zscore": 5.0, "ts": datetime(2026, 11, 20, 12, 0), "kind": "volume", "value": 70.0, "baseline": 10.0},
    ]  # fmt: skip
    named = pl.DataFrame(rows).with_columns(
        source=pl.lit("binance"), symbol=pl.lit("BTCUSDT"), interval=pl.lit("1m")
    )
    (spell,) = spells(named, {"1m": timedelta(minutes=1)})
    assert (spell["id"], spell["bars"], spell["from"].minute) == ("a", 2, 0)
    assert spells(named.clear(), {}) == []


def test_what_history_held_is_on_the_anomalies_page_worst_first(lake, tmp_path):
    peg = market.NOW - timedelta(days=1000)
    rows = pl.DataFrame(
        [("deep", 0.874, 0.998, 0.876, 0), ("less", 0.93, 0.998, 0.93, 90)], ["id", "value", "baseline", "ratio", "at"], orient="row"
    ).with_columns(
        source=pl.lit("kraken"), symbol=pl.lit("USDCUSD"), interval=pl.lit("1h"), kind=pl.lit("price_spike"),
        severity=pl.lit("critical"), zscore=pl.lit(-9.0), reason=pl.lit(""),
        ts=pl.lit(peg.replace(tzinfo=None)) + pl.duration(days=pl.col("at")),
    )  # fmt: skip
    found = gravest(rows, market.NOW)
    assert [row["worst_id"] for row in found] == ["deep", "less"]
    snap = take(lake[0], options())
    model = index_page(snap, [], found).model
    assert [(row["name"], row["what"]) for row in model["grave"]] == [("USDCUSD", "Price move 1h")] * 2
    text = render.html(index_page(snap, [], found), snap).decode()
    assert f"{peg:%Y-%m-%d %H:%M}" in text
    assert "−12.4 %" in text


def test_a_series_that_is_watched_no_more_cannot_be_late(lake):
    late = options(later=timedelta(hours=1))
    assert {feed.worst for feed in take(lake[0], late).feeds if feed.source == "binance"} == {"BTCUSDT"}
    some = options(later=timedelta(hours=1), watched={Series("binance", "ETHUSDT")})
    assert [(feed.source, feed.worst, feed.series) for feed in take(lake[0], some).feeds] == [
        ("binance", "ETHUSDT", 1)
    ]


def test_the_alerts_page_shows_every_rule_with_its_origin_end_and_silence(lake, tmp_path):
    soon = market.NOW + timedelta(hours=2)
    quiet = Silence("5117", "volume@binance:BTC*", "exchange <maintenance>", "ops", market.NOW, soon)
    rules = [
        RuleInForce("price", "abs(dev_20_pct) > 5"),
        RuleInForce("volume", "volume_ratio > 9", origin="alerts add", expires=soon, silences=[quiet]),
    ]
    publish(lake[0], tmp_path, options(rules=rules, silences=[quiet]))
    text = (tmp_path / "alerts/index.html").read_text()
    row = re.search(r"<tr><th scope=\"row\">volume<br>.*?</tr>", text)[0]
    assert "silenced until 20 Nov 17:42 on binance:BTC*" in row
    assert ">alerts add<" in row
    assert ">20 Nov 17:42<" in row
    assert "exchange &lt;maintenance&gt;" in text
    assert "tapewatch alerts unsilence 5117" in text
    firing = re.search(r"<table id=\"firing\".*?</table>", text)[0]
    assert firing.count("silenced until") == 1


def test_streams_stand_on_the_quality_page_with_what_ails_them(lake):
    line = {
        "state": "waiting",
        "reason": "silent for <60> s",
        "symbols": ["A", "B"],
        "frames": 7,
        "connections": 3,
    }
    source = {"dropped": 5, "problem": None, "receive_to_landed_ms": {"p99": 12.34}, "connections": [line]}

    def text_of(collection: dict) -> str:
        snap = take(lake[0], options(collection=collection))
        return render.html(quality.page(snap, pl.DataFrame(), pl.DataFrame()), snap).decode()

    shown = text_of({"state": "running", "reason": None, "sources": {"binance": source}})
    assert "silent for &lt;60&gt; s" in shown
    assert "12.3" in shown
    assert "collection was stopped by me" in text_of(
        {"state": "stopped", "reason": "collection was stopped by me", "sources": {}}
    )
    assert "Streams" not in text_of({"state": "absent", "reason": None, "sources": {}})


@pytest.mark.capability("OPS-06")
def test_the_runs_page_shows_the_figures_of_the_latency_view_and_of_each_stream(lake, site):
    text = (site / "runs/index.html").read_text()
    newest = lake[0].execute(
        "SELECT stage, p50_ms, p99_ms, max_ms, n FROM latency "
        "QUALIFY row_number() OVER (PARTITION BY stage ORDER BY seen_at DESC) = 1"
    )
    cells = (
        '</th><td class="num">{}</td><td class="num">{}</td><td class="num">{}</td><td class="num">{}</td>'
    )
    rows = newest.fetchall()
    for stage, p50, p99, most, n in rows:
        assert f">{stage}" + cells.format(*map(number, (p50, p99, most), (1, 1, 1)), n) in text.replace(
            " !", ""
        )
    assert text.count(">fetch</th>") == 1
    assert len(rows) == 5
    run, lag = (
        lake[0].execute("SELECT run_id, lag_s FROM runs ORDER BY scheduled_for DESC LIMIT 1").fetchall()[0]
    )
    line = next(row for row in text.split('id="runs"')[1].split("</tr>") if f'<tr id="{run}">' in row)
    assert f'<td class="num desk">{number(lag, 1)}</td>' in line
    stream = {
        "frames": 1234,
        "per_second": 20.56,
        "backlog": 78,
        "dropped": 9,
        "receive_to_landed_ms": {"p99": 3.21},
    }
    snap = take(
        lake[0],
        options(collection={"state": "running", "sources": {"binance": {**stream, "connections": []}}}),
    )
    shown = render.html(runs.page(snap), snap).decode().split("Throughput per stream")[1]
    figures = re.findall(r'<td class="num">(.*?)</td>', shown.split("</tr>")[1])
    assert figures == ["1234", "20.6", "78", "9", "3.2"]


def test_a_message_that_waits_after_a_failed_try_is_undelivered(lake):
    snap = take(lake[0], options())
    sent = snap.deliveries.filter(pl.col("state") == "sent")
    waits = sent.head(1).with_columns(
        state=pl.lit("queued"), attempts=pl.lit(1), last_error=pl.lit("refused")
    )
    fresh = waits.with_columns(attempts=pl.lit(0), last_error=pl.lit(None, pl.String))
    told = [
        overview.cards(replace(snap, deliveries=pl.concat([sent, more], how="vertical_relaxed")), [], [])[-1]
        for more in (waits, fresh)
    ]
    assert [card["note"] for card in told] == ["1 waiting after a failed try", "none undelivered"]
    assert [card["tone"] for card in told] == ["high", ""]


def test_a_gap_is_told_in_minutes_and_a_limit_is_not_called_usual(lake):
    rows = {row["rule"]: row for row in abnormal.abnormal(take(lake[0], options())) if row["rule"]}
    gap, rsi = rows["open-gap"], rows["rsi"]
    assert (gap["shown"], gap["usual"], gap["measure"]) == ("2,976 min", "–", "2,976 min")
    assert (rsi["shown"], rsi["usual"]) == ("74.2", "limit 70")


def test_what_was_only_imported_counts_for_nothing_on_the_overview(lake):
    coins = {Series("binance", name) for name in ("BTCUSDT", "ETHUSDT")}
    every, some = take(lake[0], options()), take(lake[0], options(watched=coins))
    model = overview.page(some).model
    assert {row["key"] for row in model["movers"]} == coins
    assert (model["symbols"], model["pair_count"]) == (2, 1)
    assert model["cards"][1]["of"] == "/ 1"
    assert {row["symbol"] for row in model["abnormal"] if not row["is_alert"]} <= {"BTCUSDT", "ETHUSDT"}
    assert model["anomaly_count"] < overview.page(every).model["anomaly_count"]
    assert {name for name, _ in model["matrix"]["names"]} == {str(key) for key in coins}
    only_history = overview.page(take(lake[0], options(watched=set()))).model
    assert len(only_history["movers"]) == 10


@pytest.mark.capability("UI-05", "PAIR-07")
def test_the_heatmap_holds_every_cell_of_the_matrix(lake, site):
    (cells,) = lake[0].execute("SELECT count(*) FROM correlations").fetchone()
    told = (site / "correlations/index.html").read_text()
    assert (
        told.count('<td class="self">') + len(re.findall(r'<td class="[^"]*" style="--a:', told)) == cells > 8
    )
    (corr,) = (
        lake[0]
        .execute(
            "SELECT corr FROM correlations WHERE (symbol_a, symbol_b) = ('binance:BTCUSDT', 'binance:ETHUSDT') AND interval = '1m'"
        )
        .fetchone()
    )
    assert f">{number(corr, 2)}</td>" in told


def test_correlations_say_how_many_bars_there_are_and_not_how_many_were_asked_for(lake):
    snap = take(lake[0], options())
    text = render.html(correlations.page(snap), snap).decode()
    assert re.findall(r"<h2>(1m returns, .*?)</h2>", text) == [
        "1m returns, 71 to 224 bars",
        "1m returns, 388 to 1,424 bars",
    ]


def test_a_source_that_is_behind_is_told_and_does_not_date_the_matrix(lake):
    snap = take(lake[0], options())
    old = snap.correlations.head(1).with_columns(
        symbol_a=pl.lit("aaa:OLD"), symbol_b=pl.lit("aaa:OLD"), as_of=pl.lit(datetime(2026, 11, 17, 15, 29)).cast(pl.Datetime("us"))
    )  # fmt: skip
    some = replace(snap, correlations=pl.concat([old, snap.correlations]))
    said = render.html(correlations.page(some), some).decode()
    assert said.count("2026-11-20 15:41:00 UTC, aaa only to 2026-11-17 15:29;") == 1
    assert "only to" not in render.html(correlations.page(snap), snap).decode()


def test_the_little_line_has_the_colour_of_the_change_beside_it(lake):
    for row in movers(take(lake[0], options())):
        change = row["ret_24h"]
        assert row["tone"] == (None if change is None else "down" if change < 0 else "up")


def test_a_check_that_saw_no_rows_is_not_called_passed():
    def note(*observed):
        return overview._passed([{"observed": text} for text in observed])

    assert note("0 of 0 rows", "0 of 0 rows") == "no rows to judge yet"
    assert note("0 of 0 rows", "0 of 9 rows") == "all pass, 1 on no rows"
    assert (note("0 of 9 rows"), note()) == ("all pass", "none ran yet")


def test_every_kind_of_anomaly_has_its_limit_on_the_methods_page(lake):
    limits = " ".join(label for label, _ in methods_page(take(lake[0], options())).model["limits"]).lower()
    assert [kind for kind in SEVERITY if kind_name(kind).lower() not in limits] == []


def test_a_run_that_prefect_knows_leads_to_its_page_there(lake):
    snap = take(lake[0], options())
    known = "0197f5a2-3c1b-7e44-9d5e-1f2a3b4c5d6e"
    named = pl.concat([snap.runs.head(2).with_columns(run_id=pl.Series([known, "cli-9f3c"]))])
    for url, links in (("http://127.0.0.1:4200", 1), (None, 0)):
        some = replace(snap, runs=named, options=options(prefect_url=url))
        text = render.html(runs.page(some), some).decode()
        assert text.count(f"http://127.0.0.1:4200/runs/flow-run/{known}") == links
        assert "flow-run/cli" not in text


def test_a_pair_shows_the_hedge_of_its_z_and_each_interval_in_one_line(site):
    said = plain(site, "pairs/binance-BTCUSDT~binance-ETHUSDT.html")
    assert re.search(r"β, least squares \d\.\d{4} β of the newest z, fitted before it \d\.\d{4} ", said)
    assert re.search(r"β, Theil-Sen \d\.\d{4}\s+its 95 % interval \d\.\d{4} to \d\.\d{4} ", said)


def test_a_page_says_as_of_when_its_figures_are(site):
    assert "As of 20 Nov 15:41" in plain(site, "symbols/binance-BTCUSDT.html")
    assert "checks pass, checked 20 Nov 15:42 UTC" in plain(site, "quality/index.html")
    for path in ("index.html", "quality/index.html", "runs/index.html"):
        assert "Worst lag at 15:42" in plain(site, path), path


def test_a_run_that_failed_counts_whatever_its_flow_and_times_are_the_minutes():
    at = datetime(2026, 11, 27, 12)
    rows = [
        {"flow": flow, "state": state, "started_at": at, "finished_at": at + timedelta(seconds=took),
         "rows_loaded": 5, "rows_quarantined": 0, "cpu_s": 1.0}
        for flow, state, took in (("minute", "Completed", 2), ("backfill", "Completed", 90), ("digest", "Crashed", 1))
    ]  # fmt: skip
    told = run_summary(pl.DataFrame(rows))
    assert (told["total"], told["completed"], told["failed"], told["word"]) == (3, 2, 1, "1 failed")
    assert told["median_s"] == 2.0
