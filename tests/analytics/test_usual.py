"""One minute's baseline on arrays is the reference's: the same sample, the same numbers."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.analytics import usual
from pipelines.analytics.baseline import SESSIONS, baseline
from pipelines.analytics.baseline import judge as judge_frame

MONDAY = date(2026, 3, 2)


@pytest.mark.capability("ANO-01")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sessions=st.integers(1, SESSIONS),
    keep=st.sampled_from([0.3, 0.9, 1.0]),
    zeros=st.sampled_from([0.0, 0.5]),
)
def test_arrays_give_what_the_reference_gives(seed: int, sessions: int, keep: float, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    volumes = np.round(rng.lognormal(3, 1, (4, sessions)), 2) * (rng.random((4, sessions)) >= zeros)
    volumes[rng.random((4, sessions)) >= keep] = np.nan
    new = np.round(rng.lognormal(4, 1, 4), 2) * (rng.random(4) >= zeros)
    ratio, z = usual.judge(new, usual.usual(volumes))

    rows = [
        ("s", str(i), "1m", 0, MONDAY - timedelta(days=1 + day), float(volumes[i, day]))
        for i in range(4)
        for day in range(sessions)
        if not np.isnan(volumes[i, day])
    ]
    names = ("source", "symbol", "interval", "bucket", "session", "volume")
    kinds = (pl.String, pl.String, pl.String, pl.Int64, pl.Date, pl.Float64)
    sample = pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
    known = baseline(sample, MONDAY)
    bars = pl.DataFrame({"symbol": [str(i) for i in range(4)], "volume": new})
    judged = judge_frame(bars.join(known.drop("source"), on="symbol", how="left", maintain_order="left"))
    for ours, column in ((ratio, "volume_ratio"), (z, "volume_robust_z")):
        np.testing.assert_allclose(
            ours, judged[column].fill_null(np.nan).to_numpy(), rtol=1e-12, err_msg=column
        )
