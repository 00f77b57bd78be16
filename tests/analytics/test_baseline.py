"""The usual volume of a minute, without the bar it judges."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import median_abs_deviation

from pipelines.analytics.baseline import baseline, judge

MONDAY = date(2026, 3, 2)


def volumes(per_session: list[float], bucket: int = 0) -> pl.DataFrame:
    """One bar of the bucket in each session before Monday, the oldest first."""
    n = len(per_session)
    return pl.DataFrame(
        {
            "source": ["yahoo"] * n,
            "symbol": ["AAPL"] * n,
            "interval": ["1m"] * n,
            "bucket": [bucket] * n,
            "session": [MONDAY - timedelta(days=n - i) for i in range(n)],
            "volume": per_session,
        }
    )


def judged(frame: pl.DataFrame, volume: float) -> tuple[float | None, float | None]:
    return judge(frame.with_columns(volume=pl.lit(volume))).select("volume_ratio", "volume_robust_z").row(0)


@pytest.mark.capability("ANO-01")
def test_three_times_the_usual_is_three() -> None:
    with_today = pl.concat([volumes([100.0] * 20), volumes([300.0]).with_columns(session=pl.lit(MONDAY))])
    assert judged(baseline(with_today, MONDAY), 300.0) == (3.0, None)


def test_statistics_equal_numpys() -> None:
    sample = np.random.default_rng(1).gamma(2.0, 50.0, 20)
    row = baseline(volumes(sample.tolist()), MONDAY).row(0, named=True)
    expected = {"median": np.median(sample), "mad": median_abs_deviation(sample), "mean": sample.mean()}
    expected |= {"std": sample.std(ddof=1), "log_mad": median_abs_deviation(np.log(sample)), "sessions": 20}
    for name, value in expected.items():
        assert row[name] == pytest.approx(value), name
    assert (row["from_session"], row["to_session"]) == (
        MONDAY - timedelta(days=20),
        MONDAY - timedelta(days=1),
    )


def test_only_the_last_sessions_count() -> None:
    row = baseline(volumes([1e6] * 10 + [100.0] * 20), MONDAY, sessions=20).row(0, named=True)
    assert (row["mean"], row["sessions"]) == (100.0, 20)


def test_too_few_sessions_have_no_baseline() -> None:
    assert baseline(volumes([100.0] * 4), MONDAY).is_empty()
    assert baseline(volumes([100.0] * 5), MONDAY).height == 1


def test_one_wild_session_does_not_hide_a_surge() -> None:
    rng = np.random.default_rng(3)
    sample = [*(100 * np.exp(rng.normal(0, 0.1, 19))).tolist(), 10_000.0]
    _, z = judged(baseline(volumes(sample), MONDAY), 400.0)
    assert z is not None
    assert z > 8


def test_robust_z_is_of_the_logarithm() -> None:
    sample = [50.0, 80.0, 100.0, 125.0, 200.0]
    _, z = judged(baseline(volumes(sample), MONDAY), 400.0)
    assert z == pytest.approx(0.6745 * np.log(4) / median_abs_deviation(np.log(sample)))


def test_where_most_sessions_agree_the_mean_deviation_judges() -> None:
    sample = [100.0] * 6 + [200.0]
    _, z = judged(baseline(volumes(sample), MONDAY), 400.0)
    assert z == pytest.approx(np.log(4) / (1.2533 * np.log(2) / 7))


def test_no_usual_volume_no_ratio() -> None:
    quiet = baseline(volumes([0.0] * 19 + [5.0]), MONDAY)
    assert judged(quiet, 50.0) == (None, None)
    assert judged(baseline(volumes([100.0, 90.0, 80.0, 110.0, 95.0]), MONDAY), 0.0) == (0.0, None)


def test_without_a_baseline_joined_both_are_null() -> None:
    assert judge(pl.DataFrame({"volume": [1.0]})).row(0) == (1.0, None, None)
