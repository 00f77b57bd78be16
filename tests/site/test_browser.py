"""The site as a browser shows it from file://: no server, no request, no error."""

import re
import shutil
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta

import polars as pl
import pytest

from reports import render
from reports.pages import correlations
from reports.pages.shell import NAVIGATION
from reports.site import publish
from reports.snapshot import take
from tests.lakes import copied
from tests.site import market
from tests.site.conftest import options
from warehouse.connect import connect

pytestmark = pytest.mark.browser
SYMBOL = "symbols/binance-BTCUSDT.html"
PAIR = "pairs/binance-BTCUSDT~binance-ETHUSDT.html"
INKED = """() => Array.from(document.querySelectorAll('.chart canvas')).map(c => {
  if (!c.width || !c.height) return 0;
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = new Set();
  for (let i = 0; i < d.length; i += 4 * 97) seen.add(d[i] + ',' + d[i + 1] + ',' + d[i + 2] + ',' + d[i + 3]);
  return seen.size;
})"""
STATE = "document.querySelector('.chart').dataset.state"


def drawn(page):
    page.wait_for_function(f"{STATE} === 'drawn'")
    page.clock.run_for(1500)
    page.wait_for_timeout(150)
    return page


def state(page):
    return page.locator("#age").get_attribute("data-state")


@pytest.mark.capability("UI-06")
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_is_quiet_and_fits_its_window(look, site, width):
    page = look(site, "index.html", width=width, scheme="light" if width == 390 else "dark")
    extra = [
        SYMBOL,
        PAIR,
        "symbols/binance-NEWUSDT.html",
        "alerts/alert-btc-volume.html",
        "anomalies/2026-11-20.html",
        "api/index.html",
    ]
    extra += [f"symbols/{path.name}" for path in (site / "symbols").glob("file-*.html")]
    for path in [path for path, _ in NAVIGATION] + extra:
        page.goto(f"file://{site / path}")
        page.clock.run_for(500)
        page.wait_for_timeout(60)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.title().endswith("SIMULATED DATA"), path
        assert page.faults == [], path


@pytest.mark.capability("UI-01")
@pytest.mark.capability("UI-03")
def test_candles_are_drawn_and_can_be_read_zoomed_and_panned(look, lake, site):
    page = drawn(look(site, SYMBOL))
    assert max(page.evaluate(INKED)) > 12
    shown = page.evaluate(
        "(() => { const d = document.querySelector('.chart').tw.data; return d.t.filter((_, i) => d.c.close[i] !== null); })()"
    )
    since = (
        f"SELECT epoch(ts)::BIGINT FROM bars WHERE symbol = 'BTCUSDT' AND epoch(ts) >= {shown[0]} ORDER BY ts"
    )
    assert shown == [ts for (ts,) in lake[0].execute(since).fetchall()]
    assert len(shown) > 1400
    span = "(() => { const r = document.querySelector('.chart').tw.chart.timeScale().getVisibleLogicalRange(); return [r.from, r.to]; })()"
    first = page.evaluate(span)
    page.get_by_role("button", name="1 h", exact=True).click()
    page.clock.run_for(200)
    hour = page.evaluate(span)
    assert hour[1] - hour[0] < first[1] - first[0]
    page.locator(".chart").focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.clock.run_for(200)
    assert page.evaluate(span)[0] < hour[0]
    page.keyboard.press("ArrowLeft")
    assert "UTC" in page.locator("#chartlive").text_content()
    assert "C 6" in page.locator("#chartlive").text_content()
    box = page.locator(".chart").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.clock.run_for(200)
    assert page.locator(".legend").first.text_content().startswith("1m")
    assert page.faults == []


@pytest.mark.capability("UI-01")
def test_a_stock_s_chart_goes_on_in_its_session_though_its_tail_began_the_day_before(
    look, three_days, tmp_path
):
    location, folder = (
        copied(three_days / "lake", tmp_path / "lake"),
        shutil.copytree(three_days / "site", tmp_path / "site"),
    )
    with closing(connect(location)) as con:
        newest = market.NEWEST + timedelta(minutes=1)
        market.add_minute(con, location, newest, close=233.75, symbol="AAPL")
        publish(con, folder, options(later=timedelta(minutes=1)), "minute")
    page = look(folder, "symbols/yahoo-AAPL.html", later_s=64)
    page.wait_for_function("Number(document.querySelector('.chart').dataset.bars) > 400")
    drawn(page)
    shown = page.evaluate(
        "(() => { const d = document.querySelector('.chart').tw.data;"
        " return [d.t, d.c.close.at(-1), d.c.close.length]; })()"
    )
    assert shown[0][-1] == newest.replace(tzinfo=UTC).timestamp()
    assert shown[0] == sorted(set(shown[0]))
    assert (shown[1], shown[2]) == (233.75, len(shown[0]))


@pytest.mark.capability("UI-01", "PAIR-10")
@pytest.mark.parametrize("kind", ["ohlc", "line", "area"])
def test_a_chart_can_be_of_other_types_and_widths(look, site, kind):
    page = drawn(look(site, SYMBOL))
    page.get_by_label("Chart type").select_option(kind)
    page.get_by_label("Bar width").select_option("15m")
    drawn(page)
    assert page.locator(".legend").first.text_content().startswith("15m")
    assert max(page.evaluate(INKED)) > 8
    page.get_by_role("button", name="MACD").click()
    assert page.locator(".legend").count() == 5
    assert page.faults == []


def test_a_layer_can_be_hidden_and_stays_hidden_after_a_reload(look, site):
    page = drawn(look(site, SYMBOL))
    assert "SMA 20" in page.locator(".legend").first.text_content()
    page.get_by_role("button", name="SMA 20").click()
    assert "SMA 20" not in page.locator(".legend").first.text_content()
    page.reload()
    drawn(page)
    assert "SMA 20" not in page.locator(".legend").first.text_content()


@pytest.mark.capability("UI-05", "PAIR-10")
def test_a_pair_shows_legs_spread_z_and_correlation(look, site):
    page = drawn(look(site, PAIR))
    titles = [text.strip() for text in page.locator(".legend b").all_text_contents()]
    assert [title.split(",")[0].split(" ")[0] for title in titles] == ["Legs", "Spread", "z-score", "Rolling"]
    assert max(page.evaluate(INKED)) > 12
    page.get_by_role("button", name="1 h", exact=True).click()
    assert page.faults == []


@pytest.mark.capability("UI-08")
def test_a_chart_with_too_few_bars_says_so(look, site):
    page = drawn(look(site, "symbols/binance-NEWUSDT.html"))
    said = " ".join(page.locator(".legend").all_text_contents())
    assert "12 of 20 bars" in said
    assert "12 of 15 bars" in said


def test_a_table_sorts_by_its_header_and_remembers(look, site):
    page = look(site, "symbols/index.html")
    last = "Array.from(document.querySelectorAll('#symbols tbody tr')).map(r => Number(r.cells[2].dataset.v))"
    page.locator("#symbols thead").get_by_role("button", name="Last").click()
    falling = page.evaluate(last)
    assert falling == sorted(falling, reverse=True)
    assert page.locator("#symbols th[aria-sort]").text_content() == "Last"
    page.locator("#symbols thead").get_by_role("button", name="Last").click()
    assert page.evaluate(last) == sorted(falling)
    page.reload()
    assert page.evaluate(last) == sorted(falling)


def test_a_table_can_be_filtered_from_the_keyboard(look, site):
    page = look(site, "symbols/index.html")
    page.keyboard.press("/")
    page.keyboard.type("binance btc")
    assert (
        page.evaluate(
            "Array.from(document.querySelectorAll('#symbols tbody tr')).filter(r => !r.hidden).length"
        )
        == 1
    )


@pytest.mark.capability("UI-06")
def test_the_theme_follows_the_system_and_the_toggle_wins(look, site):
    page = look(site, "index.html", scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != light
    page.goto(f"file://{site / SYMBOL}")
    drawn(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    page.clock.run_for(300)
    assert page.evaluate(ground) == light
    assert page.faults == []


def test_without_javascript_the_numbers_and_the_system_s_theme_are_there(look, site):
    page = look(site, SYMBOL, java_script_enabled=False)
    assert "64,000.00" in page.locator("main").text_content()
    assert page.locator(".chart noscript").count() == 1
    assert page.locator("#age").text_content().startswith("page of 2026-11-20 15:42")


@pytest.mark.capability("UI-09")
def test_the_age_runs_and_after_three_minutes_the_page_is_visibly_stale(look, site):
    page = look(site, "index.html")
    page.clock.run_for(1000)
    assert state(page) == "fresh"
    assert re.fullmatch(r"data 1\d s ago", page.locator("#age").text_content())
    assert not page.locator("#stale").is_visible()
    page.clock.run_for(175_000)
    assert state(page) == "stale"
    assert "stale" in page.locator("#age").text_content()
    assert "It was rendered 3 min ago, with binance to 15:42 UTC" in page.locator("#stale").text_content()
    assert page.locator("#stale").is_visible()


@pytest.mark.capability("UI-09")
def test_after_the_close_an_exchange_is_closed_and_does_not_turn_stale(look, lake, tmp_path):
    night = timedelta(hours=7)
    publish(lake[0], tmp_path, options(later=night), "full")
    page = look(tmp_path, "index.html", later_s=night.total_seconds() + 5)
    page.clock.run_for(1000)
    assert "The newest closed minute of binance is 7 h 0 min old" in page.locator("#stale").text_content()
    text = (tmp_path / "latest.js").read_text()
    (tmp_path / "latest.js").write_text(re.sub(r'\{"source":"binance".*?\},', "", text))
    page = look(tmp_path, "index.html", later_s=night.total_seconds() + 5)
    page.clock.run_for(600_000)
    assert state(page) == "closed"
    assert "markets closed" in page.locator("#age").text_content()
    assert not page.locator("#stale").is_visible()
    page.clock.set_fixed_time((market.NOW + timedelta(days=2, hours=23)).timestamp())
    page.clock.run_for(2000)
    assert state(page) == "stale"


@pytest.mark.capability("UI-10")
def test_a_new_render_shows_by_itself_unless_somebody_types(look, own_lake, own_site):
    (con, location), folder = own_lake, own_site
    page = look(folder, SYMBOL)
    page.clock.run_for(2500)
    market.add_minute(con, location, market.NEWEST + timedelta(minutes=1))
    publish(con, folder, options(later=timedelta(minutes=1)), "minute")
    for _ in range(40):
        page.clock.run_for(500)
        if "64,123.45" in page.locator("main").text_content():
            break
        time.sleep(0.05)
    assert "64,123.45" in page.locator("main").text_content()
    page.goto(f"file://{folder / 'symbols/index.html'}")
    page.clock.run_for(1000)
    page.keyboard.press("/")
    page.evaluate("window.kept = 'same document'")
    market.add_minute(con, location, market.NEWEST + timedelta(minutes=2), close=64_999.5)
    publish(con, folder, options(later=timedelta(minutes=2)), "minute")
    for _ in range(10):
        page.clock.run_for(1000)
        page.wait_for_timeout(20)
    assert page.evaluate("window.kept") == "same document"
    page.locator("input[type=search]").blur()
    page.clock.run_for(3000)
    page.wait_for_function("document.readyState === 'complete' && window.kept === undefined")
    assert "64,999.50" in page.locator("main").text_content()


def test_paper_gets_a_picture_of_the_chart_in_the_light_theme(look, site):
    page = drawn(look(site, SYMBOL))
    page.evaluate(
        "window.addEventListener('beforeprint', () => { window.saw = "
        "[document.querySelectorAll('.chart img.print').length, document.documentElement.dataset.theme]; })"
    )
    assert page.pdf().startswith(b"%PDF")
    assert page.evaluate("window.saw") == [1, "light"]
    assert page.locator(".chart img.print").count() == 0
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.faults == []


@pytest.mark.capability("UI-09")
def test_the_age_of_a_symbol_and_the_pill_are_of_one_clock(look, site):
    page = look(site, SYMBOL, later_s=59)
    page.clock.run_for(3000)
    age = page.locator("dd [data-age-to]").text_content()
    assert age.endswith(" s")
    assert page.locator("#age").text_content() == f"data {age} ago"


@pytest.mark.capability("UI-06")
def test_on_a_phone_tables_need_no_sideways_scroll_and_long_ones_are_folded(look, site):
    wide = "Array.from(document.querySelectorAll('main .scroll')).filter(e => e.scrollWidth > e.clientWidth + 1 && !e.querySelector('svg.tl, .heat')).map(e => e.textContent.slice(0, 40))"
    page = look(site, "quality/index.html", width=390)
    for path in (
        "quality/index.html",
        "anomalies/index.html",
        "pairs/index.html",
        "symbols/index.html",
        "index.html",
    ):
        page.goto(f"file://{site / path}")
        page.clock.run_for(500)
        assert page.evaluate(wide) == [], path
    page.goto(f"file://{site / 'anomalies/index.html'}")
    shown = "Array.from(document.querySelectorAll('#spells tbody tr')).filter(r => r.offsetHeight).length"
    assert page.evaluate(shown) == 12
    page.locator("#spells").locator("xpath=../following-sibling::button").click()
    assert page.evaluate(shown) > 12


@pytest.mark.capability("UI-06")
@pytest.mark.parametrize("width", [1100, 1280, 1600])
def test_on_a_desk_nothing_is_cut_at_a_panel_s_edge_nor_in_the_menu(look, site, width):
    cut = "Array.from(document.querySelectorAll('main .scroll, .nav')).filter(e => e.scrollWidth > e.clientWidth + 1).map(e => [e.textContent.slice(0, 40), e.scrollWidth - e.clientWidth])"
    page = look(site, "index.html", width=width)
    for path in (
        "index.html",
        "symbols/index.html",
        "symbols/binance-BTCUSDT.html",
        "symbols/yahoo-AAPL.html",
        "symbols/binance-NEWUSDT.html",
        "pairs/index.html",
        "alerts/index.html",
        "anomalies/index.html",
        "correlations/index.html",
        "quality/index.html",
        "runs/index.html",
    ):
        page.goto(f"file://{site / path}")
        page.clock.run_for(500)
        assert page.evaluate(cut) == [], path


@pytest.mark.capability("UI-05", "UI-06", "PAIR-07")
def test_on_a_phone_a_wide_matrix_keeps_its_figures_and_names_readable(look, lake, site_copy):
    snap = take(lake[0], options())
    twins = snap.correlations.with_columns(pl.col("symbol_a", "symbol_b") + "-B")
    some = replace(snap, correlations=pl.concat([snap.correlations, twins]))
    (site_copy / "correlations/index.html").write_bytes(render.html(correlations.page(some), some))
    page = look(site_copy, "correlations/index.html", width=390)
    cut = "Array.from(document.querySelectorAll('.heat td, .heat tbody th')).filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    assert page.locator(".heat td").count() > 18 * 18
    assert page.evaluate(cut) == []


def test_on_a_phone_the_legends_of_a_chart_stand_above_its_lines(look, site):
    page = drawn(look(site, PAIR, width=390))
    page.wait_for_function("document.querySelector('.legend').offsetHeight > 30")
    low = """() => { const c = document.querySelector('.chart').tw; return c.chart.panes().map((p, i) =>
      [c.legends[i].offsetHeight, c.chart.priceScale('right', i).options().scaleMargins.top * p.getHeight()]); }"""
    page.wait_for_timeout(100)
    assert all(legend <= room for legend, room in page.evaluate(low))


def test_no_line_of_the_cookbook_runs_under_its_button(look, site):
    page = look(site, "sql/index.html")
    cut = (
        "Array.from(document.querySelectorAll('.code pre')).filter(p => p.scrollWidth > p.clientWidth).length"
    )
    assert page.evaluate(cut) == 0
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate(cut) == 0
