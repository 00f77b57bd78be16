"""Closed and open windows against an aggregation written a second time, in plain Python."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flows.trading_days import fill_sessions
from pipelines.derived import Plan
from pipelines.market import TRADE_SCHEMA, Interval
from pipelines.settings_sections import Windows
from pipelines.trade_minutes import OWN
from tests.lakes import NOTHING, Lake, bars_of, lake_like, new_lake
from warehouse.load import Batch, load_trades
from warehouse.trades import trade_minutes

INTERVALS = {"5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400}
SUNDAY = datetime(2026, 3, 8)
MINUTE = timedelta(minutes=1)
CLOSED = datetime(2026, 12, 24)
SESSIONS = [
    (datetime(2026, 3, 6, 14, 30), datetime(2026, 3, 6, 21)),
    (datetime(2026, 3, 9, 13, 30), datetime(2026, 3, 9, 20)),  # summer time began the day before
    (datetime(2026, 11, 25, 14, 30), datetime(2026, 11, 25, 21)),
    (datetime(2026, 11, 27, 14, 30), datetime(2026, 11, 27, 18)),  # half a day
]
NUMBER = count()
# Without shrinking: an example costs half a second of a real lake.
PROPERTY = settings(max_examples=2, deadline=None, phases=(Phase.explicit, Phase.generate),
                    suppress_health_check=(HealthCheck.function_scoped_fixture,))  # fmt: skip


@pytest.fixture(scope="module")
def with_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that knows New York's sessions; each test has its own: the files of others cost each of its queries."""
    folder = tmp_path_factory.mktemp("windows")
    made = new_lake(folder)
    fill_sessions(made.con, made.context, "XNYS", date(2026, 3, 1), date(2026, 12, 1))
    made.con.close()
    return folder


@pytest.fixture
def lake(with_sessions: Path, tmp_path: Path) -> Iterator[Lake]:
    made = lake_like(with_sessions, tmp_path, windows=Windows(intervals=tuple(INTERVALS)))
    yield made
    made.con.close()


def only(lake: Lake, *intervals: str) -> Plan:
    """The lake's plan for these intervals: what a test does not look at need not be derived."""
    return replace(lake.context.plan, intervals=tuple(map(Interval.parse, intervals)))


def fresh_source(lake: Lake, calendar: str) -> str:
    """A source that no other example has used."""
    name = f"w{next(NUMBER)}"
    lake.calendars[name] = calendar
    return name


def tape(minutes: list[datetime], seed: int, keep: float) -> dict[str, Any]:
    """Bars of a share of the minutes, in cents and whole units."""
    rng = np.random.default_rng(seed)
    kept = [ts for ts in minutes if rng.random() < keep] or minutes[:1]
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.002, len(kept)))), 2)
    opens = np.round(close * (1 + rng.normal(0, 0.001, len(kept))), 2)
    volume = rng.integers(0, 50, len(kept)).astype(float)
    return {
        "ts": kept, "open": opens, "close": close, "volume": volume,
        "high": np.maximum(opens, close) + 0.01, "low": np.minimum(opens, close) - 0.01,
        "turnover": np.round(volume * close, 2), "trades": rng.integers(1, 9, len(kept)),
    }  # fmt: skip


def spans_of(calendar: str, minutes: list[datetime]) -> list[tuple[datetime, datetime]]:
    if calendar == "XNYS":
        return SESSIONS
    days = sorted({ts.replace(hour=0, minute=0) for ts in minutes})
    return [(day, day + timedelta(days=1)) for day in days]


def windows_of(rows: list[dict[str, Any]], seconds: int, spans: list[tuple[datetime, datetime]]):
    """ts -> window, as a user with a pencil would make it."""
    width, found = timedelta(seconds=seconds), {}
    stamps = [row["ts"] for row in rows]
    before: tuple[datetime, float] | None = None
    for opens, closes in spans:
        for n in range(-(-(closes - opens) // width)):
            ts, end = opens + n * width, min(opens + (n + 1) * width, closes)
            inside = rows[bisect_left(stamps, ts) : bisect_left(stamps, end)]
            if inside:
                found[ts] = one_window(inside, ts, end, before, seconds)
                before = end, inside[-1]["close"]
    return found


def one_window(inside, ts, end, before, seconds) -> dict[str, Any]:
    closes = [row["close"] for row in inside]
    steps = [b - a for a, b in pairwise(closes)]
    logs = [math.log(b / a) for a, b in pairwise(closes)]
    volume, turnover = (sum(row[name] for row in inside) for name in ("volume", "turnover"))
    expected = (end - ts) // MINUTE
    halted = timedelta(days=5)
    joined = before and (before[0] == ts or (seconds == 86400 and ts - before[0] <= halted))
    return {
        "open": inside[0]["open"], "high": max(row["high"] for row in inside),
        "low": min(row["low"] for row in inside), "close": closes[-1], "volume": volume,
        "vwap": turnover / volume if volume else None, "turnover": turnover,
        "trades": sum(row["trades"] for row in inside), "minutes": len(inside), "minutes_expected": expected,
        "is_complete": len(inside) == expected, "ret_log": math.log(closes[-1] / before[1]) if joined else None,
        "std_dprice": stdev(steps) if len(steps) > 1 else None,
        "std_logret": stdev(logs) if len(logs) > 1 else None,
    }  # fmt: skip


def assert_same(found: pl.DataFrame, wanted: dict[datetime, dict[str, Any]]) -> None:
    assert found["ts"].sort().to_list() == sorted(wanted)
    for row in found.iter_rows(named=True):
        for name, value in wanted[row["ts"]].items():
            given = row[name]
            if value is None or given is None:
                close = value is given
            else:
                close = math.isclose(given, value, rel_tol=1e-9, abs_tol=1e-12)
            assert close, (row["interval"], row["ts"], name, row[name], value)


DAYS = {
    "24/7": [SUNDAY - timedelta(hours=5) + MINUTE * n for n in range(34 * 60)],
    "XNYS": [opens + MINUTE * n for opens, closes in SESSIONS for n in range((closes - opens) // MINUTE)],
}


@pytest.mark.capability("RES-01")
@pytest.mark.capability("RES-02")
@pytest.mark.parametrize("calendar", ["24/7", "XNYS"])
@settings(PROPERTY)
@given(seed=st.integers(0, 10_000), keep=st.sampled_from([0.05, 0.6, 0.995, 1.0]))
def test_every_window_is_what_a_pencil_makes_of_the_same_bars(
    lake: Lake, calendar: str, seed: int, keep: float
):
    source = fresh_source(lake, calendar)
    tapes = {symbol: tape(DAYS[calendar], seed + n, keep) for n, symbol in enumerate(("AAA", "BBB"))}
    lake.load(pl.concat(bars_of(rows, source, symbol) for symbol, rows in tapes.items()))
    lake.derive({source: CLOSED})
    shown = lake.frame(f"SELECT * FROM ohlcv WHERE source = '{source}'")
    for symbol, columns in tapes.items():
        rows = pl.DataFrame(columns).to_dicts()
        for interval, seconds in INTERVALS.items():
            found = shown.filter(pl.col("symbol") == symbol, pl.col("interval") == interval)
            assert_same(found, windows_of(rows, seconds, spans_of(calendar, columns["ts"])))


@pytest.mark.capability("ING-15")
def test_the_windows_of_an_exchange_begin_at_its_open_and_end_at_its_close(lake: Lake):
    source = fresh_source(lake, "XNYS")
    lake.load(bars_of(tape(DAYS["XNYS"], 1, 1.0), source))
    lake.derive({source: CLOSED}, only(lake, "1h", "4h", "1d"))
    four = lake.rows(
        f"SELECT ts, minutes, minutes_expected FROM ohlcv WHERE source = '{source}' AND interval = '4h' ORDER BY ts"
    )
    assert four == [
        (datetime(2026, 3, 6, 14, 30), 240, 240),
        (datetime(2026, 3, 6, 18, 30), 150, 150),
        (datetime(2026, 3, 9, 13, 30), 240, 240),
        (datetime(2026, 3, 9, 17, 30), 150, 150),
        (datetime(2026, 11, 25, 14, 30), 240, 240),
        (datetime(2026, 11, 25, 18, 30), 150, 150),
        (datetime(2026, 11, 27, 14, 30), 210, 210),
    ]
    days = lake.rows(
        f"SELECT ts, minutes, is_complete FROM ohlcv WHERE source = '{source}' AND interval = '1d' ORDER BY ts"
    )
    assert days == [(opens, (closes - opens) // MINUTE, True) for opens, closes in SESSIONS]
    hours = lake.rows(
        f"SELECT count(*), min(minutes) FROM ohlcv WHERE source = '{source}' AND interval = '1h' "
        "AND ts::DATE = '2026-11-27'"
    )
    assert hours == [(4, 30)]


@pytest.mark.capability("RES-02")
@pytest.mark.capability("RES-03")
def test_volumes_add_up_in_every_configured_window(lake: Lake):
    source = fresh_source(lake, "24/7")
    close = [100.0 + n for n in range(30)]
    volume = [0.2] * 5 + [0.4] * 5 + [0.6] * 5 + [1.0] * 15
    lake.load(bars_of({"ts": DAYS["24/7"][:30], "close": close, "volume": volume}, source))
    lake.derive({source: CLOSED}, only(lake, "5m", "15m", "30m"))
    fives, fifteens, thirties = (
        lake.rows(
            f"SELECT volume FROM ohlcv WHERE source = '{source}' AND interval = '{interval}' ORDER BY ts"
        )
        for interval in ("5m", "15m", "30m")
    )
    assert [round(volume, 9) for (volume,) in fives[:3]] == [1, 2, 3]
    assert round(fifteens[0][0], 9) == 6
    assert [round(volume, 9) for (volume,) in thirties] == [21]


@pytest.mark.capability("RES-04")
def test_the_average_price_is_weighted_by_volume_also_in_roll_ups(lake: Lake):
    source = fresh_source(lake, "24/7")
    price, qty = [100.0, 101.0, 99.0, 110.0], [10.0, 10.0, 10.0, 1.0]
    one = trade_frame(source, price, qty, [0.1, 0.2, 0.3, 0.4])
    load_trade_frame(lake, one)
    [(vwap,)] = lake.rows(f"SELECT vwap FROM ohlcv WHERE source = '{source}' AND interval = '1s'")
    assert vwap == pytest.approx(100.322581, abs=1e-6)
    other = fresh_source(lake, "24/7")
    turnover = [3110.0, 7392.0]
    lake.load(bars_of({"ts": DAYS["24/7"][:2], "close": [100.0, 102.0], "volume": [31.0, 72.0],
                       "turnover": turnover}, other))  # fmt: skip
    lake.derive({other: CLOSED}, only(lake, "5m"))
    rolled = lake.rows(f"SELECT vwap FROM ohlcv WHERE source = '{other}' AND interval = '5m'")
    assert rolled[0][0] == pytest.approx(101.96117, abs=1e-5)


def test_a_bar_without_turnover_does_not_thin_the_average_price(lake: Lake):
    source = fresh_source(lake, "24/7")
    rows = {
        "ts": DAYS["24/7"][:5],
        "close": [100.0] * 5,
        "volume": [2.0] * 5,
        "turnover": [200.0] * 4 + [None],
    }
    lake.load(bars_of(rows, source))
    lake.derive({source: CLOSED}, only(lake, "5m"))
    found = lake.rows(
        f"SELECT vwap, turnover, volume FROM ohlcv WHERE source = '{source}' AND interval = '5m'"
    )
    assert found == [(100.0, None, 10.0)]


def trade_frame(source: str, price: list[float], qty: list[float], seconds: list[float], symbol: str = "ABC"):
    rows = {
        "source": source, "symbol": symbol, "trade_id": range(1, len(price) + 1),
        "ts": [SUNDAY + timedelta(seconds=s) for s in seconds], "price": price, "qty": qty,
        "side": "buy", "fills": 1,
    }  # fmt: skip
    return pl.DataFrame(rows).select(pl.col(name).cast(kind) for name, kind in TRADE_SCHEMA.items())


def load_trade_frame(lake: Lake, trades: pl.DataFrame) -> None:
    source = trades["source"][0]
    batch = Batch(f"{source}-import-{next(NUMBER)}", source, "import", "run-1", SUNDAY, trades.height)
    load_trades(lake.con, lake.context.location, batch, trades, NOTHING, lake.calendars)


def load_their_minutes(lake: Lake, source: str) -> None:
    """The minutes of a source's trades as bars, as the flows load them."""
    bars = trade_minutes(lake.con, source, SUNDAY, SUNDAY + timedelta(hours=1), OWN)
    lake.load(bars, "stream", f"{source}-stream-{next(NUMBER)}{OWN}")


@pytest.mark.capability("RES-01")
def test_trades_become_seconds_and_minutes(lake: Lake):
    source = fresh_source(lake, "24/7")
    load_trade_frame(lake, trade_frame(source, [100, 105, 99, 101], [1, 2, 1, 5], [0.0, 0.4, 0.9, 1.0]))
    view = (
        f"SELECT interval, open, high, low, close, volume FROM ohlcv WHERE source = '{source}' "
        "AND interval IN ('1s', '1m') ORDER BY interval DESC, ts"
    )
    assert lake.rows(view) == [
        ("1s", 100, 105, 99, 99, 4), ("1s", 101, 101, 101, 101, 5), ("1m", 100, 105, 99, 101, 9),
    ]  # fmt: skip


@pytest.mark.capability("RES-06")
@settings(PROPERTY)
@given(
    ticks=st.lists(
        st.tuples(st.integers(0, 900_000), st.integers(9_000, 11_000), st.integers(1, 99)),
        min_size=1, max_size=200,
    )
)  # fmt: skip
def test_seconds_to_minutes_to_windows_equals_straight_from_the_trades(lake: Lake, ticks):
    source = fresh_source(lake, "24/7")
    ticks = sorted(ticks)
    trades = trade_frame(
        source, [p / 100 for _, p, _ in ticks], [float(q) for *_, q in ticks], [ms / 1000 for ms, *_ in ticks]
    )
    load_trade_frame(lake, trades)

    def rolled(fine: str, width: str) -> list[Any]:
        return lake.rows(
            f"SELECT time_bucket(INTERVAL '{width}', ts) AS bucket_ts, arg_min(open, ts), max(high), min(low), "
            f"arg_max(close, ts), sum(volume), round(sum(turnover), 6) FROM ohlcv WHERE source = '{source}' "
            f"AND interval = '{fine}' GROUP BY bucket_ts ORDER BY bucket_ts"
        )

    minutes = lake.rows(
        f"SELECT ts, open, high, low, close, volume, round(turnover, 6) FROM ohlcv WHERE source = '{source}' "
        "AND interval = '1m' ORDER BY ts"
    )
    assert rolled("1s", "1 minute") == minutes
    direct = lake.rows(
        "SELECT time_bucket(INTERVAL '5 minutes', ts) AS bucket_ts, arg_min(price, (ts, trade_id)), max(price), "
        "min(price), arg_max(price, (ts, trade_id)), sum(qty), round(sum(price * qty), 6) FROM trades "
        f"WHERE source = '{source}' GROUP BY bucket_ts ORDER BY bucket_ts"
    )
    assert rolled("1m", "5 minutes") == direct
    load_their_minutes(lake, source)
    lake.derive({source: CLOSED}, only(lake, "5m"))
    stored = (
        f"SELECT ts, open, high, low, close, volume, round(turnover, 6) FROM calc.windows WHERE source = '{source}' "
        "AND interval = '5m' ORDER BY ts"
    )
    assert lake.rows(stored) == direct


@pytest.mark.capability("RES-07")
def test_a_hundredfold_price_moves_the_dollar_volatility_and_not_the_relative_one(lake: Lake):
    found = []
    for scale in (1.0, 100.0):
        source = fresh_source(lake, "24/7")
        rows = tape(DAYS["24/7"][:60], 3, 1.0)
        scaled = {name: rows[name] * scale for name in ("open", "high", "low", "close")}
        lake.load(bars_of(rows | scaled, source))
        lake.derive({source: CLOSED}, only(lake, "1h"))
        found.append(lake.rows(
            f"SELECT std_logret, std_dprice FROM ohlcv WHERE source = '{source}' AND interval = '1h'"
        )[0])  # fmt: skip
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    assert found[1][1] == pytest.approx(100 * found[0][1], rel=1e-12)


@pytest.mark.capability("RES-08")
def test_one_late_bar_revises_its_window_and_the_return_that_starts_there(lake: Lake):
    source = fresh_source(lake, "24/7")
    rows = tape(DAYS["24/7"], 5, 1.0)
    whole = bars_of(rows, source)
    late = SUNDAY + timedelta(hours=12, minutes=7)
    lake.load(whole.filter(pl.col("ts") != late))
    lake.derive({source: CLOSED})
    stored = f"SELECT * EXCLUDE (run_id) FROM calc.windows WHERE source = '{source}' ORDER BY interval, ts"
    before = lake.frame(stored)
    lake.load(whole.filter(pl.col("ts") == late))
    lake.derive({source: CLOSED})
    after = lake.frame(stored)
    changed = after.join(before, on=after.columns, how="anti", nulls_equal=True)
    assert after.height == before.height
    held = pl.col("ts") <= late
    touched = changed.filter(held).group_by("interval").agg(pl.len(), pl.col("minutes").max())
    assert sorted(touched.rows()) == sorted(
        [("5m", 1, 5), ("15m", 1, 15), ("30m", 1, 30), ("1h", 1, 60), ("4h", 1, 240), ("1d", 1, 1440)]
    )
    assert changed.filter(~held).is_empty()
    for interval, seconds in INTERVALS.items():
        assert_same(
            after.filter(pl.col("interval") == interval),
            windows_of(pl.DataFrame(rows).to_dicts(), seconds, spans_of("24/7", rows["ts"])),
        )


def test_the_last_bar_of_a_window_changes_the_next_ones_return(lake: Lake):
    source = fresh_source(lake, "24/7")
    rows = {"ts": DAYS["24/7"][:15], "close": [100.0 + n for n in range(15)]}
    lake.load(bars_of(rows, source))
    lake.derive({source: CLOSED}, only(lake, "5m"))
    lake.load(bars_of({"ts": [rows["ts"][4]], "close": [50.0]}, source))
    found = lake.derive({source: CLOSED}, only(lake, "5m")).windows.filter(pl.col("interval") == "5m")
    assert found["ts"].sort().to_list() == [rows["ts"][0], rows["ts"][5]]
    assert lake.rows(
        f"SELECT round(exp(ret_log), 9) FROM ohlcv WHERE source = '{source}' AND interval = '5m' ORDER BY ts"
    ) == [(None,), (round(109 / 50, 9),), (round(114 / 109, 9),)]


@pytest.mark.capability("RES-08")
def test_one_late_trade_revises_one_row_of_each_width(lake: Lake):
    source = fresh_source(lake, "24/7")
    price = [100.0 + n % 7 for n in range(120)]
    whole = trade_frame(source, price, [1.0] * 120, [30.0 * n for n in range(120)])
    late = pl.col("trade_id") == 47  # the first of its minute: no close moves, so no return either
    load_trade_frame(lake, whole.filter(~late))
    load_their_minutes(lake, source)
    lake.derive({source: CLOSED}, only(lake, "5m", "15m"))
    shown = f"SELECT * FROM ohlcv WHERE source = '{source}'"
    before = lake.frame(shown)
    load_trade_frame(lake, whole.filter(late))
    load_their_minutes(lake, source)
    assert (
        lake.derive({source: CLOSED}, only(lake, "5m", "15m")).windows.height == 4
    )  # and the next, whose return begins there
    changed = lake.frame(shown).join(before, on=before.columns, how="anti", nulls_equal=True)
    at = SUNDAY + timedelta(minutes=23)
    assert sorted(changed.select("interval", "ts", "volume").rows()) == sorted(
        [("1s", at, 1.0), ("1m", at, 2.0), ("5m", SUNDAY + timedelta(minutes=20), 10.0),
         ("15m", SUNDAY + timedelta(minutes=15), 30.0)]
    )  # fmt: skip


@pytest.mark.capability("RES-05")
def test_an_open_window_is_shown_partial_and_closed_afterwards(lake: Lake):
    source = fresh_source(lake, "24/7")
    minutes = [SUNDAY + MINUTE * n for n in range(8)]
    whole = bars_of({"ts": minutes, "close": [100.0 + n for n in range(8)]}, source)
    lake.load(whole[:7])
    lake.derive({source: minutes[7]}, only(lake, "5m", "1d"))
    look = (
        f"SELECT ts, close, minutes, minutes_expected, is_complete FROM ohlcv WHERE source = '{source}' "
        "AND interval IN ('5m', '1d') ORDER BY interval, ts"
    )
    assert lake.rows(look) == [
        (SUNDAY, 106.0, 7, 1440, False),
        (SUNDAY, 104.0, 5, 5, True),
        (minutes[5], 106.0, 2, 5, False),
    ]
    lake.load(whole[7:])
    lake.derive({source: SUNDAY + 10 * MINUTE}, only(lake, "5m", "1d"))
    assert lake.rows(look)[1:] == [(SUNDAY, 104.0, 5, 5, True), (minutes[5], 107.0, 3, 5, False)]
    stored = f"SELECT ts, minutes FROM calc.windows WHERE source = '{source}' AND interval = '5m' ORDER BY ts"
    assert lake.rows(stored) == [(SUNDAY, 5), (minutes[5], 3)]


def test_a_run_that_comes_late_reopens_no_window(lake: Lake):
    source = fresh_source(lake, "24/7")
    whole = bars_of({"ts": [SUNDAY + MINUTE * n for n in range(4)], "close": [1.0, 2.0, 3.0, 4.0]}, source)
    lake.load(whole[:3], "backfill")
    for until in (4, 5):
        lake.derive({source: SUNDAY + MINUTE * until}, only(lake, "5m"))
    lake.load(whole[3:])
    lake.derive({source: SUNDAY + MINUTE * 4}, only(lake, "5m"))
    found = f"SELECT minutes, close, is_complete FROM ohlcv WHERE source = '{source}' AND interval = '5m'"
    assert lake.rows(found) == [(4, 4.0, False)]


def test_a_return_joins_neighbouring_minutes_only_in_the_view_as_in_the_indicators(lake: Lake):
    source = fresh_source(lake, "24/7")
    minutes = [SUNDAY, SUNDAY + MINUTE, SUNDAY + 3 * MINUTE]
    lake.load(bars_of({"ts": minutes, "close": [100.0, 101.0, 103.0]}, source))
    found = lake.rows(
        f"SELECT round(ret_log, 9) FROM ohlcv WHERE source = '{source}' AND interval = '1m' ORDER BY ts"
    )
    assert found == [(None,), (round(math.log(1.01), 9),), (None,)]


def test_a_window_of_seven_minutes_is_possible_too(tmp_path):
    lake = new_lake(tmp_path, windows=Windows(intervals=("7m",)))
    lake.load(bars_of({"ts": DAYS["24/7"][300:321], "close": [1.0] * 21}, "binance"))
    lake.derive({"binance": CLOSED}, only(lake, "7m"))
    found = lake.rows("SELECT ts, minutes FROM ohlcv WHERE interval = '7m' ORDER BY ts")
    assert found == [(SUNDAY + 7 * n * MINUTE, 7) for n in range(3)]
    lake.con.close()
