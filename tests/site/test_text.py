import math
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (64250.0, "64,250.00"),
        (-0.001, "0.00"),
        (-1.5, "−1.50"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_a_number_is_said_with_a_true_minus_and_a_missing_one_as_a_dash(value, said):
    assert text.number(value) == said


def test_a_rounded_zero_has_no_sign():
    assert text.signed(0.001, 2) == "0.00"
    assert text.percent(-0.000001) == "0.00 %"
    assert text.percent(0.0142) == "+1.42 %"


@pytest.mark.parametrize(
    ("seconds", "said"), [(14, "14 s"), (119, "119 s"), (120, "2 min"), (9660, "2 h 41 min"), (200000, "2 d")]
)
def test_a_duration_is_said_in_its_largest_useful_unit(seconds, said):
    assert text.duration(seconds) == text.duration(timedelta(seconds=seconds)) == said


def test_volumes_are_short():
    assert [text.compact(v) for v in (0.0042, 950.0, 33_812.0, 1.5e6, -2.5e9)] == [
        "0.0042",
        "950",
        "33.81K",
        "1.5M",
        "−2.5B",
    ]


def test_a_figure_keeps_three_digits_whatever_its_size():
    said = [text.figure(value, 1) for value in (0.05968, 64250.4, 8.54, -0.00012345, 0.0, 1e-17, None)]
    assert said == ["0.0597", "64,250.4", "8.54", "−0.000123", "0.0", "0.0", "–"]
    assert [text.times(value) for value in (8.54, 0.0412)] == ["8.5×", "0.0412×"]


def test_times_are_utc_and_say_so():
    at = datetime(2026, 11, 20, 9, 41, 7)
    assert (text.clock(at), text.stamp(at), text.iso(at)) == ("09:41", "20 Nov 09:41", "2026-11-20T09:41:07Z")
    assert text.full_time(at).endswith("UTC")


@given(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)))
def test_no_value_at_all_breaks_a_page(value):
    for said in (
        text.number,
        text.figure,
        text.signed,
        text.percent,
        text.compact,
        text.times,
        text.probability,
    ):
        assert isinstance(said(value), str)
        assert "nan" not in said(value)
        assert "inf" not in said(value)


def test_what_was_measured_is_told_in_the_unit_of_its_kind():
    said = [
        text.quantity(value, kind)
        for value, kind in ((0.01791, "volatility"), (2976.0, "gap"), (352.0, "volume"), (None, "gap"))
    ]
    assert said == ["1.791 %", "2,976 min", "352", "–"]
    assert [text.usual("latency", 100.0), text.usual("gap", 0.0), text.usual("volume", 41.2)] == [
        "limit 100 ms",
        "–",
        "41.2",
    ]
