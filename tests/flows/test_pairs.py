"""Pairs from bars to rows, alerts and messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from flows.cli.explain_anomaly import explain_anomaly
from flows.cli.explain_pair import explain_pair, newest_fit
from flows.cli.lake import rows
from flows.pair_universe import MOST_KEPT, kept, universe
from flows.pairs import most_stretched, run_pairs
from pipelines.analytics.examine import ScanParams, examine
from pipelines.analytics.panels import panels, wide
from pipelines.settings_alerts import Channel
from reports.options import SiteOptions
from reports.site import publish
from tests.warehouse.conftest import MINUTE, NOON, Lake, aware, bars
from warehouse.connect import transaction
from warehouse.errors import TapewatchError
from warehouse.stage import literals

BARS = 600
START = NOON - BARS * MINUTE


def walks(kick: float = 0.0, count: int = BARS) -> dict[str, np.ndarray]:
    """Log prices: BTC wanders, ETH hangs on it, SOL wanders alone; `kick` is added to ETH's last bar."""
    rng = np.random.default_rng(42)
    btc, sol = (4.0 + np.cumsum(rng.normal(0, 1e-3, count)) for _ in range(2))
    loose = np.zeros(count)
    for i, shock in enumerate(rng.normal(0, 1e-3, count - 1)):
        loose[i + 1] = 0.7 * loose[i] + shock
    eth = 0.9 * btc + loose
    eth[-1] += kick
    return {"BTCUSDT": np.exp(btc), "ETHUSDT": np.exp(eth), "SOLUSDT": np.exp(sol)}


def load(
    lake: Lake, prices: dict[str, np.ndarray], start: datetime = START, source: str = "binance", **kind
) -> None:
    frames = [bars(symbol, start, len(close), close, source=source) for symbol, close in prices.items()]
    lake.load(pl.concat(frames), f"{source}-rest-{start:%d%H%M}-{len(frames)}", **kind)


def polled(lake: Lake, clock: datetime = NOON) -> None:
    """The source answered at `clock`: its rows are live."""
    with transaction(lake.con, lake.location):
        row = (None, "r", clock, "binance", clock)
        lake.con.execute(f"INSERT INTO core.derived VALUES {literals(row)}")


def run(lake: Lake, run_id: str = "run-p", now: datetime = NOON):
    return run_pairs(lake.context, lake.con, run_id, aware(now), aware(now))


@pytest.mark.capability("PAIR-08", "PAIR-09")
def test_a_planted_pair_is_found_and_a_lone_walk_is_not(lake):
    load(lake, walks())
    done = run(lake)
    found = lake.rows("SELECT pair, is_cointegrated, n, fitted_at FROM pair_stats ORDER BY pair")
    assert [row[:2] for row in found] == [
        ("binance-BTCUSDT~binance-ETHUSDT", True),
        ("binance-BTCUSDT~binance-SOLUSDT", False),
        ("binance-ETHUSDT~binance-SOLUSDT", False),
    ]
    assert {row[2:] for row in found} == {(BARS, NOON - MINUTE)}
    assert (done.pairs, done.cointegrated, done.as_of) == (3, 1, aware(NOON - MINUTE))
    assert [row["pair"] for row in most_stretched(lake.con, "run-p")] == ["binance-BTCUSDT~binance-ETHUSDT"]
    assert run(lake, "run-without-a-new-bar").pairs == 0
    assert most_stretched(lake.con, "run-without-a-new-bar") == []
    assert lake.rows("SELECT flow, state, rows_in, scheduled_for FROM runs ORDER BY rows_in DESC") == [
        ("pairs", "Completed", 3, NOON),
        ("pairs", "Completed", 0, NOON),
    ]


@pytest.mark.capability("PAIR-05", "PAIR-06")
def test_the_series_ends_in_the_fits_z(lake):
    load(lake, walks())
    run(lake)
    same = lake.rows("""
        SELECT s.zscore, f.zscore, s.corr_roll IS NOT NULL FROM pair_series AS s JOIN pair_stats AS f USING (pair, interval)
        WHERE s.ts = f.fitted_at""")
    assert len(same) == 3
    assert all(mine == pytest.approx(other) and corr for mine, other, corr in same)
    assert lake.one("SELECT count(*) FROM pair_series") == 3 * BARS


def test_nothing_new_means_nothing_to_do(lake):
    load(lake, walks())
    run(lake)
    assert run(lake, "run-2").pairs == 0
    assert lake.one("SELECT count(*) FROM pair_stats") == 3
    assert lake.one("SELECT count(*) FROM pair_series") == 3 * BARS


def test_a_new_bar_adds_a_fit_and_a_point_and_keeps_the_history(lake):
    longer = walks(count=BARS + 1)
    load(lake, {name: close[:-1] for name, close in longer.items()})
    run(lake)
    load(lake, {name: close[-1:] for name, close in longer.items()}, start=NOON)
    run(lake, "run-2", NOON + MINUTE)
    assert lake.rows("SELECT fitted_at, count(*) FROM pair_stats GROUP BY ALL ORDER BY 1") == [
        (NOON - MINUTE, 3),
        (NOON, 3),
    ]
    newest = lake.rows("SELECT pair, max(ts), count(*) - count(DISTINCT ts) FROM pair_series GROUP BY pair")
    assert {row[1:] for row in newest} == {(NOON, 0)}


@pytest.mark.capability("PAIR-05")
def test_a_corrected_price_takes_its_spreads_with_it_and_the_next_fit_brings_the_right_ones(lake):
    right = walks()
    wrong = {name: close.copy() for name, close in right.items()}
    wrong["ETHUSDT"][-30:-20] *= 1.06
    newest = "SELECT pair, max(ts), max(abs(zscore)) FROM pair_series GROUP BY pair ORDER BY pair"
    load(lake, wrong)
    run(lake)
    assert lake.rows(newest)[0][2] > 20
    busier = bars("ETHUSDT", START, BARS, wrong["ETHUSDT"]).with_columns(volume=pl.col("volume") + 1.0)
    lake.load(busier, "binance-rest-busier")
    assert {ts for _, ts, _ in lake.rows(newest)} == {NOON - MINUTE}
    load(lake, {"ETHUSDT": right["ETHUSDT"]})
    kept = {pair: (ts, z < 10) for pair, ts, z in lake.rows(newest)}
    assert kept == {
        "binance-BTCUSDT~binance-ETHUSDT": (NOON - 31 * MINUTE, True),
        "binance-BTCUSDT~binance-SOLUSDT": (NOON - MINUTE, True),
        "binance-ETHUSDT~binance-SOLUSDT": (NOON - 31 * MINUTE, True),
    }
    assert run(lake, "run-2").pairs == 2
    assert run(lake, "run-3").pairs == 0
    assert lake.rows("SELECT count(*), count(DISTINCT pair) FROM pair_stats") == [(3, 3)]
    mended = lake.rows("FROM pair_series ORDER BY ALL")
    with transaction(lake.con, lake.location):
        lake.con.execute("DELETE FROM calc.pair_series; DELETE FROM calc.pair_stats")
    run(lake, "run-4")
    for mine, whole in zip(mended, lake.rows("FROM pair_series ORDER BY ALL"), strict=True):
        assert mine[:3] == whole[:3]
        assert mine[3:] == pytest.approx(whole[3:], nan_ok=True)


@pytest.mark.capability("PAIR-07")
def test_correlations_are_symmetric_with_one_on_the_diagonal(lake):
    load(lake, walks())
    run(lake)
    rows = lake.rows("SELECT symbol_a, symbol_b, corr FROM correlations WHERE interval = '1m'")
    by_pair = {(a, b): corr for a, b, corr in rows}
    assert len(by_pair) == len(rows) == 9
    for (a, b), corr in by_pair.items():
        assert corr == pytest.approx(by_pair[b, a])
        assert a != b or corr == 1.0


@pytest.mark.capability("PAIR-07")
def test_a_pairs_correlation_is_that_of_the_matrix_over_a_night_and_a_hole(lake):
    nights = ((START - 400 * MINUTE, slice(400)), (START + 200 * MINUTE, slice(400, 800)))
    frames = [
        bars(symbol, start, 400, close[part], source="yahoo")
        for symbol, close in walks(count=800).items()
        for start, part in nights
    ]
    hole = (pl.col("symbol") == "SOLUSDT") & (pl.col("ts") == START + 300 * MINUTE)
    lake.load(pl.concat(frames).filter(~hole), "yahoo-rest-night")
    run(lake)
    both = lake.rows("""
        SELECT p.corr, c.corr, c.n FROM pair_stats AS p JOIN correlations AS c
          ON c.interval = p.interval AND c.symbol_a = 'yahoo:' || p.symbol_y AND c.symbol_b = 'yahoo:' || p.symbol_x
        ORDER BY pair""")
    assert [n for *_, n in both] == [BARS - 2, BARS - 4, BARS - 4]
    assert all(own == pytest.approx(of_matrix, rel=1e-9) for own, of_matrix, _ in both)


@pytest.mark.capability("IND-10")
def test_statistics_of_a_symbol_are_those_of_its_last_sixty_closes(lake):
    prices = walks()
    load(lake, prices)
    run(lake)
    last = prices["BTCUSDT"][-60:]
    (row,) = lake.rows(
        "SELECT mean, std, min, max, volume, return, n FROM symbol_stats WHERE symbol = 'BTCUSDT' AND lookback = 60"
    )
    wanted = (last.mean(), last.std(ddof=1), last.min(), last.max(), 600.0, last[-1] / last[0] - 1, 60)
    assert row == pytest.approx(wanted)


def test_a_night_makes_no_return(lake):
    """Two sessions of ten minutes: the step from one to the other is no one-minute return."""
    rng = np.random.default_rng(1)
    for day, level in ((0, 100.0), (1, 900.0)):
        for symbol in ("SPY", "AAPL"):
            close = level * np.exp(np.cumsum(rng.normal(0, 1e-3, 15)))
            lake.load(bars(symbol, NOON + timedelta(days=day), 15, close, source="yahoo"))
    run(lake)
    assert (
        lake.rows("SELECT n FROM correlations WHERE interval = '1m' AND symbol_a <> symbol_b") == [(28,)] * 2
    )
    assert (
        abs(lake.one("SELECT corr FROM correlations WHERE interval = '1m' AND symbol_a <> symbol_b LIMIT 1"))
        < 0.9
    )


def test_a_stretched_pair_fires_and_its_message_is_in_the_outbox(lake):
    context = replace(
        lake.context,
        settings=replace(lake.context.settings, channels=(Channel("ops", "slack"), Channel("disk", "file"))),
    )
    load(lake, walks(kick=0.03))
    polled(lake)
    done = run_pairs(context, lake.con, "run-p", aware(NOON))
    assert lake.rows("SELECT rule, pair, state, severity FROM alerts") == [
        ("spread", "binance-BTCUSDT~binance-ETHUSDT", "firing", "high")
    ]
    assert lake.rows("SELECT channel, state FROM deliveries") == [("ops", "queued")]
    assert (done.alerts, done.messages) == (1, 1)


@pytest.mark.capability("ANO-07")
def test_a_stretched_pair_is_an_anomaly_that_explain_recomputes(lake):
    load(lake, walks(kick=0.03))
    run(lake)
    (row,) = rows(lake.con, "SELECT * FROM anomalies")
    assert (row["kind"], row["symbol"], row["ts"]) == (
        "spread",
        "binance-BTCUSDT~binance-ETHUSDT",
        NOON - MINUTE,
    )
    assert (row["severity"], abs(row["value"]) > 2) == ("high", True)
    told = explain_anomaly(lake.con, lake.context, row)
    assert told.as_json()["equal"], told.checks
    assert {check.number for check in told.checks} == {"value", "baseline", "ratio", "zscore"}
    assert len(told.sample) == 20
    assert "SELECT y.ts" in told.sql


def test_a_correlation_that_breaks_is_an_anomaly_on_the_pages_that_explain_recomputes(lake, tmp_path):
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 1e-3, (3, BARS))
    steps[1] = 0.9 * steps[0] + 0.3 * steps[1]
    steps[1, -60:] = rng.normal(0, 1e-3, 60)
    prices = {
        f"{name}USDT": np.exp(4 + np.cumsum(row)) for name, row in zip(("A", "B", "C"), steps, strict=True)
    }
    load(lake, prices)
    run(lake)
    (row,) = rows(lake.con, "SELECT * FROM anomalies")
    assert (row["kind"], row["symbol"], row["severity"]) == (
        "corr_break",
        "binance-AUSDT~binance-BUSDT",
        "medium",
    )
    assert (abs(row["value"]) < 0.3, row["baseline"] > 0.9, row["zscore"] < -5) == (True, True, True)
    assert "over the newest 60 returns" in row["reason"]
    assert "over the 539 before them" in row["reason"]
    options = SiteOptions(now=aware(NOON), simulated=True, run_id="run-p")
    publish(lake.con, tmp_path / "site", options, "full")
    listed = (tmp_path / "site/anomalies/index.html").read_text()
    assert "Correlation break 1m" in listed
    assert 'pairs/binance-AUSDT~binance-BUSDT.html">AUSDT / BUSDT<' in listed
    told = explain_anomaly(lake.con, lake.context, row)
    assert told.as_json()["equal"], told.checks
    one, other = (np.diff(np.log(prices[f"{leg}USDT"])) for leg in "AB")
    assert row["value"] == pytest.approx(spearmanr(one[-60:], other[-60:]).statistic, rel=1e-12)
    assert row["baseline"] == pytest.approx(spearmanr(one[:-60], other[:-60]).statistic, rel=1e-12)
    load(lake, {name: close[-1:] * 1.0001 for name, close in prices.items()}, start=NOON)
    run(lake, "run-2", NOON + MINUTE)
    assert lake.one("SELECT count(*) FROM anomalies") == 1


def test_history_that_nobody_polls_fires_nothing(lake):
    load(lake, walks(kick=0.03), source="elsewhere", kind="import")
    assert run(lake).alerts == 0
    assert lake.one("SELECT count(*) FROM pair_stats WHERE is_cointegrated") == 1


def test_two_venues_are_paired_only_when_asked(lake):
    load(lake, {"BTCUSDT": walks()["BTCUSDT"]})
    load(lake, {"BTC-USD": walks()["ETHUSDT"]}, source="coinbase")
    assert run(lake).pairs == 0
    frame = pl.DataFrame({"source": ["binance", "coinbase"], "symbol": ["BTCUSDT", "BTC-USD"]})
    assert universe("same-source", frame) == []
    assert universe("all", frame) == [("binance:BTCUSDT", "coinbase:BTC-USD")]
    assert universe([("BTC-USD", "binance:BTCUSDT"), ("BTC-USD", "GONE")], frame) == [
        ("coinbase:BTC-USD", "binance:BTCUSDT")
    ]


def test_a_leg_that_two_sources_have_must_be_named_with_its_source():
    frame = pl.DataFrame({"source": ["binance", "kraken"], "symbol": ["BTC", "BTC"]})
    with pytest.raises(TapewatchError, match="BTC is ambiguous: write one of binance:BTC, kraken:BTC"):
        universe([("BTC", "binance:BTC")], frame)


def test_of_a_large_universe_every_pair_is_tested_and_the_most_traded_and_the_found_are_kept(caplog):
    symbols, rng = [f"S{i:03}" for i in range(100)], np.random.default_rng(1)
    closes = np.exp(rng.normal(0, 1e-3, size=(400, 100)).cumsum(axis=0))
    closes[:, 1] = closes[:, 0] * np.exp(rng.normal(0, 1e-3, 400))
    frame = pl.DataFrame({"source": "binance", "symbol": symbols, "close": 1.0, "volume": range(100)})
    pairs = universe("same-source", frame)
    assert len(pairs) == 4950
    table = pl.DataFrame({f"binance:{name}": closes[:, i] for i, name in enumerate(symbols)})
    scan = examine(
        table.with_columns(ts=pl.datetime_range(START, NOON, "1m", eager=True)[:400]), pairs, ScanParams()
    )
    rows = kept("same-source", frame, scan)
    named = {scan.pairs[i] for i in rows}
    assert 1_500 < len(named) <= MOST_KEPT + scan.found.sum()
    assert {("binance:S098", "binance:S099"), ("binance:S000", "binance:S001")} <= named
    assert ("binance:S002", "binance:S003") not in named
    assert scan.tested == 4950
    assert "Name the ones you want in [pairs] universe" in caplog.text


@pytest.mark.capability("M5")
def test_a_closed_market_counts_among_the_pairs_tested_and_makes_no_new_row(lake):
    longer = walks(count=BARS + 1)
    load(lake, {name: close[:-1] for name, close in longer.items()})
    load(lake, {"SPY": longer["BTCUSDT"][:-1], "QQQ": longer["SOLUSDT"][:-1]}, source="yahoo")
    run(lake)
    load(lake, {name: close[-1:] for name, close in longer.items()}, start=NOON)
    run(lake, "run-2", NOON + MINUTE)
    rows = lake.rows(
        "SELECT fitted_at, source_y, count(*), any_value(tested) FROM pair_stats GROUP BY ALL ORDER BY ALL"
    )
    assert rows == [(NOON - MINUTE, "binance", 3, 4), (NOON - MINUTE, "yahoo", 1, 4), (NOON, "binance", 3, 4)]
    reason = lake.one(
        "SELECT reason FROM pair_stats WHERE fitted_at = (SELECT max(fitted_at) FROM pair_stats) LIMIT 1"
    )
    assert "4 pairs tested" in reason


def test_the_scan_reads_each_series_own_newest_bars(lake):
    """A series that trades one minute in two has as many closes as one that trades every minute."""
    thin = bars("THIN", START, 300, 5.0).with_columns(
        ts=pl.Series([START + 2 * i * MINUTE for i in range(300)])
    )
    lake.load(thin)
    load(lake, {"BTCUSDT": walks()["BTCUSDT"]})
    run(lake)
    frame = pl.DataFrame(lake.con.sql("SELECT source, symbol, ts, close FROM bars"))
    (common,) = panels(wide(frame), [("binance:BTCUSDT", "binance:THIN")], BARS)
    assert lake.rows("SELECT n, state FROM pair_stats") == [(len(common.ts), "untested")]


@pytest.mark.capability("M5")
def test_a_verdict_is_explained_by_the_stored_rows(lake):
    load(lake, walks())
    run(lake)
    row = newest_fit(lake.con, "binance-BTCUSDT~binance-ETHUSDT")
    told = explain_pair(lake.con, lake.context, row)
    assert "cointegrated: p" in told.headline
    assert "3 pairs tested" in told.headline
    numbers = {check.number: check for check in told.checks}
    assert {"eg_stat", "p_max", "beta_theil_sen", "half_life_bars", "zscore", "holdout_p"} <= set(numbers)
    assert {"q_bh", "adf_p_y", "adf_p_x"} <= set(numbers)
    assert told.facts["run_id"] == "run-p"
    for check in told.checks:
        assert check.recomputed == pytest.approx(check.stored, rel=1e-12), check.number
    with pytest.raises(TapewatchError, match="did you mean binance-BTCUSDT~binance-ETHUSDT"):
        newest_fit(lake.con, "binance-BTCUSDT~binance-ETHUSD")
