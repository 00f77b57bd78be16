"""The warehouse's volume baselines against the polars reference, and what they may never contain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import count

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from flows.cli.explain_anomaly import explain_anomaly
from flows.cli.lake import rows as rows_of
from flows.trading_days import fill_sessions
from pipelines.analytics.baseline import baseline, judge
from pipelines.recent.places import buckets, seconds
from pipelines.settings_sections import Windows
from tests.lakes import Lake, bars_of, new_lake
from warehouse.baselines import baseline_history, baseline_rows
from warehouse.buckets import counted_from, with_closing
from warehouse.stage import stage

MINUTE = timedelta(minutes=1)
NUMBER = count()
FIRST = date(2026, 3, 1)
VALUES = ["median", "mad", "mean", "std", "log_median", "log_mad", "log_mean_ad"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    made = new_lake(tmp_path_factory.mktemp("baseline"), windows=Windows(intervals=("5m",)))
    fill_sessions(made.con, made.context, "XNYS", date(2026, 2, 1), date(2026, 12, 1))
    made.calendars["bell"] = "XNYS"
    yield made
    made.con.close()


def volumes(seed: int, days: int, keep: float, zeros: float) -> pl.DataFrame:
    """`candidates`: three buckets of two series, some sessions without a bucket, some without volume."""
    rng = np.random.default_rng(seed)
    rows = [
        ("s", symbol, "1m", datetime(2026, 3, 1) + timedelta(days=d, minutes=bucket), bucket,
         FIRST + timedelta(days=d), 0.0 if rng.random() < zeros else float(np.round(rng.lognormal(3, 1), 3)))
        for symbol in ("AAA", "BBB") for d in range(days) for bucket in (0, 7, 21, 300) if rng.random() < keep
    ]  # fmt: skip
    names = ["source", "symbol", "interval", "ts", "bucket", "session", "volume"]
    kinds = dict(
        zip(names, (pl.String,) * 3 + (pl.Datetime("us"), pl.Int32, pl.Date, pl.Float64), strict=True)
    )
    return pl.DataFrame(rows, schema=kinds, orient="row")


@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    seed=st.integers(0, 10_000), keep=st.sampled_from([0.2, 0.5, 1.0]), zeros=st.sampled_from([0.0, 0.4]),
    sessions=st.sampled_from([3, 20]), enough=st.sampled_from([1, 3, 5]),
)  # fmt: skip
def test_the_sql_is_the_reference(
    lake: Lake, seed: int, keep: float, zeros: float, sessions: int, enough: int
):
    """Also where a bucket has too few sessions and its half hour stands in."""
    sample = volumes(seed, 24, keep, zeros)
    judged = FIRST + timedelta(days=23)
    stage(lake.con, "candidates", sample)
    keys = ["source", "symbol", "interval", "bucket"]
    wanted = baseline(sample, judged, sessions=sessions, min_sessions=enough).sort(keys)
    found = baseline_rows(lake.con, judged, sessions, enough).sort(keys)
    found = found.filter(pl.col("sessions") >= enough)
    logs = [pl.when(pl.col("log_sessions") >= enough).then(pl.col(name)) for name in VALUES if "log" in name]
    counts = [pl.col(name).cast(pl.Int64) for name in ("sessions", "bars")]
    assert_frame_equal(
        found.select(*keys, *VALUES[:4], *logs, *counts), wanted.select(*keys, *VALUES, "sessions", "bars")
    )
    assert not (found["to_ts"].dt.date() >= judged).any()


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    seed=st.integers(0, 10_000), keep=st.sampled_from([0.3, 1.0]), zeros=st.sampled_from([0.0, 0.4]),
    enough=st.sampled_from([1, 3]),
)  # fmt: skip
def test_each_older_bar_has_the_baseline_of_its_own_session(
    lake: Lake, seed: int, keep: float, zeros: float, enough: int
):
    sample = volumes(seed, 12, keep, zeros)
    stage(lake.con, "candidates", sample)
    keys = ["source", "symbol", "interval", "ts"]
    found = baseline_history(lake.con, sample.select(keys), 5, enough)
    found = found.filter(pl.col("sessions") >= enough)
    logs = ["log_median", "log_mad", "log_mean_ad"]
    found = found.with_columns(
        pl.when(pl.col("log_sessions") >= enough).then(pl.col(name)).alias(name) for name in logs
    )
    wanted = pl.concat(
        sample.filter(pl.col("session") == day).join(
            baseline(sample, day, sessions=5, min_sessions=enough),
            on=["source", "symbol", "interval", "bucket"],
        )
        for day in sample["session"].unique().sort()
    )
    columns = [*keys, "median", *logs, *(pl.col(name).cast(pl.Int64) for name in ("sessions", "bars"))]
    assert_frame_equal(found.select(columns).sort(keys), wanted.select(columns).sort(keys))


@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    lengths=st.lists(st.sampled_from([390, 210, 25]), min_size=1, max_size=3).map(
        lambda some: [390, 390, 390, *some]
    ),
    asked=st.lists(st.tuples(st.integers(0, 5), st.integers(-45, 15)), min_size=5, max_size=30),
)
def test_the_minute_at_hand_counts_buckets_as_the_sql_does(
    lake: Lake, lengths: list[int], asked: list[tuple[int, int]]
):
    """Asked for around the sessions' ends."""
    opens = [datetime(2026, 3, 2, 14, 30) + timedelta(days=n) for n in range(len(lengths))]
    ends = [opens[n % len(opens)] + (lengths[n % len(opens)] + minute) * MINUTE for n, minute in asked]
    listed = pl.DataFrame(
        {
            "calendar": ["X"] * len(lengths), "open_ts": opens, "minutes": lengths,
            "close_ts": [at + n * MINUTE for at, n in zip(opens, lengths, strict=True)],
            "is_early_close": [n < 390 for n in lengths],
        }
    )  # fmt: skip
    stage(lake.con, "listed", listed)
    stage(lake.con, "asked", pl.DataFrame({"calendar": "X", "ts": ends}))
    known = lake.frame(f"SELECT * EXCLUDE (calendar) FROM {with_closing('listed')} ORDER BY open_ts")
    placed = f"(epoch(a.ts - {counted_from('a.ts')}) // 60)::BIGINT"
    found = lake.frame(
        f"SELECT a.ts, {placed} AS bucket FROM asked AS a "
        f"ASOF LEFT JOIN {with_closing('listed')} AS s ON a.calendar = s.calendar AND a.ts >= s.open_ts"
    )
    assert buckets(seconds(found["ts"]), known).tolist() == found["bucket"].to_list()


HALF_DAY = date(2026, 11, 27)


def bank_bars(source: str, first: int = 0, last: int = 390) -> pl.DataFrame:
    """Eight whole sessions and a half day; of the latter the minutes from `first` on, of all those before `last`.

    Every session's last minute trades 900, every other 10: also the 210th, where the half day ends.
    """
    days = [date(2026, 11, day) for day in (16, 17, 18, 19, 20, 23, 24, 25)] if not first else []
    rows = [
        (datetime(d.year, d.month, d.day, 14, 30) + m * MINUTE, 900.0 if m == length - 1 else 10.0)
        for d, length, end in (*((d, 390, 390) for d in days), (HALF_DAY, 210, min(last, 210)))
        for m in range(first, end)
    ]  # fmt: skip
    columns = {"ts": [ts for ts, _ in rows], "close": [50.0] * len(rows), "volume": [v for _, v in rows]}
    return bars_of(columns, source)


@pytest.mark.capability("ANO-01")
def test_a_half_days_close_is_compared_with_closes(lake: Lake):
    lake.calendars["bank"] = "XNYS"
    lake.load(bank_bars("bank"), "backfill")
    lake.derive({"bank": datetime(2026, 11, 27, 18, 5)})
    ratios = lake.rows(
        "SELECT DISTINCT volume_ratio FROM indicators WHERE source = 'bank' AND interval = '1m' AND ts >= '2026-11-27'"
    )
    assert ratios == [(1.0,)]
    closing = "SELECT median FROM volume_baseline WHERE source = 'bank' AND interval = '1m' AND bucket = "
    assert (lake.one(f"{closing} 209"), lake.one(f"{closing} 389")) == (10.0, 900.0)


def test_the_last_minutes_of_a_half_day_follow_from_what_is_at_hand(lake: Lake):
    lake.calendars["till"] = "XNYS"
    lake.load(bank_bars("till", last=178), "backfill")
    opened = datetime(2026, 11, 27, 14, 30)
    lake.derive({"till": opened + 178 * MINUTE})
    for minute in (178, 179, 180, *range(181, 210, 7), 209):
        came = bank_bars("till", first=minute - 6, last=minute + 1)
        past = lake.past("till")
        assert lake.minute([came], {"till": opened + (minute + 1) * MINUTE}, past).later is not None
    found = lake.rows(
        "SELECT interval, min(volume_ratio), max(volume_ratio), count(volume_ratio) FROM indicators "
        "WHERE source = 'till' AND ts >= '2026-11-27 17:28' GROUP BY ALL ORDER BY 1"
    )
    assert found == [("1m", 1.0, 1.0, 32), ("5m", 1.0, 1.0, 6)]


def test_a_minute_that_seldom_trades_is_judged_by_its_half_hour_and_says_so(lake: Lake):
    """Of nine sessions three have the minute 7; the others trade in minutes 0 to 5 of the same half hour."""
    days = [datetime(2026, 6, day) for day in range(1, 11)]
    at = [day + m * MINUTE for n, day in enumerate(days[:9]) for m in ((0, 7) if n % 3 == 0 else (n % 6,))]
    rows = [(ts, 10.0) for ts in at] + [(days[9], 10.0), (days[9] + 7 * MINUTE, 45.0)]
    lake.load(
        bars_of(
            {"ts": [ts for ts, _ in rows], "close": [5.0] * len(rows), "volume": [v for _, v in rows]},
            "sparse",
        ),
        "backfill",
    )
    lake.derive({"sparse": days[9] + 30 * MINUTE})
    (found,) = rows_of(
        lake.con, "SELECT * FROM anomalies WHERE source = 'sparse' AND kind = 'volume' AND interval = '1m'"
    )
    assert (found["value"], found["baseline"], found["ratio"]) == (45.0, 10.0, 4.5)
    assert "of this half hour of the session (median of 12 bars in 9 sessions before)" in found["reason"]
    told = explain_anomaly(lake.con, lake.context, found)
    assert told.as_json()["equal"], told.checks
    assert len(told.sample) == 12


def bell_bars(days: list[date], opens: dict[date, int], spike: date | None = None) -> pl.DataFrame:
    """Each session's first 20 minutes: the open trades 1000, every later minute 10."""
    rows = [
        (datetime(d.year, d.month, d.day) + timedelta(minutes=opens.get(d, 14 * 60 + 30) + n),
         (3_500.0 if d == spike else 1_000.0 + d.day) if n == 0 else 10.0 + n / 10)
        for d in days for n in range(20)
    ]  # fmt: skip
    return bars_of(
        {"ts": [ts for ts, _ in rows], "close": [100.0] * len(rows), "volume": [v for _, v in rows]}, "bell"
    )


@pytest.mark.capability("ANO-01")
def test_summer_time_and_half_days_move_the_clock_and_not_the_bucket(lake: Lake):
    """The open of the first summer day is 13:30 UTC: in UTC buckets it would be a hundred times the usual."""
    winter = [date(2026, 2, 27), *(date(2026, 3, d) for d in (2, 3, 4, 5, 6))]
    summer = date(2026, 3, 9)
    lake.load(bell_bars([*winter, summer], {summer: 13 * 60 + 30}), "backfill")
    lake.derive({"bell": datetime(2026, 3, 9, 20)})
    opening = lake.rows(
        "SELECT ts, round(volume_ratio, 2) FROM indicators WHERE source = 'bell' AND interval = '1m' "
        "AND ts >= '2026-03-09' ORDER BY ts LIMIT 2"
    )
    assert opening == [(datetime(2026, 3, 9, 13, 30), 1.0), (datetime(2026, 3, 9, 13, 31), 1.0)]
    assert lake.rows("SELECT DISTINCT bucket FROM volume_baseline WHERE source = 'bell' AND interval = '1m' "
                     "ORDER BY 1 LIMIT 2") == [(0,), (1,)]  # fmt: skip
    assert lake.one("SELECT count(*) FROM anomalies WHERE source = 'bell'") == 0


@pytest.mark.capability("ANO-01")
@pytest.mark.capability("ANO-03")
def test_the_judged_session_is_never_in_its_own_baseline(lake: Lake):
    """Five sessions of 100, then 300 and 301: the ratios are 3 and 3.01, and only the second is abnormal."""
    for name, last, found in (("even", 300.0, 0), ("over", 301.0, 1)):
        days = [datetime(2026, 4, 1) + timedelta(days=n) for n in range(6)]
        rows = {"ts": days, "close": [50.0] * 6, "volume": [100.0] * 5 + [last]}
        lake.load(bars_of(rows, name), "backfill")
        lake.derive({name: days[-1] + MINUTE})
        ratio = f"SELECT volume_ratio FROM indicators WHERE source = '{name}' AND ts = '2026-04-06' AND interval = '1m'"
        assert lake.one(ratio) == last / 100
        assert (
            lake.one(f"SELECT count(*) FROM anomalies WHERE source = '{name}' AND kind = 'volume'") == found
        )
        assert lake.rows(
            f"SELECT median, sessions, to_ts FROM volume_baseline WHERE source = '{name}' AND interval = '1m'"
        ) == [(100.0, 5, days[4])]


def test_too_few_sessions_and_no_volume_judge_nothing(lake: Lake):
    days = [datetime(2026, 4, 1) + timedelta(days=n) for n in range(6)]
    lake.load(
        bars_of({"ts": days[1:], "close": [50.0] * 5, "volume": [1.0] * 4 + [900.0]}, "young"), "backfill"
    )
    lake.load(bars_of({"ts": days, "close": [50.0] * 6, "volume": [0.0] * 5 + [900.0]}, "silent"), "backfill")
    lake.derive({"young": days[-1] + MINUTE, "silent": days[-1] + MINUTE})
    assert lake.rows(
        "SELECT DISTINCT volume_ratio, volume_robust_z FROM indicators WHERE source IN ('young', 'silent')"
    ) == [(None, None)]
    assert lake.one("SELECT count(*) FROM anomalies WHERE source IN ('young', 'silent')") == 0


def test_ratios_in_the_warehouse_are_the_references_own(lake: Lake):
    rng = np.random.default_rng(4)
    days = [datetime(2026, 5, 1) + timedelta(days=d, minutes=m) for d in range(9) for m in range(5)]
    lake.load(
        bars_of({"ts": days, "close": [10.0] * 45, "volume": rng.lognormal(2, 1, 45)}, "random"), "backfill"
    )
    lake.derive({"random": days[-1] + MINUTE})
    bars = lake.frame(
        "SELECT source, symbol, '1m' AS interval, ts, volume, ts::DATE AS session, minute(ts)::INTEGER AS bucket "
        "FROM bars WHERE source = 'random' ORDER BY ts"
    )
    wanted = pl.concat(
        judge(
            today.join(
                baseline(bars, today["session"][0]), on=["source", "symbol", "interval", "bucket"], how="left"
            )
        )
        for today in bars.partition_by("session")
    )
    found = lake.frame(
        "SELECT ts, volume_ratio, volume_robust_z FROM indicators WHERE source = 'random' AND interval = '1m'"
    ).sort("ts")
    assert_frame_equal(found, wanted.select(found.columns).sort("ts"))
    assert found["volume_robust_z"].count() == 20
