"""Great Expectations judges whole tables by the gate's own rules, and finds the same rows."""

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.market import TRADE_SCHEMA
from pipelines.quality.contract import BARS, OHLCV, REVISIONS, TRADES
from pipelines.quality.expectations import check
from pipelines.quality.gate import split
from pipelines.quality.rules import Contract
from pipelines.quality.tables import QUALITY_SCHEMA
from tests.quality.bars import COUNTS, NAMES, NOON, NOW, NUMBERS, TIMES, any_bars, bars

CHECKED = datetime(2023, 3, 11, 13, 0)
# No shrinking: at a sixth of a second an example it would take minutes.
SLOW = settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)


def gate_counts(frame: pl.DataFrame, contract: Contract) -> dict[str, int]:
    """The rows that break each rule, by the gate's dialect."""
    timed = frame.with_columns(pl.lit(NOW).alias("__market_now"))
    rules = [*contract.rows, *contract.whole]
    return {f"{contract.table}: {rule.name}": int(timed.select(rule.bad.sum()).item()) for rule in rules}


def assert_parity(frame: pl.DataFrame, contract: Contract) -> None:
    results = check(frame, contract, NOW, CHECKED)
    assert not results.filter(pl.col("observed").str.contains("itself failed")).height
    by_gate = gate_counts(frame, contract)
    assert dict(results.select("check_name", "failing_rows").iter_rows()) == by_gate
    assert dict(results.select("check_name", "passed").iter_rows()) == {
        name: count == 0 for name, count in by_gate.items()
    }


def failed(frame: pl.DataFrame, contract: Contract = BARS, **options: datetime) -> list[tuple]:
    results = check(frame, contract, NOW, CHECKED, **options).filter(~pl.col("passed"))
    return results.select("check_name", "severity", "observed", "threshold", "failing_rows").rows()


@SLOW
@given(frame=any_bars(least=1))
def test_gate_and_suite_find_the_same_bad_bars(frame):
    assert_parity(frame, BARS)


def test_gate_and_suite_agree_on_every_single_fault_of_a_bar():
    changes = [
        {column: value}
        for column in ("open", "high", "low", "close", "volume", "turnover", "trades")
        for value in (None, math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300)
        if column != "trades" or value in (None, -1.0, 0.0)
    ]
    assert_parity(bars({}, *changes), BARS)


def test_gate_and_suite_agree_on_columns_without_any_value():
    assert_parity(bars(dict.fromkeys(("symbol", "ts", "open", "volume", "turnover", "trades"))), BARS)
    assert_parity(bars(), BARS)


ANY_TRADE = st.tuples(
    st.sampled_from(["binance", None]), NAMES, st.sampled_from([1, 2, 2, -1, 2**53 - 1, None]), TIMES,
    NUMBERS, NUMBERS, st.sampled_from(["buy", "sell", "BUY", "", None]), COUNTS,
)  # fmt: skip


@SLOW
@given(rows=st.lists(ANY_TRADE, min_size=1, max_size=30))
def test_gate_and_suite_find_the_same_bad_trades(rows):
    assert_parity(pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row"), TRADES)


ANY_REVISION = st.tuples(
    st.just("binance"), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.just(NOON),
    st.sampled_from([1, 2, 3, 0]), st.integers(0, 20).map(lambda minutes: NOON + timedelta(minutes=minutes)),
)  # fmt: skip


@SLOW
@given(rows=st.lists(ANY_REVISION, min_size=1, max_size=12, unique_by=lambda row: (row[1], row[4])))
def test_gate_and_suite_agree_on_revisions(rows):
    schema = {"source": pl.String, "symbol": pl.String, "ts": pl.Datetime("us"), "revision": pl.Int64}
    assert_parity(
        pl.DataFrame(rows, schema=schema | {"known_at": pl.Datetime("us")}, orient="row"), REVISIONS
    )


def test_gate_and_suite_agree_on_windows():
    extra = pl.DataFrame(
        {"interval": ["5m", None], "minutes": [5, 6], "minutes_expected": [5, 5], "is_complete": [True, None]}
    )
    assert_parity(pl.concat([bars({}, {"low": 11.0}), extra], how="horizontal"), OHLCV)


def test_a_failing_check_tells_the_count_an_example_and_the_rule():
    frame = bars({}, {"high": 8.0, "symbol": "ETHUSDT"}, {"symbol": "XRPUSDT", "low": 9.5})
    assert failed(frame) == [
        (f"bars: high >= {low}", "critical", f"1 of 3 rows, such as high 8.0 < {low} {value}",
         f"0 rows where high is below {low}", 1)
        for low, value in (("low", 9.0), ("open", 10.0), ("close", 11.0))
    ]  # fmt: skip


def test_a_doubtful_row_is_a_warning():
    assert [row[:2] for row in failed(bars({"trades": 0}))] == [("bars: trades behind volume", "warning")]


def test_a_future_bar_and_a_key_that_is_there_twice_are_found():
    ahead = bars({}, {}, {"ts": NOON + timedelta(minutes=5)})
    assert [(row[0], row[4]) for row in failed(ahead)] == [("bars: ts not ahead", 1), ("bars: key unique", 2)]


def test_a_table_is_fresh_when_its_newest_row_is():
    frame = bars({"ts": NOON - timedelta(hours=1)}, {})
    assert failed(frame, fresh_after=NOON - timedelta(minutes=2)) == []
    assert [row[0] for row in failed(frame, fresh_after=NOON)] == ["bars: ts fresh"]
    assert [row[0] for row in failed(bars(), fresh_after=NOON)] == ["bars: ts fresh"]


def test_an_error_inside_the_check_is_told_as_such_and_not_as_bad_rows():
    worded = bars({}).with_columns(trades=pl.lit("four"))
    rules = tuple(rule for rule in BARS.rows if rule.name == "trades range")
    ((name, severity, observed, _, failing),) = failed(worded, replace(BARS, rows=rules))
    assert (name, severity, failing) == ("bars: trades range", "critical", None)
    assert observed.startswith("the check itself failed: ")


def test_results_have_the_shape_of_the_quality_table():
    results = check(bars({}), BARS, NOW, CHECKED)
    assert results.schema == QUALITY_SCHEMA
    assert results["check_name"].is_unique().all()
    assert results["suite"].unique().to_list() == ["bars contract"]
    assert results["checked_at"].unique().to_list() == [CHECKED]


def test_checks_on_several_threads_do_not_mix_up():
    frames = [bars(*({"close": 1.0} for _ in range(bad)), {}) for bad in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda frame: check(frame, BARS, NOW, CHECKED), frames))
    low = [
        frame.filter(pl.col("check_name") == "bars: close >= low")["failing_rows"].item() for frame in results
    ]
    assert low == [0, 1, 2, 3]


def test_the_check_is_quiet(capfd, caplog):
    with caplog.at_level(logging.INFO):
        check(bars({}), BARS, NOW, CHECKED)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("great_expectations")] == []


@pytest.mark.realdata
def test_three_weeks_of_recorded_bars_keep_the_contract(shared_data):
    recorded = pl.read_parquet(shared_data / "bars_1m" / "iaqf2023_binance_btcusdt_1m.parquet")
    frame = recorded.select(
        pl.lit("binance").alias("source"),
        pl.lit("BTCUSDT").alias("symbol"),
        pl.col("timestamp").dt.replace_time_zone(None).cast(pl.Datetime("us")).alias("ts"),
        *("open", "high", "low", "close", "volume"),
        pl.col("quote_volume").cast(pl.Float64).alias("turnover"),
        "trades",
        pl.lit("binance").alias("venue"),
    )
    later = datetime(2023, 3, 22)
    assert split(frame, BARS, later).accepted.height == frame.height == 30_240
    assert check(frame, BARS, later, CHECKED)["passed"].all()
