"""What the minute derives bar by bar is what a recomputation from the first bar gives: gaps, corrections and all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines import tails
from pipelines.analytics import indicators
from pipelines.analytics.params import columns
from pipelines.calendars import bars_per_year
from pipelines.market import CONTINUOUS, Interval
from pipelines.settings_sections import Windows
from tests.lakes import Lake, bars_of, new_lake
from warehouse.tails import stage_fronts

START = datetime(2026, 3, 9, 20)
INTERVALS = ("5m", "15m", "1h")
HISTORY, LIVE = 15 * 60 - 9, 22
MINUTE = timedelta(minutes=1)
AT_HAND: dict[int, bool] = {}
"""Live minute -> whether it needed nothing from the lake."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Three series through history and then minute by minute: one whole, one with a hole, one mostly silent."""
    made = new_lake(tmp_path_factory.mktemp("derive"), windows=Windows(intervals=INTERVALS))
    market = {name: tape(seed) for seed, name in enumerate(("WHOLE", "HOLED", "SPARSE"))}
    minutes = np.arange(HISTORY + LIVE)
    kept = {
        "WHOLE": minutes >= 0,
        "HOLED": (minutes < HISTORY - 90) | (minutes >= HISTORY - 25),
        "SPARSE": minutes % 7 == 0,
    }
    seen = {name: pl.DataFrame(frame).filter(pl.Series(kept[name])) for name, frame in market.items()}
    load(made, {name: frame.filter(pl.col("ts") < at(HISTORY)) for name, frame in seen.items()}, "backfill")
    made.derive({"binance": at(HISTORY)})
    for minute in range(HISTORY, HISTORY + LIVE):
        span = (pl.col("ts") >= at(minute - 4)) & (pl.col("ts") <= at(minute))
        brought = {name: frame.filter(span) for name, frame in seen.items()}
        if HISTORY + 4 <= minute < HISTORY + 7:
            brought["WHOLE"] = brought["WHOLE"].clear()  # late: the next minutes bring these
        if minute == HISTORY + 14:
            seen["WHOLE"] = seen["WHOLE"].with_columns(
                close=pl.when(pl.col("ts") == at(minute - 3)).then(pl.col("close") * 1.01).otherwise("close")
            )  # a correction of the venue
            brought["WHOLE"] = seen["WHOLE"].filter(span)
        bars = pl.concat(
            bars_of(frame.to_dict(), "binance", name) for name, frame in brought.items() if frame.height
        )
        work = made.minute([bars], {"binance": at(minute + 1)}, made.past("binance"))
        AT_HAND[minute - HISTORY] = work.later is not None
    yield made
    made.con.close()


def at(minute: int) -> datetime:
    return START + minute * MINUTE


def tape(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.002, HISTORY + LIVE))), 2)
    return {
        "ts": [at(minute) for minute in range(HISTORY + LIVE)],
        "close": close,
        "volume": np.round(np.exp(rng.normal(5, 0.5, HISTORY + LIVE)), 3),
    }


def load(lake: Lake, market: dict[str, pl.DataFrame], kind: str) -> None:
    frames = [bars_of(frame.to_dict(), "binance", name) for name, frame in market.items() if frame.height]
    if frames:
        lake.load(pl.concat(frames), kind)


@pytest.mark.capability("IND-01", "IND-03", "IND-04", "IND-07")
@pytest.mark.parametrize("interval", ["1m", *INTERVALS])
def test_indicators_carried_on_equal_those_computed_from_the_first_bar(lake: Lake, interval: str) -> None:
    stored = lake.frame(
        f"SELECT * FROM calc.indicators WHERE interval = '{interval}' ORDER BY source, symbol, ts"
    )
    year = bars_per_year({"binance": CONTINUOUS}, Interval.parse(interval), {})
    whole = indicators.full(history(lake, interval), lake.context.plan.params, year)
    assert stored["ts"].to_list() == whole["ts"].to_list()
    for name in columns(lake.context.plan.params):
        if name not in ("volume_ratio", "volume_robust_z"):
            mine, all_over = stored[name].to_numpy(), whole[name].to_numpy()
            assert mine == pytest.approx(all_over, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_every_closed_window_is_there_once_and_made_of_its_bars(lake: Lake) -> None:
    lake.con.execute("CREATE OR REPLACE TEMP TABLE counted AS SELECT symbol, ts, volume FROM core.bars")
    for interval in INTERVALS:
        seconds = Interval.parse(interval).seconds
        wrong = lake.rows(f"""
            SELECT w.symbol, w.ts, w.minutes, count(b.ts), w.volume, sum(b.volume) FROM calc.windows AS w
            LEFT JOIN counted AS b ON b.symbol = w.symbol AND b.ts >= w.ts AND b.ts < w.ts + to_seconds({seconds})
            WHERE w.interval = '{interval}' GROUP BY ALL
            HAVING w.minutes <> count(b.ts) OR abs(w.volume - sum(b.volume)) > 1e-6""")
        assert wrong == []
    doubled = "SELECT count(*) - count(DISTINCT (source, symbol, interval, ts)) FROM calc.windows"
    assert lake.rows(doubled) == [(0,)]


def test_a_clock_that_goes_on_without_bars_closes_what_is_due_and_touches_nothing_else(lake: Lake) -> None:
    before = lake.rows("SELECT count(*) FROM calc.indicators WHERE interval = '1m'")
    found = lake.derive({"binance": at(HISTORY + LIVE + 60)})
    assert set(found.windows["symbol"]) == {"WHOLE", "HOLED", "SPARSE"}
    assert lake.rows("SELECT count(*) FROM calc.indicators WHERE interval = '1m'") == before
    assert lake.derive({"binance": at(HISTORY + LIVE + 61)}).windows.is_empty()


def test_the_tail_of_a_holed_series_is_found_further_back(lake: Lake) -> None:
    fronts = lake.frame(
        "SELECT source, symbol, max(ts) AS first_new, 1 AS rows FROM core.bars GROUP BY source, symbol ORDER BY symbol"
    )
    stage_fronts(lake.con, fronts)
    params = lake.context.plan.params
    found = tails.read_tail(lake.con, Interval(60), fronts, params, {"binance": CONTINUOUS})
    counts = dict(found.bars.filter(~pl.col("is_new")).group_by("symbol").agg(pl.len()).iter_rows())
    assert counts["WHOLE"] >= params.lookback
    assert counts["HOLED"] == params.lookback
    assert counts["SPARSE"] == (HISTORY + LIVE - 1) // 7
    assert found.state.height == 3


def test_only_a_correction_within_a_closed_window_is_read_from_the_lake(lake: Lake) -> None:
    assert [minute for minute, at_hand in AT_HAND.items() if not at_hand] == [14]


def history(lake: Lake, interval: str) -> pl.DataFrame:
    """All bars of an interval with their returns: between neighbouring minutes only."""
    if interval != "1m":
        return lake.frame(
            f"SELECT * FROM calc.windows WHERE interval = '{interval}' ORDER BY source, symbol, ts"
        )
    return lake.frame("""
        SELECT *, CASE WHEN lag(ts) OVER one = ts - INTERVAL 1 MINUTE THEN ln(close / lag(close) OVER one) END AS ret_log
        FROM core.bars WINDOW one AS (PARTITION BY source, symbol ORDER BY ts) ORDER BY source, symbol, ts""")
