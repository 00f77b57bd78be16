"""A correlation that has broken is found, one that has not is left alone, whatever the tails."""

from __future__ import annotations

import numpy as np

from pipelines.analytics.breaks import RECENT, USUAL, breaks
from pipelines.analytics.detectors import Thresholds

STEP = 60.0
ONE, OTHER = np.array([0]), np.array([1])


def pair(rho: float, then: float, seed: int, bars: int = 600) -> np.ndarray:
    """Closes of two legs, returns Student's t of 3 degrees with common shocks; the newest RECENT correlate by `then`."""
    rng = np.random.default_rng(seed)
    share = np.where(np.arange(bars - 1) < bars - 1 - RECENT, rho, then)
    left, right = rng.standard_normal((2, bars - 1))
    steps = np.stack([left, share * left + np.sqrt(1 - share**2) * right], axis=1)
    steps = steps / np.sqrt(rng.chisquare(3, (bars - 1, 1)) / 3)
    return np.exp(np.concatenate([[[0.0, 0.0]], np.cumsum(1e-3 * steps, axis=0)]))


def seen(closes: np.ndarray, seconds: np.ndarray | None = None) -> list[int]:
    at = np.arange(len(closes)) * STEP if seconds is None else seconds
    found = breaks(closes, at, STEP, ONE, OTHER)
    assert found is not None
    return found.beyond(Thresholds()).tolist()


def test_three_hundred_heavy_tailed_pairs_that_hold_are_left_alone() -> None:
    assert [seed for seed in range(300) if seen(pair(0.6, 0.6, seed))] == []


def test_nearly_every_break_from_strong_to_none_is_found() -> None:
    assert sum(bool(seen(pair(0.8, 0.0, seed))) for seed in range(100)) >= 90


def test_a_change_that_is_certain_but_small_is_none() -> None:
    rng = np.random.default_rng(0)
    steps = (
        rng.normal(0, 1e-3, (600, 1))
        + rng.normal(0, 1e-4, (600, 2)) * np.where(np.arange(600) < 540, 3, 0.1)[:, None]
    )
    found = breaks(np.exp(np.cumsum(steps, axis=0)), np.arange(600) * STEP, STEP, ONE, OTHER)
    assert found is not None
    assert abs(found.zscore[0]) > 5
    assert found.beyond(Thresholds()).size == 0


def test_too_few_returns_or_a_price_that_stands_say_nothing() -> None:
    closes = pair(0.8, 0.0, 1)
    assert breaks(closes[: RECENT + USUAL], np.arange(RECENT + USUAL) * STEP, STEP, ONE, OTHER) is None
    still = closes.copy()
    still[-RECENT - 1 :, 1] = still[-RECENT - 1, 1]
    assert seen(still) == []


def test_a_night_is_no_return() -> None:
    closes, seconds = pair(0.8, 0.8, 2), np.arange(600) * STEP
    closes[400:, 0] *= 3
    nightly = seconds + np.where(np.arange(600) < 400, 0, 60_000)
    calm = breaks(closes, nightly, STEP, ONE, OTHER)
    assert calm is not None
    assert (calm.n, calm.n_usual) == (60, 538)
