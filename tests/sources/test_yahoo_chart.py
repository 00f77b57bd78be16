"""Yahoo's chart becomes bars: its oddities left out, its float32 prices back as they were traded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.market import BAR_SCHEMA
from pipelines.sources.yahoo_chart import charts_to_bars, undo_float32
from tests.sources.venues import LATER, OPEN, OPEN_S, chart, minute, reply, yahoo_error

BEFORE = (-60, 99.0, 0)
"""A pre-market row, as every request begins a little before the minutes it is for."""


def yahoo(body: Any, symbol: str = "AAPL", status: int = 200, **params: Any) -> Any:
    asked = {name: str(value) for name, value in params.items()}
    return reply(body, symbol, "yahoo", status, f"/v8/finance/chart/{symbol}", asked)


def test_a_row_is_a_bar_without_turnover_and_trades():
    parsed = charts_to_bars([yahoo(chart([BEFORE, (0, 100.25, 900)]))], LATER)
    assert parsed.bars.schema == pl.Schema(BAR_SCHEMA)
    assert parsed.bars.rows() == [
        ("yahoo", "AAPL", minute(0), 100.25, 100.25, 100.25, 100.25, 900.0, None, None, "yahoo", True)
    ]
    assert parsed.rejects.is_empty()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ((96, 100.0, 0), "the live tail is off the minute"),
        ((390 * 60, 100.0, 0), "the last trade of the day sits at the session's end"),
        ((-120, 100.0, 50), "before the session"),
        ((500 * 60, 100.0, 50), "after the session"),
        ((120, None, None), "a null row has no data yet"),
        ((120, 100.0, None), "nor has one with a null volume"),
        ((300, 100.0, 50), "past the end asked for"),
    ],
)
def test_what_is_no_bar_is_left_out_without_a_reject(row: tuple[int, Any, Any], why: str):
    body = chart([BEFORE, (0, 100.0, 900), row])
    parsed = charts_to_bars([yahoo(body, period2=OPEN_S + 300)], LATER)
    assert parsed.bars["ts"].to_list() == [minute(0)], why
    assert parsed.rejects.is_empty()
    assert parsed.failures == []


def test_minutes_that_are_listed_without_any_value_are_told():
    rows = [
        BEFORE,
        (0, 100.0, 900),
        (60, None, None),
        (120, 100.0, None),
        (180, None, None),
        (300, None, None),
    ]
    parsed = charts_to_bars([yahoo(chart(rows), period2=OPEN_S + 300)], minute(4).replace(tzinfo=UTC))
    assert sorted(parsed.silent.rows()) == [("AAPL", minute(1)), ("AAPL", minute(3))]
    early = charts_to_bars([yahoo(chart(rows), period2=OPEN_S + 300)], minute(3).replace(tzinfo=UTC))
    assert early.silent.rows() == [("AAPL", minute(1))], "a minute that runs still is not told"


def test_the_first_row_of_a_reply_is_dropped_where_it_comes_without_volume():
    body = chart([(60, 100.0, 0), (120, 100.0, 0), (180, 100.0, 5)])
    bars = charts_to_bars([yahoo(body, period1=OPEN_S + 60)], LATER).bars
    assert bars.select("ts", "volume").rows() == [(minute(2), 0.0), (minute(3), 5.0)]
    body = chart([(60, 100.0, 7)])
    assert charts_to_bars([yahoo(body, period1=OPEN_S + 60)], LATER).bars["volume"].to_list() == [7.0]


def test_the_sessions_first_minute_keeps_its_price_where_no_request_can_bring_its_volume():
    body = chart([(0, 100.0, 0), (60, 100.0, 5)])
    bars = charts_to_bars([yahoo(body, period1=OPEN_S - 120)], LATER).bars
    assert bars.select("ts", "close", "volume").rows() == [(minute(0), 100.0, None), (minute(1), 100.0, 5.0)]


def test_a_minute_sent_twice_is_kept_as_it_came_last():
    first = chart([BEFORE, (60, 100.0, 5), (60, 100.5, 6)])
    later = chart([BEFORE, (60, 101.0, 7)])
    assert charts_to_bars([yahoo(first)], LATER).bars["volume"].to_list() == [6.0]
    assert charts_to_bars([yahoo(first), yahoo(later)], LATER).bars["close"].to_list() == [101.0]


def test_the_running_minute_is_marked_open():
    body = chart([BEFORE, (0, 100.0, 5), (60, 100.0, 6)])
    assert charts_to_bars([yahoo(body)], OPEN + timedelta(seconds=100)).bars["is_closed"].to_list() == [
        True,
        False,
    ]


def test_sessions_of_several_days_and_by_kind_of_session():
    day = 86_400
    sessions = ((OPEN_S, OPEN_S + 390 * 60), (OPEN_S + day, OPEN_S + day + 210 * 60))
    rows = [
        BEFORE,
        (0, 1.0, 5),
        (day - 60, 1.0, 5),
        (day, 1.0, 5),
        (day + 209 * 60, 1.0, 5),
        (day + 210 * 60, 1.0, 5),
    ]
    body = chart(rows, sessions)
    expected = [minute(0), minute(1440), minute(1440 + 209)]
    assert charts_to_bars([yahoo(body)], LATER).bars["ts"].to_list() == expected
    regular = body["chart"]["result"][0]["meta"]["tradingPeriods"]
    body["chart"]["result"][0]["meta"]["tradingPeriods"] = {"pre": [], "regular": regular, "post": []}
    assert charts_to_bars([yahoo(body)], LATER).bars["ts"].to_list() == expected


def test_an_empty_window_is_no_failure():
    body = {"chart": {"result": [{"meta": {}, "indicators": {"quote": [{}]}}], "error": None}}
    assert [len(part) for part in charts_to_bars([yahoo(body)], LATER)] == [0, 0, 0, 0]
    assert [len(part) for part in charts_to_bars([], LATER)] == [0, 0, 0, 0]


def test_a_bad_row_is_rejected_with_its_values_and_its_neighbours_kept():
    body = chart([BEFORE, (0, 100.0, 5), (60, "x", 6), (120, "101.5", 7)])
    body["chart"]["result"][0]["timestamp"].append("later")
    for column in body["chart"]["result"][0]["indicators"]["quote"][0].values():
        column.append(1.0)
    parsed = charts_to_bars([yahoo(body), yahoo(chart([BEFORE, (0, 9.0, 5)]), "MSFT")], LATER)
    assert parsed.bars.select("symbol", "ts", "close").rows() == [
        ("AAPL", minute(0), 100.0),
        ("AAPL", minute(2), 101.5),
        ("MSFT", minute(0), 9.0),
    ]
    assert parsed.rejects.select("ts", "reason").rows() == [(minute(1), "not_a_number"), (None, "bad_time")]
    assert orjson.loads(parsed.rejects["payload"][0])["open"] == "x"


def test_a_bare_nan_costs_its_row_and_not_the_reply():
    body = orjson.dumps(chart([BEFORE, (0, 100.0, 5), (60, "NaN", 6)])).replace(b'"NaN"', b"NaN")
    parsed = charts_to_bars([yahoo(body)], LATER)
    assert parsed.bars["ts"].to_list() == [minute(0)]
    assert parsed.rejects.select("ts", "reason").rows() == [(minute(1), "not_a_number")]


@pytest.mark.parametrize(
    ("body", "status", "reason", "retryable", "words"),
    [
        (
            yahoo_error("Not Found", "No data found, symbol may be delisted"),
            404,
            "unknown_symbol",
            False,
            "delisted",
        ),
        (
            yahoo_error("Not Found", "No data found, symbol may be delisted"),
            200,
            "unknown_symbol",
            False,
            "delisted",
        ),
        (yahoo_error("Bad Request", "Invalid input - interval=7d"), 400, "refused", False, "Invalid input"),
        (
            yahoo_error("Unprocessable Entity", "must be within the last 30 days."),
            422,
            "refused",
            False,
            "30 days",
        ),
        (b"Too Many Requests\r\n", 429, "rate_limited", True, "Too Many Requests"),
        (b"<html>Will be right back</html>", 503, "server_error", True, "right back"),
        (b"<html>consent</html>", 200, "not_json", True, "not JSON"),
        ({"finance": {}}, 200, "wrong_shape", True, "no chart"),
        ({"chart": {"result": [], "error": None}}, 200, "wrong_shape", True, "not a chart"),
        ({"chart": {"result": None, "error": None}}, 200, "wrong_shape", True, "not a chart"),
    ],
)
def test_an_answer_without_a_chart_is_a_failure_in_yahoos_words_and_never_loses_the_others(
    body: Any, status: int, reason: str, retryable: bool, words: str
):
    good = yahoo(chart([BEFORE, (0, 9.0, 5)]), "MSFT")
    parsed = charts_to_bars([yahoo(body, status=status), good], LATER)
    assert parsed.bars["symbol"].to_list() == ["MSFT"]
    [failure] = parsed.failures
    assert (failure.symbol, failure.reason, failure.retryable) == ("AAPL", reason, retryable)
    assert failure.detail.startswith("yahoo AAPL: ")
    assert words in failure.detail
    unread = reason in ("not_json", "wrong_shape")
    assert parsed.rejects["payload"].to_list() == ([yahoo(body).text] if unread else [])


@pytest.mark.parametrize("damage", ["short column", "column missing", "timestamps missing", "other interval"])
def test_columns_that_cannot_be_put_side_by_side_are_rejected_whole(damage: str):
    body = chart([BEFORE, (0, 100.0, 5)])
    result = body["chart"]["result"][0]
    if damage == "short column":
        result["indicators"]["quote"][0]["open"].pop()
    elif damage == "column missing":
        del result["indicators"]["quote"][0]["volume"]
    elif damage == "timestamps missing":
        del result["timestamp"]
    else:
        result["meta"]["dataGranularity"] = "1d"
    parsed = charts_to_bars([yahoo(body, interval="1m")], LATER)
    assert parsed.bars.is_empty()
    assert parsed.rejects.select("reason", "payload").rows() == [("wrong_shape", orjson.dumps(body).decode())]


def test_prices_come_back_as_they_were_traded():
    sent = np.array([103.6642, 103.6, 3000.1, 7200.1743, 1.1220826, 0.0000089, 612345.69, 681.0, 25.69])
    through_yahoo = sent.astype(np.float32).astype(np.float64)
    assert undo_float32(through_yahoo).tolist() == sent.tolist()
    assert undo_float32(np.array([25.69, 103.66419982910157])).tolist() == [25.69, 103.66419982910157]


@given(st.integers(1, 999_999), st.integers(0, 5))
def test_any_price_of_six_digits_survives_float32(digits: int, point: int):
    price = digits / 10**point
    assert undo_float32(np.array([np.float64(np.float32(price))])).tolist() == [price]


@pytest.mark.realdata
def test_recorded_minutes_after_the_close(shared_data: Path):
    body = (
        shared_data / "payloads/yahoo_extracted/chart_AMZN_1m_range30m_20230502_live_after_close.json"
    ).read_bytes()
    bars = charts_to_bars([yahoo(body, "AMZN")], datetime(2023, 5, 2, 20, 1)).bars
    assert bars.height == 29  # of 31 rows: the first has no volume, the last is the closing trade
    assert bars["ts"].to_list()[0::28] == [datetime(2023, 5, 2, 19, 31), datetime(2023, 5, 2, 19, 59)]
    assert bars.row(2, named=True)["open"] == 103.6642
    assert bars.row(28, named=True)["volume"] == 862_819
    prices = [value for name in ("open", "high", "low", "close") for value in bars[name]]
    assert all(price == round(price, 4) for price in prices)
    assert bars["is_closed"].all()


@pytest.mark.realdata
def test_recorded_minutes_of_a_running_session_and_of_a_silent_one(shared_data: Path):
    folder = shared_data / "payloads/yahoo_extracted"
    live = (folder / "chart_PETR4.SA_1m_live_partial_null_20230306.json").read_bytes()
    bars = charts_to_bars([yahoo(live, "PETR4.SA")], datetime(2023, 3, 6, 13, 15)).bars
    assert bars.select("ts", "close", "volume").rows() == [
        (datetime(2023, 3, 6, 13, 11), 25.64, 214_400.0),
        (datetime(2023, 3, 6, 13, 12), 25.6, 400_600.0),
        (datetime(2023, 3, 6, 13, 13), 25.65, 106_000.0),
    ]
    silent = (folder / "chart_BARC.L_1m_all_null_20171116.json").read_bytes()
    assert [len(part) for part in charts_to_bars([yahoo(silent, "BARC.L")], LATER)] == [0, 0, 0, 13]


@pytest.mark.realdata
def test_recorded_errors_and_an_empty_window(shared_data: Path):
    cases = orjson.loads((shared_data / "payloads/yahoo_extracted/errors.json").read_bytes())["cases"]
    replies = [yahoo(case.get("body") or case["text"].encode(), status=case["status"]) for case in cases]
    parsed = charts_to_bars(replies, LATER)
    reasons = [failure.reason for failure in parsed.failures]
    assert reasons == ["unknown_symbol", "refused", "refused", "refused", "refused", "rate_limited"]
    name = "chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m.json"
    recorded = orjson.loads((shared_data / "payloads/yahoo" / name).read_bytes())["response"]["bodyJson"]
    assert [len(part) for part in charts_to_bars([yahoo(recorded, interval="1m")], LATER)] == [0, 0, 0, 0]


@pytest.mark.realdata
def test_recorded_daily_replies_are_readable_or_named(shared_data: Path):
    for path in sorted((shared_data / "payloads/yahoo").glob("chart-*.json")):
        body = orjson.loads(path.read_bytes())["response"]["bodyJson"]
        parsed = charts_to_bars([yahoo(body, path.stem)], LATER)
        assert parsed.rejects.height == path.name.startswith("chart-notimestamp"), path.name
