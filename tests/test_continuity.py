"""The ids that are missing are exactly those that never came, in whatever order the others did."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import continuity
from pipelines.continuity import TRIES, Continuity

START = datetime(2026, 7, 8, 16)


def at(number: int) -> datetime:
    return START + timedelta(seconds=number)


def trades(*ids: int, symbol: str = "BTCUSDT") -> pl.DataFrame:
    rows = [(symbol, number, at(number)) for number in ids]
    return pl.DataFrame(
        rows, schema={"symbol": pl.String, "trade_id": pl.Int64, "ts": pl.Datetime("us")}, orient="row"
    )


def missing(state: Continuity) -> set[int]:
    return {number for hole in state.holes for number in range(hole.first, hole.last + 1)}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=6))
def test_missing_is_what_lies_between_first_and_last_and_never_came(deliveries):
    state = Continuity()
    state.take(trades(0))
    came = {0}
    for ids in deliveries:
        state.take(trades(*ids))
        came |= set(ids)
    assert missing(state) == set(range(max(came))) - came
    for hole in state.holes:
        assert hole.after <= at(hole.first)
        assert at(hole.last) <= hole.before


def test_symbols_have_their_own_ids():
    state = Continuity()
    state.take(pl.concat([trades(5, 6, 9), trades(100, 101, symbol="ETHUSDT")]))
    assert [(hole.symbol, hole.first, hole.last) for hole in state.holes] == [("BTCUSDT", 7, 8)]
    state.fill("BTCUSDT", [7, 8])
    assert state.holes == []


def test_what_the_venue_does_not_give_three_times_is_given_up():
    state = Continuity()
    state.take(trades(1, 4))
    asked = {("BTCUSDT", 2)}
    for _ in range(TRIES - 1):
        assert state.tried(asked) == []
        assert len(state.awaited) == 1
    assert [(hole.first, hole.last) for hole in state.tried(asked)] == [(2, 3)]
    assert (state.awaited, state.tried(asked)) == ([], [])
    assert [hole.missing for hole in state.holes] == [2]


def test_a_lone_senseless_id_is_no_hole_and_a_new_sequence_begins_anew():
    state = Continuity()
    state.take(trades(1, 2))
    state.take(pl.concat([trades(3, 4), trades(0).with_columns(trade_id=pl.lit(10**15, pl.Int64))]))
    assert (state.reached["BTCUSDT"].last, state.holes) == (4, [])
    later = trades(5, 6).with_columns(pl.col("trade_id") + 10**9)
    state.take(later)
    assert (state.reached["BTCUSDT"].last, state.holes) == (10**9 + 6, [])
    assert state.reached["BTCUSDT"].since == at(5)


def test_the_note_comes_back_as_it_was_and_a_torn_one_is_none(tmp_path):
    state = Continuity()
    state.take(trades(1, 4))
    continuity.save(tmp_path / "ids.json", state)
    assert continuity.load(tmp_path / "ids.json") == state
    (tmp_path / "ids.json").write_bytes((tmp_path / "ids.json").read_bytes()[:-5])
    assert continuity.load(tmp_path / "ids.json") is None


@pytest.mark.parametrize("broken", [b"", b"[]", b'{"reached": {"A": {}}, "holes": []}'])
def test_a_senseless_note_is_none(tmp_path, broken):
    (tmp_path / "ids.json").write_bytes(broken)
    assert continuity.load(tmp_path / "ids.json") is None
