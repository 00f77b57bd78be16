from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from urllib.error import HTTPError
from urllib.request import urlopen
from xml.etree import ElementTree

import jsonschema
import numpy as np
import orjson
import polars as pl
import pytest

from reports import api
from reports.pages.shell import pair_slug
from reports.site import publish
from tests.site import market
from tests.site.conftest import options, served
from warehouse import read

S = "binance-BTCUSDT"


def load(site, path):
    return orjson.loads((site / path).read_bytes())


def rows_of(con, sql):
    return orjson.loads(api.rows_json(read.frame(con, sql)))


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    with served(site) as found:
        yield found


def asked(address: str, path: object) -> dict:
    with urlopen(f"{address}/{path}") as reply:
        return orjson.loads(reply.read())


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("latest", marks=pytest.mark.capability("API-01")),
        pytest.param("ticks", marks=pytest.mark.capability("API-02")),
        pytest.param("ohlc", marks=[pytest.mark.capability("API-03"), pytest.mark.capability("API-06")]),
        pytest.param(
            "indicators", marks=[pytest.mark.capability("API-04"), pytest.mark.capability("API-07")]
        ),
        pytest.param("correlation", marks=pytest.mark.capability("API-08")),
        pytest.param("stats", marks=pytest.mark.capability("API-13")),
        pytest.param("pairs", marks=[pytest.mark.capability("API-09"), pytest.mark.capability("API-12")]),
    ],
)
def test_a_file_holds_exactly_the_rows_of_the_query_it_names(lake, site, address, kind):
    """Over HTTP; what is not there is a 404."""
    files = sorted((site / "api" / kind).rglob("*.json"))
    assert files
    for path in files:
        answer = asked(address, path.relative_to(site))
        assert answer["rows"] == rows_of(lake[0], answer["sql"]), path
        assert answer["rows"], path
        if "series_sql" in answer:
            assert answer["series"] == rows_of(lake[0], answer["series_sql"]), path
    with pytest.raises(HTTPError, match="404"):
        asked(address, f"api/{kind}/{'binance-NOPE/1m' if kind == 'ohlc' else 'binance-NOPE'}.json")


@pytest.mark.capability("API-09")
def test_a_pair_has_hedge_correlation_z_and_both_tests(lake, site):
    fits = lake[0].execute(
        "SELECT * FROM pair_stats QUALIFY fitted_at = max(fitted_at) OVER (PARTITION BY pair)"
    )
    names = [column[0] for column in fits.description]
    for row in fits.fetchall():
        stored = dict(zip(names, row, strict=True))
        (told,) = load(site, f"api/pairs/{pair_slug(stored)}.json")["rows"]
        numbers = (
            "beta_ols",
            "beta_theil_sen",
            "corr",
            "zscore",
            "eg_stat",
            "eg_p",
            "eg_stat_swapped",
            "p_max",
            "q_bh",
        )
        assert {name: told[name] for name in numbers} == {name: stored[name] for name in numbers}
        assert all(told[name] is not None for name in ("beta_ols", "corr", "eg_p", "reason"))


@pytest.mark.capability("API-10")
def test_a_pairs_rolling_correlation_is_a_file_of_its_series(lake, site):
    files = sorted((site / "api/pairs").glob("*.series.csv"))
    assert files
    for path in files:
        (pair,) = load(site, f"api/pairs/{path.name.removesuffix('.series.csv')}.json")["rows"]
        stored = lake[0].execute(
            "SELECT * FROM (SELECT ts, corr_roll FROM pair_series WHERE pair = ? ORDER BY ts DESC LIMIT 1000) ORDER BY ts",
            [pair["pair"]],
        )
        told = pl.read_csv(path, schema_overrides={"corr_roll": pl.Float64, "zscore": pl.Float64})
        rows = [(f"{ts:%Y-%m-%dT%H:%M:%SZ}", corr) for ts, corr in stored.fetchall()]
        assert list(told.select("ts", "corr_roll").iter_rows()) == rows
        assert told["corr_roll"].null_count() == 20


@pytest.mark.capability("API-11")
def test_a_pairs_least_squares_stand_beside_theil_sen(lake, site):
    files = sorted((site / "api/pairs").glob("*.robust.json"))
    assert files
    for path in files:
        answer = orjson.loads(path.read_bytes())
        assert answer["rows"] == rows_of(lake[0], answer["sql"])
        (row,) = answer["rows"]
        assert row["beta_difference"] == row["beta_theil_sen"] / row["beta_ols"] - 1
        assert row["is_ols_inside"] is (row["beta_lo"] <= row["beta_ols"] <= row["beta_hi"])


@pytest.mark.capability("API-05", "ALR-05")
def test_symbols_and_alerts_are_those_of_the_warehouse(lake, site, address):
    for path in ("api/symbols.json", "api/alerts.json", f"api/alerts/{S}.json", "api/alerts/yahoo-MSFT.json"):
        answer = asked(address, path)
        assert answer["rows"] == rows_of(lake[0], answer["sql"])
    assert S in load(site, "api/symbols.json")["slugs"]
    assert {row["id"] for row in load(site, f"api/alerts/{S}.json")["rows"]} == {
        "alert-btc-volume",
        "alert-btc-gap",
    }
    assert load(site, "api/alerts/yahoo-MSFT.json")["rows"] == []


@pytest.mark.capability("STO-07")
def test_the_newest_of_everything_is_a_view_and_its_file_says_until_when_it_holds(
    lake, site, own_lake, own_site
):
    con = lake[0]
    for view, of, key in (
        ("latest_price", "SELECT source, symbol, ts, close AS price, volume, known_at FROM bars", "source, symbol"),
        ("indicators_latest", "FROM indicators", "source, symbol, interval"),
        ("aggregated_latest", "SELECT d.* FROM aggregated_data AS d SEMI JOIN (SELECT source, symbol, interval, ts FROM calc.windows "
         "UNION ALL SELECT source, symbol, '1m', ts FROM bars) AS closed ON (d.source, d.symbol, d.window_name, d.window_start) = (closed.source, closed.symbol, closed.interval, closed.ts)", "source, symbol, window_name"),
    ):  # fmt: skip
        time = "window_start" if view == "aggregated_latest" else "ts"
        newest = (
            f"SELECT * FROM ({of}) QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {time} DESC) = 1"
        )
        rows = con.execute(f"FROM {view} ORDER BY {key}").fetchall()
        assert rows == con.execute(f"FROM ({newest}) ORDER BY {key}").fetchall()
        assert len(rows) > 5
    told = load(site, f"api/latest/{S}.json")
    assert told["generated_at"] == told["rows"][0]["known_at"]
    assert told["max_age_s"] == 180
    assert told["expires_at"] == f"{market.NEWEST + timedelta(minutes=1, seconds=180):%Y-%m-%dT%H:%M:%SZ}"
    publish(own_lake[0], own_site, options(later=timedelta(hours=7)), "minute")
    night = load(own_site, "api/latest/yahoo-AAPL.json")
    assert (night["rows"][0]["ts"], night["expires_at"]) == ("2026-11-20T15:41:00Z", "2026-11-23T14:33:00Z")


@pytest.mark.capability("API-01", "API-02")
def test_the_numbers_of_a_file_are_the_view_s_to_the_last_bit(lake, site):
    newest = load(site, f"api/latest/{S}.json")["rows"][0]
    price = lake[0].execute("SELECT price FROM latest_price WHERE symbol = 'BTCUSDT'").fetchall()[0][0]
    assert newest["price"] == price
    ticks = load(site, f"api/ticks/{S}.json")["rows"]
    last = "SELECT trade_id FROM trades WHERE symbol = 'BTCUSDT' ORDER BY trade_id DESC LIMIT 100"
    assert [(row["trade_id"],) for row in ticks] == lake[0].execute(last).fetchall()
    assert len(ticks) == 100


@pytest.mark.capability("API-13")
def test_statistics_are_those_of_the_closes_they_name(lake, site):
    (told,) = load(site, f"api/stats/{S}.json")["rows"]
    last = f"SELECT close FROM bars WHERE symbol = 'BTCUSDT' ORDER BY ts DESC LIMIT {told['lookback']}"
    closes = pl.Series([close for (close,) in lake[0].execute(last).fetchall()])
    assert (told["n"], told["min"], told["max"]) == (closes.len(), closes.min(), closes.max())
    assert (told["mean"], told["std"]) == pytest.approx((closes.mean(), closes.std()))


@pytest.mark.capability("API-02", "API-08", "API-12", "API-13")
def test_what_an_http_api_takes_as_parameters_a_macro_takes_as_arguments(lake, site):
    def told(sql):
        return lake[0].execute(sql).fetchall()

    ticks = told("SELECT trade_id FROM ticks_last('binance:btcusdt', 100)")
    assert ticks == [(row["trade_id"],) for row in load(site, f"api/ticks/{S}.json")["rows"]]
    (stats,) = load(site, f"api/stats/{S}.json")["rows"]
    names = ("n", "mean", "std", "min", "max", "volume", "return")
    (mine,) = told(f"SELECT {', '.join(names)} FROM stats('BTCUSDT', {stats['lookback']})")
    assert mine == pytest.approx([stats[name] for name in names])
    assert told("SELECT n FROM stats('BTCUSDT', 60, width := '5m')") == [(60,)]
    matrix = {(a, b): (corr, n) for a, b, corr, n in told("SELECT symbol_a, symbol_b, corr, n FROM corr_matrix(['btcusdt', 'binance:ETHUSDT'], 20)")}  # fmt: skip
    returns = told("""SELECT a.ret_log, b.ret_log FROM ohlcv AS a JOIN ohlcv AS b USING (source, interval, ts)
        WHERE a.symbol = 'BTCUSDT' AND b.symbol = 'ETHUSDT' AND interval = '1m' ORDER BY ts DESC LIMIT 20""")
    corr, n = matrix["binance:BTCUSDT", "binance:ETHUSDT"]
    assert (corr, n) == (pytest.approx(np.corrcoef(np.array(returns).T)[0, 1]), 20)
    assert [matrix[pair][0] for pair in sorted(matrix)] == [1.0, corr, pytest.approx(corr), 1.0]
    spread = told("SELECT * FROM spread('BTCUSDT', 'ETHUSDT', 100)")
    assert spread == told("FROM pair_series WHERE pair = 'binance:BTCUSDT~binance:ETHUSDT' AND interval = '1m' ORDER BY ts DESC LIMIT 100")  # fmt: skip
    assert len(spread) == 100


@pytest.mark.capability("API-03", "API-06", "API-15")
def test_csv_and_parquet_hold_the_same_rows_with_their_indicators(site):
    rows = load(site, f"api/ohlc/{S}/1m.json")["rows"]
    assert len(rows) == 1000
    parquet = pl.read_parquet(site / f"api/ohlc/{S}/1m.parquet")
    csv = pl.read_csv(site / f"api/ohlc/{S}/1m.csv")
    assert parquet["close"].to_list() == csv["close"].to_list() == [row["close"] for row in rows]
    assert parquet["rsi_14"].null_count() < 10
    assert {"sma_20", "zscore_20", "volume_ratio"} <= set(csv.columns)
    assert csv["ts"][0] == rows[0]["ts"]
    page = (site / f"symbols/{S}.html").read_text()
    assert all(f'href="../api/ohlc/{S}/1m.{kind}"' in page for kind in ("json", "csv", "parquet"))


@pytest.mark.capability("API-18")
def test_every_file_keeps_to_the_schema_the_catalogue_gives_it(site):
    catalogue = load(site, "api/index.json")
    checked = 0
    for entry in catalogue["files"]:
        pattern = entry["path"].replace("<S>", "*").replace("<A>~<B>", "*").replace("<interval>", "*")
        found = [path for path in site.glob(pattern) if path.name.count(".") == entry["path"].count(".")]
        assert found, entry["path"]
        if "schema" in entry:
            for path in found[:4]:
                jsonschema.validate(orjson.loads(path.read_bytes()), entry["schema"])
                checked += 1
    assert checked > 15
    assert S in catalogue["placeholders"]["S"]


def test_a_schema_refuses_a_file_that_lost_a_column(site):
    entry = next(e for e in load(site, "api/index.json")["files"] if e["path"] == "api/latest/<S>.json")
    answer = load(site, f"api/latest/{S}.json")
    del answer["rows"][0]["price"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, entry["schema"])


def test_the_manifest_knows_the_sha256_of_every_file(site):
    manifest = load(site, "manifest.json")["files"]
    there = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest) == there
    assert [path for path in there if sha256((site / path).read_bytes()).hexdigest() != manifest[path]] == []


def test_the_feed_is_atom_with_one_entry_an_alert(site):
    feed = ElementTree.parse(site / "alerts/feed.xml").getroot()
    atom = "{http://www.w3.org/2005/Atom}"
    ids = [entry.findtext(f"{atom}id") for entry in feed.findall(f"{atom}entry")]
    assert "urn:tapewatch:alert:alert-nvda-price" in ids
    assert len(ids) == len(set(ids)) == 5
    for entry in feed.findall(f"{atom}entry"):
        assert (site / "alerts" / entry.find(f"{atom}link").get("href")).is_file()
    assert "SIMULATED" in feed.findtext(f"{atom}title")
    said = [entry.findtext(f"{atom}summary") for entry in feed.findall(f"{atom}entry")]
    assert "BTCUSDT Volume 15m: 8.5× (352 vs 41.2 usual); rule volume, fired 2026-11-20 15:21:00 UTC" in said


def test_the_metrics_are_prometheus_text(site):
    text = (site / "metrics.prom").read_text()
    seen = set()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            name = line.split()[2]
            assert name not in seen
            seen.add(name)
        elif not line.startswith("#"):
            float(line.rsplit(" ", 1)[1])
            assert line.split("{")[0].split(" ")[0] == name
    assert 'tapewatch_lag_seconds{source="binance"} 6' in text
    assert {"tapewatch_alerts", "processing_latency_seconds", "tapewatch_gaps_open"} <= seen
