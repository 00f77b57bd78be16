"""Binance's klines become bars; what cannot be read is kept word for word beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.market import BAR_SCHEMA
from pipelines.sources.base import REJECT_SCHEMA
from pipelines.sources.klines import klines_to_bars
from tests.sources.venues import LATER, OPEN, kline, minute, reply


def test_a_kline_is_a_bar_with_turnover_and_trades():
    parsed = klines_to_bars([reply([kline()])], LATER)
    assert parsed.bars.schema == pl.Schema(BAR_SCHEMA)
    assert parsed.bars.rows() == [
        ("binance", "BTCUSDT", minute(0), 101.0, 102.0, 100.0, 101.5, 12.0, 1218.0, 7, "binance", True)
    ]
    assert parsed.rejects.schema == pl.Schema(REJECT_SCHEMA)
    assert parsed.rejects.is_empty()
    assert parsed.failures == []


def test_the_running_minute_is_marked_open_by_the_markets_clock():
    replies = [reply([kline(0), kline(1)])]
    just_before, at_close = OPEN + timedelta(seconds=119), OPEN + timedelta(seconds=120)
    assert klines_to_bars(replies, just_before).bars["is_closed"].to_list() == [True, False]
    assert klines_to_bars(replies, at_close).bars["is_closed"].to_list() == [True, True]


def test_bars_come_sorted_and_a_bar_sent_twice_is_kept_as_it_came_last():
    replies = [
        reply([kline(2), kline(1)], "ETHUSDT"),
        reply([kline(0), kline(0, "100.5")]),
        reply([], "ADAUSDT"),
    ]
    bars = klines_to_bars(replies, LATER).bars
    assert bars.select("symbol", "ts", "close").rows() == [
        ("BTCUSDT", minute(0), 100.5),
        ("ETHUSDT", minute(1), 101.5),
        ("ETHUSDT", minute(2), 101.5),
    ]


def test_a_row_of_another_time_than_was_asked_for_is_rejected_and_one_from_the_future_is_left_to_the_gate():
    asked = {"startTime": str(kline(1)[0]), "endTime": str(kline(2)[0] - 1)}
    came = [kline(1), kline(0, "55.5"), kline(11, "66.5")]
    parsed = klines_to_bars([replace(reply(came), params=asked), reply([kline(0)], "ETHUSDT")], LATER)
    assert parsed.bars.select("symbol", "ts").rows() == [("BTCUSDT", minute(1)), ("ETHUSDT", minute(0))]
    told = parsed.rejects.select("symbol", "ts", "reason", "payload").rows()
    assert told == [
        ("BTCUSDT", minute(at), "not_asked_for", json.dumps(came[row]).replace(", ", ","))
        for row, at in ((1, 0), (2, 11))
    ]
    early = klines_to_bars([replace(reply(came), params=asked)], OPEN + timedelta(minutes=5))
    assert early.bars["ts"].to_list() == [minute(1), minute(11)]


@pytest.mark.parametrize(
    ("at", "value", "reason", "named"),
    [
        (1, "abc", "not_a_number", "open is 'abc'"),
        (3, None, "not_a_number", "low is None"),
        (4, "NaN", "not_a_number", "close is 'NaN'"),
        (5, "1_000", "not_a_number", "volume is '1_000'"),
        (5, True, "not_a_number", "volume is True"),
        (7, "1e999", "not_a_number", "turnover is '1e999'"),
        (8, "7", "not_a_number", "trades is '7'"),
        (0, "2024", "bad_time", "open time is '2024'"),
        (0, -1, "bad_time", "open time is -1"),
        (0, 1_714_570_200_000_000, "bad_time", "open time is 1714570200000000"),
    ],
)
def test_a_row_that_cannot_be_read_is_rejected_and_its_neighbours_kept(
    at: int, value: Any, reason: str, named: str
):
    bad = kline(1)
    bad[at] = value
    parsed = klines_to_bars([reply([kline(0), bad, kline(2)]), reply([kline(0)], "ETHUSDT")], LATER)
    assert parsed.bars.select("symbol", "ts").rows() == [
        ("BTCUSDT", minute(0)),
        ("BTCUSDT", minute(2)),
        ("ETHUSDT", minute(0)),
    ]
    [reject] = parsed.rejects.rows(named=True)
    assert (reject["reason"], reject["ts"]) == (reason, None if at == 0 else minute(1))
    assert reject["detail"].startswith(f"binance BTCUSDT: {named}")
    assert json.loads(reject["payload"]) == bad
    assert parsed.failures == []


def test_the_gate_judges_numbers_however_odd():
    negative = kline()
    negative[3] = "-5"
    crossed = kline(1)
    crossed[2], crossed[3] = 1.25, 9
    bars = klines_to_bars([reply([negative, crossed])], LATER).bars
    assert bars.select("low", "high").rows() == [(-5.0, 102.0), (9.0, 1.25)]


def test_a_reject_keeps_the_rows_own_spelling():
    body = b'[ [1714570200000, "1.10", 2.500, "x" ] ,\n[1]]'
    parsed = klines_to_bars([reply(body)], LATER)
    assert parsed.rejects["payload"].to_list() == ['[1714570200000, "1.10", 2.500, "x" ]', "[1]"]
    assert parsed.rejects["reason"].to_list() == ["wrong_arity", "wrong_arity"]


def test_a_bare_nan_costs_its_row_and_not_the_reply():
    body = (
        orjson.dumps([kline(0), kline(1)])[:-1] + b',[1714570320000,"1",NaN,"1","1","1",0,"1",1,"0","0","0"]]'
    )
    parsed = klines_to_bars([reply(body)], LATER)
    assert parsed.bars["ts"].to_list() == [minute(0), minute(1)]
    assert parsed.rejects.select("ts", "reason").rows() == [(minute(2), "not_a_number")]
    assert parsed.rejects["payload"][0].startswith('[1714570320000,"1",NaN,')


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>Will be right back</html>", "not_json"),
        (orjson.dumps([kline()])[:-9], "not_json"),
        (b"", "not_json"),
        (b"\xff\xfe[", "not_json"),
        (b'{"serverTime": 1}', "wrong_shape"),
        (b"17", "wrong_shape"),
    ],
)
def test_a_reply_that_is_no_message_is_rejected_whole_and_never_loses_the_others(body: bytes, reason: str):
    parsed = klines_to_bars([reply(body), reply([kline()], "ETHUSDT")], LATER)
    assert parsed.bars["symbol"].to_list() == ["ETHUSDT"]
    assert parsed.rejects["reason"].to_list() == [reason]
    assert parsed.rejects["payload"].to_list() == [body.decode("utf-8", "backslashreplace")]
    assert [(failure.symbol, failure.reason) for failure in parsed.failures] == [("BTCUSDT", reason)]


@pytest.mark.parametrize(
    ("status", "body", "reason", "retryable", "words"),
    [
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', "unknown_symbol", False, "-1121 Invalid symbol."),
        (400, b'{"code":-1120,"msg":"Invalid interval."}', "refused", False, "-1120 Invalid interval."),
        (
            429,
            b'{"code":-1003,"msg":"Too much request weight used"}',
            "rate_limited",
            True,
            "Too much request",
        ),
        (418, b'{"code":-1003,"msg":"Way too much"}', "rate_limited", True, "Way too much"),
        (
            451,
            b'{"code":0,"msg":"Service unavailable from a restricted location"}',
            "blocked",
            False,
            "restricted",
        ),
        (403, b"<html>WAF</html>", "blocked", False, "WAF"),
        (502, b"Bad gateway", "server_error", True, "Bad gateway"),
    ],
)
def test_an_error_status_is_a_failure_in_the_venues_own_words(
    status: int, body: bytes, reason: str, retryable: bool, words: str
):
    parsed = klines_to_bars(
        [reply(body, status=status, retry_after_s=7.0), reply([kline()], "ETHUSDT")], LATER
    )
    [failure] = parsed.failures
    assert (failure.symbol, failure.reason, failure.retryable) == ("BTCUSDT", reason, retryable)
    assert failure.detail.startswith(f"binance BTCUSDT: HTTP {status} ")
    assert words in failure.detail
    assert (failure.retry_after_s == 7.0) is (status in (403, 418, 429, 451, 502))
    assert parsed.bars["symbol"].to_list() == ["ETHUSDT"]
    assert parsed.rejects.is_empty()


good_value = st.one_of(
    st.decimals("0.00000001", "1e9", places=8).map(str), st.floats(-1e9, 1e9), st.integers(-(10**12), 10**12)
)
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=4).filter(lambda text: not _is_number(text)),
    st.lists(st.integers(0, 9)),
)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[bool, Any]]:
    """Klines of different minutes, each readable or not."""
    made: list[tuple[bool, Any]] = []
    for n in range(draw(st.integers(0, 8))):
        row = kline(n)
        for at in (1, 2, 3, 4, 5, 7):
            row[at] = draw(good_value)
        kind = draw(st.sampled_from(["good", "good", "junk value", "arity", "not a row"]))
        if kind == "junk value":
            row[draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8]))] = draw(junk)
        elif kind == "arity":
            row = draw(st.sampled_from([row[:-1], [*row, "0"], row[:3], []]))
        elif kind == "not a row":
            row = draw(st.one_of(junk.filter(lambda value: not isinstance(value, list)), st.just({"t": 1})))
        made.append((kind == "good", row))
    return made


@given(st.lists(rows(), max_size=4))
@settings(max_examples=60, deadline=None)
def test_every_good_row_survives_and_every_bad_one_is_kept_word_for_word(
    replies: list[list[tuple[bool, Any]]],
):
    sent = [reply([row for _, row in made], f"SYM{at}") for at, made in enumerate(replies)]
    parsed = klines_to_bars(sent, LATER)
    good = [(f"SYM{at}", row) for at, made in enumerate(replies) for is_good, row in made if is_good]
    bad = [(f"SYM{at}", row) for at, made in enumerate(replies) for is_good, row in made if not is_good]
    assert parsed.bars.select("symbol", pl.col("ts").dt.epoch("ms"), "open", "turnover").rows() == [
        (symbol, row[0], float(row[1]), float(row[7])) for symbol, row in good
    ]
    assert parsed.rejects.select("symbol", "payload").rows() == [
        (symbol, orjson.dumps(row).decode()) for symbol, row in bad
    ]
    assert parsed.failures == []


digits = st.text("0123456789.", max_size=20)
usual = st.tuples(st.integers(0, 10**9), st.integers(0, 10**8)).map(lambda parts: f"{parts[0]}.{parts[1]:08}")
usual_count = st.integers(0, 10**15).map(str)


@st.composite
def spelt(draw: st.DrawFn) -> bytes:
    """A reply as Binance spells it, most of its numbers in order, here and there one that is not."""
    lines = []
    for n in range(draw(st.integers(1, 4))):
        texts = [
            draw(st.one_of(usual, usual, usual, digits) if draw(st.booleans()) else usual) for _ in range(6)
        ]
        opened, end, trades = f"{1_714_570_200_000 + 60_000 * n}", draw(usual_count), draw(usual_count)
        odd = draw(st.sampled_from(["", "", "", "opened", "end", "trades"]))
        opened, end, trades = (
            draw(digits) if odd == name else text
            for name, text in (("opened", opened), ("end", end), ("trades", trades))
        )
        quoted = ",".join(f'"{text}"' for text in texts[:5])
        lines.append(f'[{opened},{quoted},{end},"{texts[5]}",{trades},"0.5","0.5","0"]')
    return f"[{','.join(lines)}]".encode()


@given(st.lists(spelt(), min_size=1, max_size=3))
@example([b'[[1714570200000,"1.0","1.0","1.0","1.0","1.0",1714570259999,"1.0",07,"0","0","0"]]'])
@example([b'[[1714570200000,"1.0","1.0","1.0","1.0","1.0",1.5,"1.0",7,"0","0","0"]]'])
@example([b'[[1714570200000,"1.0","1.0","1.0","1.0","1..0",9,"1.0",7,"0","0","0"]]'])
@settings(max_examples=80, deadline=None)
def test_reading_all_replies_at_once_is_reading_them_row_by_row(bodies: list[bytes]):
    """A blank, which JSON does not mind, is enough to have a reply read row by row."""
    at_once = klines_to_bars([reply(body, f"SYM{at}") for at, body in enumerate(bodies)], LATER)
    blanks = [reply(body[:1] + b" " + body[1:], f"SYM{at}") for at, body in enumerate(bodies)]
    by_row = klines_to_bars(blanks, LATER)
    assert at_once.bars.equals(by_row.bars, null_equal=True)
    told = ("symbol", "ts", "reason")
    assert at_once.rejects.select(told).equals(by_row.rejects.select(told))
    assert [one.reason for one in at_once.failures] == [one.reason for one in by_row.failures]


def test_replies_of_either_kind_stand_in_their_order():
    odd = reply(b"[ " + orjson.dumps([kline(0, "100.5")])[1:])
    plain = reply([kline(0, "100.75"), kline(1)])
    for first, last, close in ((odd, plain, 100.75), (plain, odd, 100.5)):
        bars = klines_to_bars([first, reply([kline(0)], "ETHUSDT"), last], LATER).bars
        assert bars["close"].to_list() == [close, 101.5, 101.5]


@pytest.mark.realdata
def test_the_documented_kline_of_2017(shared_data: Path):
    body = (shared_data / "payloads/binance/nautilus_spot_klines_response.json").read_bytes()
    [bar] = klines_to_bars([reply(body, "ETHBTC")], LATER).bars.rows(named=True)
    assert bar["ts"] == datetime(2017, 7, 3)
    assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (0.0163479, 0.8, 0.015758, 0.015771)
    assert (bar["volume"], bar["turnover"], bar["trades"]) == (148976.11427815, 2434.19055334, 308)


@pytest.mark.realdata
def test_three_weeks_of_recorded_klines_come_back_as_they_were(shared_data: Path):
    recorded = pl.read_parquet(shared_data / "bars_1m/iaqf2023_binance_btcusdt_1m.parquet").sort("open_time")
    names = ["open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades"]
    lines = [
        [
            row[0],
            *(repr(float(price)) for price in row[1:6]),
            row[0] + 59_999,
            str(row[6]),
            int(row[7]),
            "0",
            "0",
            "0",
        ]
        for row in recorded.select(names).rows()
    ]
    replies = [reply(lines[at : at + 1000]) for at in range(0, len(lines), 1000)]
    parsed = klines_to_bars(replies, LATER)
    assert parsed.rejects.is_empty()
    assert parsed.bars.height == 30_240
    assert (parsed.bars["volume"] == 0).sum() == 658
    assert parsed.bars["close"].to_list() == recorded["close"].cast(pl.Float64).to_list()
