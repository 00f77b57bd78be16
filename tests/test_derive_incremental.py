"""In whatever pieces and order bars arrive, what is derived is what one backfill of them derives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from flows.trading_days import fill_sessions
from pipelines.derived import Plan
from pipelines.market import Interval
from pipelines.settings_sections import Windows
from tests.lakes import Lake, bars_of, lake_like, new_lake

MINUTE = timedelta(minutes=1)
LIVE = datetime(2026, 3, 9, 23, 25)
END = datetime(2026, 3, 10, 0, 45)
BELL = datetime(2026, 3, 9, 13, 30)
NUMBER = count()
PROPERTY = settings(max_examples=2, deadline=None, phases=(Phase.explicit, Phase.generate),
                    suppress_health_check=(HealthCheck.function_scoped_fixture,))  # fmt: skip
"""Each example has series of its own."""


@pytest.fixture(scope="module")
def with_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that knows New York's sessions; each test has its own: the files of others cost each of its queries."""
    folder = tmp_path_factory.mktemp("derive")
    made = new_lake(folder)
    fill_sessions(made.con, made.context, "XNYS", date(2026, 2, 20), date(2026, 3, 12))
    made.con.close()
    return folder


@pytest.fixture
def lake(with_sessions: Path, tmp_path: Path) -> Iterator[Lake]:
    made = lake_like(with_sessions, tmp_path, windows=Windows(intervals=("5m", "1h")))
    yield made
    made.con.close()


def fives(lake: Lake) -> Plan:
    """The plan without hours, where one width shows it as well as two."""
    return replace(lake.context.plan, intervals=(Interval.parse("5m"),))


def nights(days: int) -> list[datetime]:
    """The hours around midnight of the days before LIVE: enough sessions for a baseline, few bars."""
    first = LIVE.replace(hour=0, minute=0) - timedelta(days=days)
    hours = (0, 1, 22, 23)
    stamps = [
        first + timedelta(days=d, hours=h, minutes=m)
        for d in range(days + 1)
        for h in hours
        for m in range(60)
    ]
    return [ts for ts in stamps if ts < LIVE]


def tape(minutes: list[datetime], seed: int, source: str) -> pl.DataFrame:
    """Two symbols; now and then a burst of volume and a jump, so that there is something to find."""
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in ("AAA", "BBB"):
        n = len(minutes)
        jumps = np.where(rng.random(n) < 0.02, 0.07, 0.0) * rng.choice([-1, 1], n)
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, n) + jumps))
        volume = rng.lognormal(3, 0.4, n) * np.where(rng.random(n) < 0.03, 20, 1)
        rows = {
            "ts": minutes, "close": close, "volume": volume, "turnover": volume * close,
            "open": close, "high": close * 1.001, "low": close * 0.999, "trades": rng.integers(1, 9, n),
        }  # fmt: skip
        frames.append(bars_of(rows, source, symbol))
    return pl.concat(frames)


def renamed(bars: pl.DataFrame, source: str) -> pl.DataFrame:
    return bars.with_columns(source=pl.lit(source), venue=pl.lit(source))


def assert_equal_lakes(lake: Lake, one: str, other: str, but: str = "") -> None:
    for table, key, without in (
        ("calc.windows", ["symbol", "interval", "ts"], "source, run_id"),
        ("calc.indicators", ["symbol", "interval", "ts"], "source, run_id"),
        ("calc.anomalies", ["symbol", "interval", "ts", "kind"], "source, run_id, id, known_at"),
        ("volume_baseline", ["symbol", "interval", "bucket"], "source"),
    ):
        if table == but:
            continue
        left, right = (
            lake.frame(f"SELECT * EXCLUDE ({without}) FROM {table} WHERE source = '{name}'").sort(key)
            for name in (one, other)
        )
        assert left.height
        assert_frame_equal(left, right, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.capability("STO-09")
@pytest.mark.capability("RES-08")
@settings(PROPERTY)
@given(seed=st.integers(0, 10_000), late=st.sampled_from([0.0, 0.03]), holes=st.sampled_from([0.0, 0.1]))
def test_batch_by_batch_is_the_same_as_all_at_once(lake: Lake, seed: int, late: float, holes: float):
    number = next(NUMBER)
    piecewise, at_once = f"p{number}", f"q{number}"
    rng = np.random.default_rng(seed)
    live = [LIVE + MINUTE * n for n in range((END - LIVE) // MINUTE)]
    bars = tape([ts for ts in [*nights(6), *live] if rng.random() >= holes], seed, piecewise)
    cuts = sorted({*rng.choice(np.arange(1, len(live)), 2, replace=False).tolist(), len(live)})
    ends = [LIVE + MINUTE * cut for cut in cuts]
    arrives = np.searchsorted(np.array(ends, "M8[us]"), bars["ts"].to_numpy(), side="right") + 1
    arrives = np.where(bars["ts"].to_numpy() < np.datetime64(LIVE), 0, arrives)
    delayed = (rng.random(bars.height) < late) & (arrives > 0)
    arrives = np.minimum(arrives + delayed * rng.integers(1, 3, bars.height), len(ends))
    for batch, until in enumerate([LIVE, *ends]):
        part = bars.filter(pl.Series(arrives == batch))
        if part.height:
            lake.load(part, "rest" if batch else "backfill")
        lake.derive({piecewise: until})
    lake.load(renamed(bars, at_once), "backfill")
    lake.derive({at_once: END})
    assert_equal_lakes(lake, piecewise, at_once)


@pytest.mark.parametrize("calendar", ["XNYS", "24/7", "both"])
def test_minute_by_minute_into_a_session_is_the_same_as_all_at_once(lake: Lake, calendar: str):
    """Only a session's first bar of each width needs the lake; a missing minute, a burst and a close do not."""
    days = [date(2026, 2, 27), *(date(2026, 3, d) for d in (2, 3, 4, 5, 6))]
    bell = [datetime(d.year, d.month, d.day, 14, 30) + MINUTE * n for d in days for n in range(60)]
    stamps, first = (nights(6), datetime(2026, 3, 9, 23, 51)) if calendar == "24/7" else (bell, BELL)
    live = [first + MINUTE * n for n in range(14)]
    one, other = (f"{name}_{calendar[:2].lower().strip('/')}" for name in ("minutely", "whole"))
    for name in (one, other):
        lake.calendars |= {name: "XNYS", f"{name}:AAA": "24/7"} if calendar == "both" else {name: calendar}
    bars = tape([*(ts for ts in stamps if ts < first), *live], 11, one)
    bars = bars.filter((pl.col("symbol") == "AAA") | (pl.col("ts") != live[7]))
    burst = (pl.col("ts") == live[11]) & (pl.col("symbol") == "BBB")
    bars = bars.with_columns(volume=pl.when(burst).then(pl.col("volume") * 100).otherwise("volume"))
    lake.load(bars.filter(pl.col("ts") < first), "backfill")
    lake.derive({one: first})
    read = []
    for ts in live:
        came = bars.filter(pl.col("ts").is_between(ts - 3 * MINUTE, ts))
        if lake.minute([came], {one: ts + MINUTE}, lake.past(one)).later is None:
            read.append(ts)
    midnight = datetime(2026, 3, 10)
    assert read == ([midnight, midnight + 4 * MINUTE] if calendar == "24/7" else [BELL, BELL + 4 * MINUTE])
    lake.load(renamed(bars, other), "backfill")
    lake.derive({other: live[-1] + MINUTE})
    assert_equal_lakes(lake, one, other)
    assert lake.one(f"SELECT count(*) FROM anomalies WHERE source = '{one}' AND ts = '{live[11]}'")


def test_minutes_that_come_together_after_an_outage_are_made_up_from_what_is_at_hand(lake: Lake):
    outage = [LIVE + MINUTE * n for n in range(1, 10)]
    bars = tape([*nights(6), LIVE, *outage], 17, "outage")
    lake.load(bars.filter(pl.col("ts") < LIVE), "backfill")
    lake.derive({"outage": LIVE})
    assert lake.minute(
        [bars.filter(pl.col("ts") == LIVE)], {"outage": LIVE + MINUTE}, lake.past("outage")
    ).later
    rest = bars.filter(pl.col("ts") > LIVE)
    assert lake.minute([rest], {"outage": LIVE + 10 * MINUTE}, lake.past("outage")).later
    lake.load(renamed(bars, "no_outage"), "backfill")
    lake.derive({"no_outage": LIVE + 10 * MINUTE})
    assert_equal_lakes(lake, "outage", "no_outage")


@pytest.mark.capability("ANO-02")
def test_a_price_is_not_held_against_bars_from_before_a_hole_of_hours(lake: Lake):
    """From what is at hand and all at once: only when the 20 bars before lie behind the hole is there a spike."""
    live = [LIVE + MINUTE * n for n in range(24)]
    before = [ts for ts in nights(6) if ts < LIVE - timedelta(hours=12)]
    bars = tape([*before, *live], 17, "broken")
    price = (
        pl.when(pl.col("ts") < LIVE).then(100.0).when(pl.col("ts") == live[22]).then(130.0).otherwise(110.0)
    )
    bars = bars.with_columns(price.alias(name) for name in ("open", "high", "low", "close"))
    lake.load(bars.filter(pl.col("ts") <= LIVE), "backfill")
    lake.derive({"broken": LIVE + MINUTE})
    for first, last in ((1, 3), (4, 10), (11, 17), (18, 21), (22, 22), (23, 23)):
        came = bars.filter(pl.col("ts").is_between(live[first], live[last]))
        assert lake.minute([came], {"broken": live[last] + MINUTE}, lake.past("broken")).later
    lake.load(renamed(bars, "mended"), "backfill")
    lake.derive({"mended": live[-1] + MINUTE})
    assert_equal_lakes(lake, "broken", "mended")
    found = "SELECT symbol, interval, ts FROM anomalies WHERE source = 'broken' AND kind = 'price_spike' ORDER BY ALL"
    assert lake.rows(found) == [(symbol, "1m", live[22]) for symbol in ("AAA", "BBB")]


def test_minutes_of_another_venue_are_neither_judged_by_volume_nor_usual(lake: Lake):
    """Made from what is at hand, from the lake, and all at once; a correction by the source itself counts again."""
    live = [LIVE + MINUTE * n for n in range(14)]
    bars = tape([*nights(6), *live], 17, "lending").with_columns(close=pl.lit(100.0), volume=pl.lit(10.0))
    yesterday = live[8] - timedelta(days=1)
    borrowed = pl.col("ts").is_in([yesterday, live[3]])
    bars = bars.with_columns(volume=pl.when(borrowed).then(10_000.0).otherwise("volume"))
    stood_in = bars.filter(borrowed)
    own = bars.filter(~borrowed)
    lake.load(own.filter(pl.col("ts") < live[3]), "backfill")
    lake.load(stood_in.filter(pl.col("ts") < LIVE), "fallback")
    lake.derive({"lending": live[3]})
    for ts in live[3:]:
        if ts == live[3]:
            lake.load(stood_in.filter(pl.col("ts") == ts), "fallback")
            lake.derive({"lending": ts + MINUTE})
        else:
            came = own.filter(pl.col("ts") == ts)
            is_read = lake.minute([came], {"lending": ts + MINUTE}, lake.past("lending")).later is None
            assert not is_read
    judged = lake.rows(
        "SELECT interval, count(*) FROM indicators WHERE source = 'lending' AND volume_ratio IS NULL AND ts >= "
        f"'{live[0]}' GROUP BY 1 ORDER BY 1"
    )
    assert judged == [("1m", 2), ("5m", 2)]
    lent = "SELECT DISTINCT interval, ts FROM ohlcv WHERE source = 'lending' AND lent AND interval <> '1h' ORDER BY ALL"
    fives = [ts - timedelta(minutes=ts.minute % 5) for ts in (yesterday, live[3])]
    assert lake.rows(lent) == [("1m", yesterday), ("1m", live[3]), *(("5m", ts) for ts in fives)]
    assert lake.rows("SELECT * FROM anomalies WHERE source = 'lending' AND kind = 'volume'") == []
    whole = renamed(bars, "lent_once")
    lake.load(whole.filter(~borrowed), "backfill")
    lake.load(whole.filter(borrowed), "fallback")
    lake.derive({"lent_once": live[-1] + MINUTE})
    assert_equal_lakes(lake, "lending", "lent_once", but="calc.anomalies")
    lake.load(stood_in.with_columns(volume=pl.lit(5_000.0)), "heal")
    lake.derive({"lending": live[-1] + MINUTE})
    told = lake.rows(
        f"SELECT DISTINCT ts, ratio FROM anomalies WHERE source = 'lending' AND interval = '1m' AND ts = '{live[3]}'"
    )
    assert told == [(live[3], 500.0)]


def test_a_correction_of_yesterday_changes_what_today_is_held_against(lake: Lake):
    bars = tape([*nights(6), *(LIVE + MINUTE * n for n in range(60))], 5, "corrected")
    lake.load(bars, "backfill")
    lake.derive({"corrected": LIVE + 60 * MINUTE}, fives(lake))
    ts = LIVE - timedelta(days=1, minutes=-40)
    fixed = bars.filter(pl.col("ts") == ts).with_columns(volume=pl.col("volume") * 50)
    lake.load(fixed)
    lake.derive({"corrected": LIVE + 60 * MINUTE}, fives(lake))
    whole = pl.concat([bars.filter(pl.col("ts") != ts), fixed])
    lake.load(renamed(whole, "right"), "backfill")
    lake.derive({"right": LIVE + 60 * MINUTE}, fives(lake))
    assert_equal_lakes(lake, "corrected", "right")


def test_an_older_file_leaves_the_baseline_of_the_newest_session_in_force(lake: Lake):
    old = [ts - timedelta(days=60) for ts in nights(6)]
    bars = tape([*old, *nights(6)], 9, "first")
    lake.load(bars, "import")
    lake.derive(plan=fives(lake))
    recent = pl.col("ts") > LIVE - timedelta(days=30)
    lake.load(renamed(bars, "second").filter(recent), "import")
    lake.derive(plan=fives(lake))
    lake.load(renamed(bars, "second").filter(~recent), "import")
    lake.derive(plan=fives(lake))
    assert_equal_lakes(lake, "first", "second")


def test_bars_before_a_long_silence_are_judged_as_ever(lake: Lake):
    burst = nights(6)[-30]
    bars = tape(nights(6), 21, "ended").with_columns(
        volume=pl.when(pl.col("ts") == burst).then(2000.0).otherwise(20.0), close=pl.lit(100.0)
    )
    later = bars_of({"ts": [LIVE + timedelta(days=90)], "close": [100.0]}, "ended", "AAA")
    lake.load(pl.concat([bars, later]), "import")
    lake.derive(plan=fives(lake))
    found = "SELECT DISTINCT ts FROM anomalies WHERE source = 'ended' AND kind = 'volume' AND interval = '1m'"
    assert lake.rows(found) == [(burst,)]


@pytest.mark.capability("STO-10")
def test_deriving_without_anything_new_changes_nothing(lake: Lake):
    lake.load(tape(nights(1), 2, "calm"), "import")
    lake.derive(plan=fives(lake))
    count_of = "SELECT count(*) FROM calc.windows WHERE source = 'calm'"
    before = lake.one(count_of)
    again = lake.derive(plan=fives(lake))
    assert (again.windows.height, again.rows.height, again.batches) == (0, 0, ())
    assert lake.one(count_of) == before > 0


@pytest.mark.capability("STO-09")
def test_what_is_derived_can_be_dropped_and_rebuilt(lake: Lake):
    bars = tape(nights(6), 31, "rebuilt")
    lake.load(bars, "backfill", "rebuilt-backfill-1")
    lake.load(renamed(bars, "kept"), "backfill")
    lake.derive({"rebuilt": LIVE, "kept": LIVE}, fives(lake))
    for table in ("windows", "indicators", "anomalies", "volume_baseline"):
        lake.con.execute(f"DELETE FROM calc.{table} WHERE source = 'rebuilt'")
    lake.con.execute("DELETE FROM core.derived WHERE batch_id = 'rebuilt-backfill-1'")
    lake.derive({"rebuilt": LIVE}, fives(lake))
    assert_equal_lakes(lake, "rebuilt", "kept")
