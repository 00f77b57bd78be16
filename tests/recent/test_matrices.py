"""The newest bars of many series as matrices: what stands below what, whatever each series brings."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.recent.matrices import TS, Matrices, Rows

BROUGHT = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=5)
"""Of each series: how many of its last bars go, and how many come."""


def lists(matrices: Matrices) -> list[list[float]]:
    """Each series' times, oldest first."""
    return [[ts for ts in column if not np.isnan(ts)] for column in matrices.column(TS, 1 << 30).T.tolist()]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(BROUGHT, min_size=1, max_size=3), held=st.integers(3, 6))
def test_rows_stand_in_place_of_each_series_last_bars_in_whatever_number(
    steps: list[list[tuple[int, int]]], held: int
):
    count = len(steps[0])
    clock = np.arange(held * 1.0)
    wanted = [clock.tolist() for _ in range(count)]
    matrices = Matrices.of((TS, "close"), np.stack([np.stack([clock, -clock]).T] * count, axis=2))
    fresh = float(held)
    for step in steps:
        shapes = [step[n % len(step)] for n in range(count)]
        behind = [min(gone, len(wanted[n])) for n, (gone, _) in enumerate(shapes)]
        series, ts = [], []
        for n, (_, come) in enumerate(shapes):
            new = [fresh + at for at in range(come)]
            wanted[n] = wanted[n][: len(wanted[n]) - behind[n]] + new
            series += [n] * come
            ts += new
            fresh += come
        times = np.array(ts)
        matrices = matrices.grown(np.array(behind), Rows(np.array(series, int), {TS: times, "close": -times}))
    assert lists(matrices) == wanted
    assert np.array_equal(matrices.column("close", 99), -matrices.column(TS, 99), equal_nan=True)
    assert np.array_equal(matrices.tail(2)[-1, 0], matrices.column(TS, 1)[0], equal_nan=True)
