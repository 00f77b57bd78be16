"""`pairs_aic_fast`, `pairs_aic_numpy`, `pairs_sliding`, `theil_sen_fast`, `corr_matrix`: pairs of 500 series.

The peers take minutes to hours for all pairs, so a sample is measured and scaled up; times are processor time of one
thread, which other work on the machine disturbs least.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import theilslopes
from statsmodels.tsa.stattools import coint

from pipelines.analytics.adf import search
from pipelines.analytics.correlation import correlation_matrix
from pipelines.analytics.grams import Grams
from pipelines.analytics.pairwise import PairTests, both_orders, both_orders_of
from pipelines.analytics.theil_sen import theil_sen
from tests.bench.framework import SEED, Measured, Size, measured, same, settle
from tests.bench.tape import Tape

SERIES = 500
PAIRS = SERIES * (SERIES - 1) // 2
Floats = np.ndarray


@dataclass(frozen=True)
class Spent:
    """The least processor and wall seconds of some calls, and the last answer."""

    cpu: float
    wall: float
    answer: Any


def run_pairs_aic_fast(size: Size) -> Measured:
    """Compiled, and held against numpy for all pairs before statsmodels for some."""
    panel, times = _panel(390), 3 if size.quick else 7
    both_orders(panel[:, :40], fast=True)  # what is compiled is loaded once
    ours = _spent(lambda: both_orders(panel, fast=True), times)
    plain = both_orders(panel, fast=False)
    alike = all(
        same(getattr(ours.answer, name), getattr(plain, name), 1e-12) for name in ("stat", "p", "lags")
    )
    return _beside_statsmodels(
        "pairs_aic_fast", size, panel, ours, alike, "Compiled; numpy gives every pair the same to 1e-12"
    )


def run_pairs_aic_numpy(size: Size) -> Measured:
    """Without the extra `fast`."""
    panel = _panel(390)
    ours = _spent(lambda: both_orders(panel, fast=False), 2 if size.quick else 5)
    return _beside_statsmodels("pairs_aic_numpy", size, panel, ours, True, "numpy alone")


def run_pairs_sliding(size: Size) -> Measured:
    """A minute's new bar taken into the sums, and all pairs tested again."""
    bars, steps = 5_000, 2 if size.quick else 8
    tape = _panel(bars + steps)
    grams = Grams(tape[:bars], search("aic", bars, constant=False)[1])
    legs = np.triu_indices(SERIES, 1)
    both_orders_of(grams, (legs[0][:100], legs[1][:100]), fast=True)
    moves = iter(range(steps))
    least: list[Spent] = []
    for at in moves:
        slid = _spent(lambda at=at: grams.slide(tape[bars + at : bars + at + 1]), 1)
        solved = _spent(lambda: both_orders_of(grams, legs, fast=True), 1)
        least.append(Spent(slid.cpu + solved.cpu, slid.wall + solved.wall, (slid.cpu, solved.answer)))
    ours = min(least, key=lambda one: one.cpu)
    window = tape[steps:]
    anew = _spent(lambda: both_orders(window, fast=True), 1)
    alike = all(
        same(getattr(least[-1].answer[1], name), getattr(anew.answer, name), 1e-10)
        for name in ("stat", "p", "lags")
    )
    moved = Spent(ours.cpu, ours.wall, least[-1].answer[1])
    note = (
        f"The sums move on in {1000 * ours.answer[0]:.1f} ms, made anew they and the tests take {1000 * anew.cpu:.0f} ms, "
        f"every pair the same to 1e-10"
    )
    return _beside_statsmodels("pairs_sliding", size, window, moved, alike, note)


def run_theil_sen_fast(size: Size) -> Measured:
    """Slope, intercept and 95 % interval of one pair, equal to the bit."""
    y, x = _panel(2_000)[:, :2].T.copy()
    theil_sen(y, x, fast=True)
    ours = _spent(lambda: theil_sen(y, x, fast=True), 20)
    theirs = _spent(lambda: theilslopes(y, x), 2 if size.quick else 7)
    line = ours.answer
    apart_y, apart_x = np.subtract.outer(y, y), np.subtract.outer(x, x)
    np.fill_diagonal(apart_x, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        divided = _spent(lambda: np.divide(apart_y, apart_x), 5)
    ordered = _spent(lambda: [np.argsort(y - x * slope) for slope in (0.0, 0.5, 1.0)], 20)
    return measured(
        "theil_sen_fast", "Theil-Sen with its interval, 2,000 bars", 1000 * ours.cpu, "ms",
        peer="scipy theilslopes", theirs=1000 * theirs.cpu,
        agreement=(line.beta, line.alpha, line.beta_lo, line.beta_hi) == tuple(theirs.answer),
        note="Compiled, exact, processor time. Dividing all two million slopes once would take "
        f"{500 * divided.cpu:.1f} ms; most are never formed.",
        bound=1000 * ordered.cpu, bound_by="sorting the bars three times", wall=(1000 * ours.wall, 1000 * theirs.wall),
    )  # fmt: skip


def run_corr_matrix(size: Size) -> Measured:
    """The newest 60 returns of every pair, as each minute needs them."""
    returns = np.diff(_panel(61), axis=0)
    some = _some(100 if size.quick else 1_000)
    frame = pd.DataFrame(returns)
    ours = _spent(lambda: correlation_matrix(returns)[0], 20)
    theirs = _spent(lambda: [frame[i].rolling(60).corr(frame[j]).iloc[-1] for i, j in some], 2)
    whole = _spent(lambda: frame.corr(), 2)
    corrcoef = _spent(lambda: np.corrcoef(returns.T), 5)
    product = _spent(lambda: returns.T @ returns, 20)
    alike = same(ours.answer[tuple(some.T)], theirs.answer, 1e-9) and same(ours.answer, whole.answer, 1e-9)
    return measured(
        "corr_matrix", f"Correlations of {PAIRS:,} pairs over the newest 60 returns", 1000 * ours.cpu, "ms",
        peer="pandas rolling(60).corr a pair", theirs=1000 * theirs.cpu * PAIRS / len(some), agreement=alike,
        note=f"Peer: {len(some)} pairs, scaled up. Processor time. For comparison, pandas' DataFrame.corr "
        f"{1000 * whole.cpu:.0f} ms, np.corrcoef {1000 * corrcoef.cpu:.1f} ms.",
        bound=1000 * product.cpu, bound_by="one matrix product",
        wall=(1000 * ours.wall, 1000 * theirs.wall * PAIRS / len(some)),
    )  # fmt: skip


def _beside_statsmodels(name: str, size: Size, panel: Floats, ours: Spent, alike: bool, how: str) -> Measured:
    """Two calls of `coint` a pair for both orders, of a sample; t and p within 1e-8 of ours."""
    count = max(3, (4_000 if size.quick else 20_000) // len(panel))
    tests: PairTests = ours.answer
    some = np.random.default_rng(SEED).choice(PAIRS, count, replace=False)
    centred = panel - panel.mean(axis=0)

    def loop() -> list[list[tuple[float, float]]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [
                [coint(centred[:, a], centred[:, b], autolag="aic")[:2] for a, b in ((y, x), (x, y))]
                for y, x in zip(tests.y[some], tests.x[some], strict=True)
            ]

    loop()  # its first calls are slower
    theirs = _spent(loop, 2)
    answers = np.array(theirs.answer)
    error = max(
        float(np.abs(answers[..., 0] - tests.stat[some]).max()),
        float(np.abs(answers[..., 1] - tests.p[some]).max()),
    )
    most = search("aic", len(panel), constant=False)[1]
    lags, rate = _lags(tests), _rate()
    return measured(
        name, f"Engle-Granger of {PAIRS:,} pairs in both orders, {len(panel):,} bars, AIC over 0..{most} lags", 1000 * ours.cpu, "ms",
        peer="statsmodels coint, a loop", theirs=1000 * theirs.cpu * PAIRS / count, agreement=alike and error <= 1e-8,
        note=f"{how}. Peer: {count} pairs ({1000 * theirs.cpu / count:.1f} ms each), scaled up; largest difference {error:.0e} "
        f"in t and p. Processor time; {lags}.",
        bound=1000 * _flops(most) / rate / 1e9, bound_by=f"the factorisations at the {rate:.0f} Gflop/s of a large matrix product",
        wall=(1000 * ours.wall, 1000 * theirs.wall * PAIRS / count),
    )  # fmt: skip


def _flops(most: int) -> float:
    """Of the lag-choosing factorisations of all pairs in both orders."""
    return 2.0 * PAIRS * (most + 2) ** 3 / 3


def _rate() -> float:
    """Gflop/s of one thread in a matrix product of 1,000 x 1,000."""
    a = np.random.default_rng(0).normal(size=(1_000, 1_000))
    return 2.0 / _spent(lambda: a @ a.T.copy(), 3).cpu


def _lags(tests: PairTests) -> str:
    return f"{np.mean(tests.lags == 0):.0%} of them choose no lag"


def _some(count: int) -> Floats:
    rng = np.random.default_rng(SEED)
    first = rng.integers(0, SERIES, count)
    return np.column_stack([first, (first + rng.integers(1, SERIES, count)) % SERIES])


def _panel(bars: int) -> Floats:
    """Log prices, (bars, series)."""
    return np.ascontiguousarray(np.log(Tape.of(SERIES, bars).close).T)


def _spent(work: Callable[[], Any], times: int) -> Spent:
    cpu, wall, answer = [], [], None
    settle()
    for _ in range(times):
        gc.collect()
        gc.disable()
        before = time.process_time(), time.perf_counter()
        answer = work()
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
        gc.enable()
    return Spent(min(cpu), min(wall), answer)
