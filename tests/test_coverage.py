"""Each expected minute has exactly one state, and what is missing is told as gaps."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.coverage import STATES, coverage, gaps, grid, states

MINUTE = timedelta(minutes=1)
MIDNIGHT = datetime(2026, 11, 20)
END = MIDNIGHT + timedelta(days=1)

SERIES_SCHEMA = {
    "source": pl.String,
    "symbol": pl.String,
    "calendar": pl.String,
    "since": pl.Datetime("us"),
    "until": pl.Datetime("us"),
}
BARS_SCHEMA = {
    "source": pl.String,
    "symbol": pl.String,
    "ts": pl.Datetime("us"),
    "volume": pl.Float64,
    "trades": pl.Int64,
    "origin": pl.String,
    "revision": pl.Int32,
    "known_at": pl.Datetime("us"),
    "first_seen": pl.Datetime("us"),
}
SPAN_SCHEMA = {
    "source": pl.String,
    "symbol": pl.String,
    "from_ts": pl.Datetime("us"),
    "to_ts": pl.Datetime("us"),
    "state": pl.String,
}


def sessions(*spans: tuple[datetime, datetime], calendar: str = "24/7") -> pl.DataFrame:
    rows = [(calendar, opens.date(), opens, closes) for opens, closes in spans]
    times = {"open_ts": pl.Datetime("us"), "close_ts": pl.Datetime("us")}
    return pl.DataFrame(rows, schema={"calendar": pl.String, "session": pl.Date, **times}, orient="row")


def series(
    *names: str, calendar: str = "24/7", since: datetime | None = None, until: datetime | None = None
) -> pl.DataFrame:
    rows = [("binance", name, calendar, since, until) for name in names or ("BTCUSDT",)]
    return pl.DataFrame(rows, schema=SERIES_SCHEMA, orient="row")


def bar(ts: datetime, symbol: str = "BTCUSDT", **changes: Any) -> dict[str, Any]:
    usual = {
        "volume": 1.0,
        "trades": 1,
        "origin": "rest",
        "revision": 1,
        "known_at": ts + MINUTE,
        "first_seen": MIDNIGHT,
    }
    return {"source": "binance", "symbol": symbol, "ts": ts} | usual | changes


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BARS_SCHEMA, orient="row")


def spans(*rows: tuple[datetime, datetime, str]) -> pl.DataFrame:
    return pl.DataFrame([("binance", "BTCUSDT", *row) for row in rows], schema=SPAN_SCHEMA, orient="row")


DAY = grid(sessions((MIDNIGHT, END)))
WHOLE_DAY = [bar(MIDNIGHT + number * MINUTE) for number in range(1440)]


def at(hour: int, minute: int) -> datetime:
    return MIDNIGHT + timedelta(hours=hour, minutes=minute)


def state_of(change: dict[str, Any] | None, now: datetime = END, **options: Any) -> str | None:
    """The state of 10:00 in a day that has only this bar at 10:00, or none."""
    rows = [] if change is None else [bar(at(10, 0), **change)]
    judged = states(DAY, series(), frame(rows), now, **options).filter(pl.col("ts") == at(10, 0))
    return judged["state"].item() if judged.height else None


@pytest.mark.capability("ING-15")
def test_a_half_day_expects_its_own_minutes():
    half = sessions((datetime(2026, 11, 27, 14, 30), datetime(2026, 11, 27, 18)), calendar="XNYS")
    judged = states(grid(half), series("SPY", calendar="XNYS"), frame([]), datetime(2026, 11, 28))
    assert coverage(judged).select("day", "expected", "missing").rows() == [(date(2026, 11, 27), 210, 210)]


def test_the_minutes_of_a_midday_break_are_not_expected():
    tokyo = sessions((at(0, 0), at(6, 0))).with_columns(
        break_start=pl.lit(at(2, 30)), break_end=pl.lit(at(3, 30))
    )
    minutes = grid(tokyo)
    assert minutes.height == 300
    assert not minutes["ts"].is_between(at(2, 30), at(3, 29)).any()
    assert grid(tokyo.with_columns(break_start=None, break_end=None)).height == 360


def test_a_feed_dead_for_eighteen_minutes_is_one_gap():
    rows = [row for row in WHOLE_DAY if not at(10, 0) <= row["ts"] <= at(10, 17)]
    judged = states(DAY, series(), frame(rows), END + timedelta(hours=1))
    assert gaps(judged).rows() == [("binance", "BTCUSDT", at(10, 0), at(10, 18), 18)]
    assert coverage(judged).row(0, named=True) == {
        "source": "binance", "symbol": "BTCUSDT", "day": date(2026, 11, 20), "expected": 1440,
        "ok": 1422, "no_trade": 0, "missing": 18, "healed": 0, "lost": 0, "late": 0,
    }  # fmt: skip


@pytest.mark.capability("ING-05")
def test_healed_minutes_close_the_gap_and_keep_their_mark():
    rows = [row | ({"origin": "heal"} if row["ts"].hour == 10 else {}) for row in WHOLE_DAY]
    judged = states(DAY, series(), frame(rows), END + timedelta(hours=1))
    assert gaps(judged).height == 0
    assert coverage(judged).select("ok", "healed").rows() == [(1380, 60)]


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "ok"),
        ({"origin": "backfill"}, "ok"),
        ({"origin": "import"}, "ok"),
        ({"origin": "heal"}, "healed"),
        ({"origin": "fallback"}, "healed"),
        ({"volume": 0.0, "trades": 0}, "no_trade"),
        ({"volume": 0.0, "trades": None}, "no_trade"),
        ({"volume": 0.0, "trades": 3}, "ok"),
        ({"volume": 0.0, "trades": 0, "origin": "heal"}, "healed"),
        ({"known_at": at(10, 4)}, "ok"),
        ({"known_at": at(10, 4) + timedelta(seconds=1)}, "late"),
        ({"known_at": at(10, 5), "origin": "stream"}, "late"),
        ({"known_at": at(10, 50), "first_seen": at(10, 50)}, "ok"),
        ({"known_at": at(10, 54), "first_seen": at(10, 50)}, "late"),
        ({"known_at": at(10, 5), "origin": "backfill"}, "ok"),
        ({"known_at": at(23, 0), "revision": 2}, "ok"),
        ({"known_at": None}, "ok"),
        (None, "missing"),
    ],
)
def test_a_minute_has_the_first_state_that_fits(change, state):
    assert state_of(change) == state


def test_lateness_is_not_judged_where_the_sources_clock_is_not_ours():
    assert state_of({"known_at": datetime(2030, 1, 1)}, late_after=None) == "ok"


@pytest.mark.parametrize(
    ("now", "absent", "present"),
    [
        (at(10, 0), None, None),
        (at(10, 0) + timedelta(seconds=59), None, None),
        (at(10, 1), None, "ok"),
        (at(10, 2) + timedelta(seconds=59), None, "ok"),
        (at(10, 3), "missing", "ok"),
    ],
)
def test_a_minute_is_expected_once_it_is_there_or_its_grace_is_over(now, absent, present):
    assert (state_of(None, now), state_of({}, now)) == (absent, present)


@pytest.mark.capability("ING-12")
def test_a_minute_absent_from_imported_history_is_no_trade_and_never_a_gap():
    imported = spans((at(9, 0), at(11, 0), "no_trade"), (at(9, 30), at(9, 40), "no_trade"))
    judged = states(DAY, series(since=at(9, 0), until=at(11, 0)), frame([]), END, imported)
    assert coverage(judged).select("expected", "no_trade", "missing").rows() == [(120, 120, 0)]
    assert gaps(judged).height == 0


def test_what_the_healer_has_given_up_is_lost_unless_a_file_says_nothing_traded():
    lost = (at(10, 0), at(10, 1), "lost")
    assert state_of(None, absences=spans(lost)) == "lost"
    assert state_of({}, absences=spans(lost)) == "ok"
    assert state_of(None, absences=spans(lost, (at(9, 0), at(11, 0), "no_trade"))) == "no_trade"
    judged = states(DAY, series(), frame([]), END, spans(lost))
    assert gaps(judged, "lost")["minutes"].to_list() == [1]


def test_a_span_belongs_to_its_own_series():
    judged = states(DAY, series("BTCUSDT", "ETHUSDT"), frame([]), END, spans((MIDNIGHT, END, "no_trade")))
    assert gaps(judged).select("symbol", "minutes").rows() == [("ETHUSDT", 1438)]


def test_a_gap_goes_on_over_the_night():
    two_days = grid(sessions((at(14, 30), at(21, 0)), (at(38, 30), at(45, 0)), calendar="XNYS"))
    rows = [bar(ts, "SPY") for ts in two_days["ts"] if not at(20, 55) <= ts < at(38, 35)]
    judged = states(two_days, series("SPY", calendar="XNYS"), frame(rows), at(48, 0))
    assert gaps(judged).rows() == [("binance", "SPY", at(20, 55), at(38, 35), 10)]
    assert coverage(judged)["missing"].to_list() == [5, 5]


def test_bars_outside_the_sessions_do_not_count():
    early = frame([bar(at(14, 29)), bar(at(14, 30))])
    judged = states(grid(sessions((at(14, 30), at(14, 32)))), series(), early, END)
    assert judged.select("ts", "state").rows() == [(at(14, 30), "ok"), (at(14, 31), "missing")]


OPENINGS = (at(9, 0), at(9, 20), at(33, 0))
LENGTHS = st.tuples(*(st.integers(0, 12) for _ in OPENINGS))
FACTS = st.fixed_dictionaries(
    {
        "volume": st.sampled_from([0.0, 1.0]),
        "trades": st.sampled_from([0, 1, None]),
        "origin": st.sampled_from(["rest", "stream", "backfill", "import", "heal", "fallback"]),
        "revision": st.sampled_from([1, 2]),
        "delay": st.integers(0, 8),
    }
)
MINUTES = st.one_of(st.integers(0, 45), st.integers(24 * 60, 24 * 60 + 15)).map(lambda number: at(9, number))
BARS = st.dictionaries(st.tuples(st.sampled_from(["A", "B"]), MINUTES), FACTS, max_size=40)
SPANS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]),
        MINUTES,
        st.integers(0, 30),
        st.sampled_from(["no_trade", "lost", "refused"]),
    ),
    max_size=6,
)
OPTIONAL_MINUTE = st.one_of(st.none(), MINUTES)


@settings(max_examples=150, deadline=None)
@given(lengths=LENGTHS, known=BARS, absent=SPANS, now=MINUTES, since=OPTIONAL_MINUTE, until=OPTIONAL_MINUTE)
def test_states_sum_to_expected_and_gaps_hold_exactly_the_missing_minutes(
    lengths, known, absent, now, since, until
):
    minutes = grid(
        sessions(*((opens, opens + count * MINUTE) for opens, count in zip(OPENINGS, lengths, strict=True)))
    )
    rows = [
        bar(
            ts,
            symbol,
            known_at=ts + (1 + facts["delay"]) * MINUTE,
            **{k: v for k, v in facts.items() if k != "delay"},
        )
        for (symbol, ts), facts in known.items()
    ]
    held = [
        ("binance", symbol, start, start + count * MINUTE, state) for symbol, start, count, state in absent
    ]
    judged = states(
        minutes, series("A", "B", since=since, until=until), frame(rows), now,
        pl.DataFrame(held, schema=SPAN_SCHEMA, orient="row"),
    )  # fmt: skip

    told = {(symbol, ts): state for symbol, ts, state in judged.select("symbol", "ts", "state").iter_rows()}
    assert len(told) == judged.height
    assert judged.equals(judged.sort("source", "symbol", "ts"))
    assert told == {
        (symbol, ts): state
        for symbol in ("A", "B")
        for ts in minutes["ts"]
        if (since is None or ts >= since) and (until is None or ts < until)
        and (state := by_hand(symbol, ts, known, absent, now))
    }  # fmt: skip

    days = coverage(judged)
    assert days["expected"].sum() == judged.height
    assert (days.select(pl.sum_horizontal(STATES)).to_series() == days["expected"]).all()

    found = gaps(judged)
    inside = Counter(
        (gap["symbol"], ts)
        for gap in found.iter_rows(named=True)
        for ts in minutes["ts"]
        if gap["from_ts"] <= ts < gap["to_ts"]
    )
    assert inside == Counter(key for key, state in told.items() if state == "missing")
    assert found["minutes"].sum() == len(inside)
    order = {ts: number for number, ts in enumerate(minutes["ts"])}
    for _, runs in found.group_by("symbol", maintain_order=True):
        for before, after in pairwise(runs.iter_rows(named=True)):
            assert order[after["from_ts"]] > order[before["to_ts"] - MINUTE] + 1


def by_hand(symbol: str, ts: datetime, known: dict, absent: list, now: datetime) -> str | None:
    """The state by the words of the module, one minute at a time; None if it is not expected."""
    if ts + MINUTE > now:
        return None
    if facts := known.get((symbol, ts)):
        if facts["origin"] in ("heal", "fallback"):
            return "healed"
        if facts["origin"] in ("rest", "stream") and facts["revision"] == 1 and facts["delay"] > 3:
            return "late"
        return "no_trade" if facts["volume"] == 0 and not facts["trades"] else "ok"
    if ts + 3 * MINUTE > now:
        return None
    said = {
        state
        for name, start, count, state in absent
        if name == symbol and start <= ts < start + count * MINUTE
    }
    if "no_trade" in said and "refused" not in said:
        return "no_trade"
    return "lost" if "lost" in said else "missing"


def test_five_hundred_series_are_judged_at_once():
    names = [f"S{number}" for number in range(500)]
    hour = frame([bar(at(0, number)) for number in range(60)]).drop("symbol")
    everyone = hour.join(pl.DataFrame({"symbol": names}), how="cross").select(*BARS_SCHEMA)
    rows = everyone.filter((pl.col("symbol") != "S7") | (pl.col("ts") < at(0, 42)))
    judged = states(DAY, series(*names), rows, at(1, 0))
    totals = coverage(judged).select(pl.col("expected", "ok", "missing").sum()).row(0)
    # S7's minutes of 00:58 and 00:59 are within their grace.
    assert totals == (500 * 60 - 2, 499 * 60 + 42, 16)
    assert gaps(judged).rows() == [("binance", "S7", at(0, 42), at(0, 58), 16)]


@pytest.mark.realdata
def test_the_outage_of_march_2023_is_found_in_recorded_bars(shared_data):
    recorded = pl.read_parquet(shared_data / "bars_1m" / "iaqf2023_coinbase_btcusd_1m.parquet")
    bars = recorded.select(
        pl.lit("binance").alias("source"),
        pl.lit("BTCUSDT").alias("symbol"),
        pl.col("timestamp").dt.replace_time_zone(None).cast(pl.Datetime("us")).alias("ts"),
        "volume",
        pl.lit(None, pl.Int64).alias("trades"),
        pl.lit("backfill").alias("origin"),
        pl.lit(1).alias("revision"),
        pl.lit(None, pl.Datetime("us")).alias("known_at"),
        pl.lit(None, pl.Datetime("us")).alias("first_seen"),
    )
    days = [datetime(2023, 3, 1) + timedelta(days=number) for number in range(21)]
    minutes = grid(sessions(*((day, day + timedelta(days=1)) for day in days)))
    judged = states(minutes, series(), bars, datetime(2023, 3, 23))
    assert coverage(judged).select(pl.col("expected", "ok", "missing").sum()).row(0) == (30_240, 29_950, 290)
    assert (gaps(judged).height, gaps(judged)["minutes"].max()) == (11, 277)
