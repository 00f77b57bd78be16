"""The gate splits a batch into what is loaded and what is put aside, and says why."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings

from pipelines.market import TRADE_SCHEMA, Interval
from pipelines.quality.contract import BARS, CONTRACTS, TRADES
from pipelines.quality.contract import bars as bars_contract
from pipelines.quality.gate import DUPLICATE, Gated, split
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine, unreadable
from tests.conftest import REPOSITORY
from tests.quality.bars import GOOD, NOON, NOW, any_bars, bars


def gate(*changes: dict) -> Gated:
    return split(bars(*changes), BARS, NOW)


def verdict(**change) -> tuple[str, str] | None:
    """The reason and detail for the good bar with one change, None if it is accepted."""
    quarantined = gate(change).quarantined
    return quarantined.select("reason", "detail").row(0) if quarantined.height else None


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"source": None}, "source is missing", "source is null"),
        ({"symbol": None}, "symbol is missing", "symbol is null"),
        ({"symbol": ""}, "symbol is empty, too long or not printable", "symbol "),
        ({"symbol": "A\u200bB"}, "symbol is empty, too long or not printable", "symbol A\u200bB"),
        ({"symbol": "x" * 65}, "symbol is empty, too long or not printable", "symbol " + "x" * 65),
        ({"ts": None}, "ts is missing", "ts is null"),
        (
            {"ts": NOON - timedelta(seconds=41)},
            "ts is not at the start of its 1m",
            "ts 2023-03-11 11:59:19.000000",
        ),
        (
            {"ts": NOON + timedelta(minutes=1)},
            "ts is in the future",
            "ts 2023-03-11 12:01:00.000000, market's clock 2023-03-11 12:00:30.000000",
        ),
        ({"open": None}, "open is missing or not a number", "open is null"),
        ({"close": math.nan}, "close is missing or not a number", "close is NaN"),
        ({"volume": None}, "volume is missing or not a number", "volume is null"),
        ({"high": math.inf}, "high is not a finite number above 0", "high inf"),
        ({"low": 0.0}, "low is not a finite number above 0", "low 0.0"),
        ({"low": -9.0}, "low is not a finite number above 0", "low -9.0"),
        ({"high": 8.0}, "high is below low", "high 8.0 < low 9.0"),
        ({"high": 10.5}, "high is below close", "high 10.5 < close 11.0"),
        ({"open": 12.5}, "high is below open", "high 12.0 < open 12.5"),
        ({"open": 8.5}, "open is below low", "open 8.5 < low 9.0"),
        ({"low": 10.5}, "open is below low", "open 10.0 < low 10.5"),
        ({"volume": -1.0}, "volume is not a finite number 0 or more", "volume -1.0"),
        ({"turnover": math.inf}, "turnover is not a finite number 0 or more", "turnover inf"),
        ({"trades": -1}, "trades is not a finite number 0 or more", "trades -1"),
    ],
)  # fmt: skip
@pytest.mark.capability("ING-13")
def test_a_bad_bar_is_put_aside_with_reason_and_numbers(change, reason, detail):
    assert verdict(**change) == (reason, detail)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"turnover": None, "trades": None, "venue": None},
        {"volume": 0.0, "trades": 0, "turnover": 0.0, "open": 9.0, "high": 9.0, "low": 9.0, "close": 9.0},
        {"volume": 0.0},  # Yahoo's first bar of a reply: doubtful, not wrong
        {"ts": NOON},
        {"ts": datetime(1962, 1, 2)},  # history is kept whatever its age
        {"symbol": "币安人生USDT"},
        {"symbol": "<b>^GSPC</b>"},
        {"symbol": "x" * 64},
    ],
)
def test_a_good_bar_is_accepted_unchanged(change):
    accepted = gate(change).accepted
    assert accepted.equals(bars(change))
    assert accepted.schema == bars(change).schema


def test_the_first_broken_rule_gives_the_reason():
    assert verdict(high=8.0, volume=-1.0, open=math.nan) == ("open is missing or not a number", "open is NaN")


def test_an_aware_clock_means_the_same_as_a_naive_one():
    tokyo = datetime.fromisoformat("2023-03-11T21:00:30+09:00")
    frame = bars({"ts": NOON}, {"ts": NOON + timedelta(minutes=1)})
    assert split(frame, BARS, tokyo).accepted.equals(split(frame, BARS, NOW).accepted)


def test_a_five_minute_bar_starts_on_a_minute_and_a_one_second_bar_on_a_second():
    late = NOON - timedelta(seconds=119)
    assert split(bars({"ts": late}), bars_contract(Interval.parse("5m")), NOW).quarantined.height == 1
    assert split(bars({"ts": late}), bars_contract(Interval.parse("1s")), NOW).accepted.height == 1


def test_equal_rows_of_a_key_collapse_without_a_word():
    gated = gate({}, {"close": 11.5, "symbol": "ETHUSDT"}, {})
    assert (gated.accepted.height, gated.quarantined.height, gated.collapsed) == (2, 0, 1)


def test_of_different_rows_of_a_key_the_last_received_stays():
    gated = gate({"close": 10.5}, {"close": 11.0}, {"close": 10.5}, {"close": 11.5, "trades": None})
    assert gated.accepted["close"].to_list() == [11.5]
    assert gated.quarantined.select("close", "reason", "detail").rows() == [
        (10.5, DUPLICATE, "close 10.5, kept 11.5; trades 4, kept null"),
        (11.0, DUPLICATE, "close 11.0, kept 11.5; trades 4, kept null"),
    ]
    assert gated.collapsed == 1


def test_a_bad_row_does_not_replace_a_good_one_of_its_key():
    gated = gate({"close": 11.0}, {"close": -1.0})
    assert gated.accepted["close"].to_list() == [11.0]
    assert gated.quarantined["detail"].to_list() == ["close -1.0"]


def test_other_columns_stay_on_their_rows():
    gated = split(bars({}, {"high": 1.0}).with_columns(line=pl.Series([2, 3])), BARS, NOW)
    assert (gated.accepted["line"].item(), gated.quarantined["line"].item()) == (2, 3)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="bars: no column high, volume; the parser must give"):
        split(bars({}).drop("volume", "high"), BARS, NOW)


def test_an_empty_batch_stays_empty():
    gated = split(bars(), BARS, NOW)
    assert (gated.accepted.height, gated.quarantined.columns[-2:]) == (0, ["reason", "detail"])


@settings(max_examples=60, deadline=None)
@given(frame=any_bars())
def test_every_row_is_accepted_quarantined_or_collapsed(frame):
    gated = split(frame, BARS, NOW)
    assert frame.height == gated.accepted.height + gated.quarantined.height + gated.collapsed
    assert gated.collapsed >= 0
    again = split(gated.accepted, BARS, NOW)
    assert again.accepted.equals(gated.accepted)
    assert again.quarantined.height == again.collapsed == 0
    assert gated.quarantined["reason"].null_count() == gated.quarantined["detail"].null_count() == 0


@settings(max_examples=30, deadline=None)
@given(frame=any_bars())
def test_what_is_accepted_is_a_bar_a_trader_would_believe(frame):
    for bar in split(frame, BARS, NOW).accepted.iter_rows(named=True):
        assert 0 < bar["low"] <= min(bar["open"], bar["close"])
        assert max(bar["open"], bar["close"]) <= bar["high"] < math.inf
        assert 0 <= bar["volume"] < math.inf
        assert bar["ts"] <= NOW
        assert bar["ts"].second == 0


def trades(*changes: dict) -> pl.DataFrame:
    good = dict(zip(TRADE_SCHEMA, ("binance", "BTCUSDT", 7, NOON, 10.0, 0.5, "buy", 2), strict=True))
    return pl.DataFrame([good | change for change in changes], schema=TRADE_SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"side": None, "fills": None}, None),
        ({"ts": NOW + timedelta(seconds=59)}, None),
        ({"ts": NOW + timedelta(seconds=61)}, "ts is in the future"),
        ({"trade_id": None}, "trade_id is missing"),
        ({"trade_id": -1}, "trade_id is not a finite number 0 or more"),
        ({"price": 0.0}, "price is not a finite number above 0"),
        ({"qty": math.inf}, "qty is not a finite number above 0"),
        ({"side": "maker"}, "side is not one of buy, sell"),
        ({"fills": 0}, "fills is not a finite number 1 or more"),
    ],
)
def test_a_trade_keeps_its_contract(change, reason):
    assert split(trades(change), TRADES, NOW).quarantined["reason"].to_list() == ([reason] if reason else [])


def quarantine(frame: pl.DataFrame, **provenance: str) -> pl.DataFrame:
    return to_quarantine(
        split(frame, BARS, NOW).quarantined, "binance", "run-1", "batch-1", NOW, **provenance
    )


@pytest.mark.capability("ING-13")
def test_quarantine_keeps_the_row_its_place_and_its_run():
    frame = bars({}, {"high": 8.0}).with_columns(
        line=pl.Series([2, 3]), file=pl.lit("ohlc.csv"), payload=pl.Series(["a", "2023-03-11,10,8,9,11,3"])
    )
    (row,) = quarantine(frame).rows(named=True)
    assert row | {"id": ""} == {
        "id": "",
        "source": "binance",
        "symbol": "BTCUSDT",
        "ts": GOOD["ts"],
        "reason": "high is below low",
        "detail": "high 8.0 < low 9.0",
        "payload": "2023-03-11,10,8,9,11,3",
        "file": "ohlc.csv",
        "line": 3,
        "run_id": "run-1",
        "batch_id": "batch-1",
        "seen_at": NOW,
    }
    assert quarantine(frame).schema == QUARANTINE_SCHEMA


def test_without_the_venues_text_the_payload_is_the_row_as_json():
    told = [json.loads(text) for text in quarantine(bars({"high": 8.0}, {"close": math.nan}))["payload"]]
    assert (told[0]["high"], told[0]["symbol"], told[0]["trades"]) == (8.0, "BTCUSDT", 4)
    assert (told[1]["close"], told[1]["high"], told[1]["trades"]) == ("NaN", "12.0", 4)


def test_the_same_bad_row_has_the_same_id_whenever_and_with_whomever_it_is_seen():
    alone = quarantine(bars({"high": 8.0}))
    later = to_quarantine(
        split(bars({"close": math.nan}, {"high": 8.0}, {"high": 8.0}), BARS, NOW).quarantined,
        "binance", "run-2", "batch-2", NOW + timedelta(hours=1),
    )  # fmt: skip
    assert later.height == 2
    assert alone["id"].item() in later["id"].to_list()


def test_a_row_without_a_source_is_filed_under_the_batchs():
    assert quarantine(bars({"source": None}))["source"].to_list() == ["binance"]


@pytest.mark.capability("ING-13")
def test_what_cannot_be_parsed_is_kept_word_for_word():
    rows = unreadable(
        ["2023-03-11,ten,12,9,11,3", b"\xff<html>"], "csv", None, "not a number", ["open 'ten'", "no fields"],
        "run-1", "batch-1", NOW, file="ohlc.csv", lines=[4, 9],
    )  # fmt: skip
    assert rows.select("payload", "line", "detail").rows() == [
        ("2023-03-11,ten,12,9,11,3", 4, "open 'ten'"),
        ("\\xff<html>", 9, "no fields"),
    ]
    assert rows["id"].n_unique() == 2
    assert rows.schema == QUARANTINE_SCHEMA


def test_every_contract_names_its_rules_once_and_gates_its_own_columns():
    for contract in CONTRACTS.values():
        names = [rule.name for rule in contract.rows + contract.whole]
        assert len(names) == len(set(names))
        read = {column for rule in contract.rows for column in rule.bad.meta.root_names()} - {"__market_now"}
        assert read <= set(contract.columns)


def test_the_minute_never_loads_great_expectations_or_pandas():
    code = (
        "import sys, pipelines.quality.contract, pipelines.quality.gate, pipelines.quality.quarantine,"
        " pipelines.quality.tables, pipelines.coverage\n"
        "print([name for name in ('great_expectations', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == "[]"
