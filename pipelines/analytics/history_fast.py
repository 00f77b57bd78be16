"""What `history` does bar by bar, as machine code: the same operations in the same order, so the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.analytics import moments
from pipelines.analytics.compiled import compiled
from pipelines.analytics.moments import Join, New, Sample
from pipelines.analytics.params import IndicatorParams
from pipelines.analytics.smoothing import NO_MOVE, Chains
from pipelines.analytics.windows import Floats, Integers

INPUTS = ("close", "gain", "loss", "range")


def averaged(
    close: Floats,
    high: Floats,
    low: Floats,
    edges: Sequence[int],
    params: IndicatorParams,
    out: Mapping[str, Floats],
) -> None:
    """Fills `out` (column -> one value a bar) as `smoothing.smoothed` does; series lie behind one another."""
    chains = Chains.of(params)
    bounds = np.asarray(edges, dtype=np.int64)
    slow = {}
    for chain in chains.direct:
        target = out.get(chain.name)
        if target is None:
            target = slow[chain.name] = np.empty(len(close))
        how = (chain.alpha, chain.start, chain.period)
        _smooth(close, high, low, INPUTS.index(chain.of), bounds, *how, target)
    for n in params.rsis:
        _rsi(out[f"rsi_{n}_gain"], out[f"rsi_{n}_loss"], out[f"rsi_{n}"])
    for signal, suffix in zip(chains.signals, params.macds, strict=True):
        names = [f"{part}{suffix}" for part in ("macd", "macd_signal", "macd_hist")]
        behind = slow.get(f"macd{suffix}_slow")
        if behind is None:
            behind = out[f"ema_{params.macds[suffix][1]}"]
        _macd(
            out[f"macd{suffix}_fast"],
            behind,
            bounds,
            signal.alpha,
            signal.start,
            signal.period,
            *(out[n] for n in names),
        )


@compiled
def _larger(a: float, b: float) -> float:
    """NaN if either is, unlike Python's own."""
    return a if a > b or a != a else b


@compiled
def _smooth(
    close: Floats, high: Floats, low: Floats, of: int, edges: Integers, alpha: float, start: int, period: int, out: Floats
) -> None:  # fmt: skip
    for series in range(len(edges) - 1):
        first, stop = edges[series], edges[series + 1]
        seeded = first + start + period - 1
        total, average = 0.0, np.nan
        for bar in range(first, stop):
            fed = close[bar]
            if of > 0:
                before = close[bar - 1] if bar > first else np.nan
                if of == 3:
                    fed = _larger(high[bar], before) + _larger(-low[bar], -before)
                else:
                    fed = _larger(fed - before if of == 1 else before - fed, 0.0)
            if bar > seeded:
                average += alpha * (fed - average)
            elif bar >= first + start:
                total += fed
                if bar == seeded:
                    average = total / period
            out[bar] = average


@compiled
def _rsi(gain: Floats, loss: Floats, out: Floats) -> None:
    for bar in range(len(gain)):
        moved = gain[bar] + loss[bar]
        out[bar] = np.nan if moved < NO_MOVE else gain[bar] / moved * 100.0


@compiled
def _macd(
    fast: Floats, slow: Floats, edges: Integers, alpha: float, start: int, period: int,
    line: Floats, signal: Floats, histogram: Floats,
) -> None:  # fmt: skip
    for series in range(len(edges) - 1):
        first, stop = edges[series], edges[series + 1]
        seeded = first + start + period - 1
        total, average = 0.0, np.nan
        for bar in range(first, stop):
            apart = fast[bar] - slow[bar]
            if bar > seeded:
                average += alpha * (apart - average)
            elif bar >= first + start:
                total += apart
                if bar == seeded:
                    average = total / period
            signal[bar] = average
            line[bar] = apart if average == average else np.nan
            histogram[bar] = apart - average


def _total(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    return moments.total.both(older, newer, n, m, new)


def _spread(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    if (older[1] is None) != (newer[1] is None):
        return moments.spread.both(older, newer, n, m, new)
    mean, squares = new(newer[0].shape), new(newer[0].shape)
    share, weight = n / (n + m), n * m / (n + m)
    if older[1] is None:
        _spread_values(older[0], newer[0], share, weight, mean, squares)
    else:
        samples = (*older, *newer, share, weight, mean, squares)
        _spread_samples(*samples)
    return mean, squares


def _together(older: Sample, newer: Sample, n: int, m: int, new: New) -> Sample:
    if (older[2] is None) != (newer[2] is None):
        return moments.together.both(older, newer, n, m, new)
    out = tuple(new(newer[0].shape) for _ in range(5))
    share, weight = n / (n + m), n * m / (n + m)
    if older[2] is None:
        _together_values(older[0], older[1], newer[0], newer[1], share, weight, *out)
    else:
        samples = (*older, *newer, share, weight, *out)
        _together_samples(*samples)
    return out


total, spread, together = Join(_total, 0), Join(_spread, 1), Join(_together, 3)


@compiled
def _spread_values(a: Floats, b: Floats, share: float, weight: float, mean: Floats, squares: Floats) -> None:
    for i in range(len(mean)):
        apart = a[i] - b[i]
        squares[i] = apart * weight * apart
        mean[i] = apart * share + b[i]


@compiled
def _spread_samples(
    a: Floats, aa: Floats, b: Floats, bb: Floats, share: float, weight: float, mean: Floats, squares: Floats
) -> None:  # fmt: skip
    for i in range(len(mean)):
        apart = a[i] - b[i]
        squares[i] = apart * weight * apart + aa[i] + bb[i]
        mean[i] = apart * share + b[i]


@compiled
def _together_values(
    ax: Floats, ay: Floats, bx: Floats, by: Floats, share: float, weight: float,
    x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats,
) -> None:  # fmt: skip
    for i in range(len(x)):
        dx, dy = ax[i] - bx[i], ay[i] - by[i]
        sx, sy = dx * weight, dy * weight
        xy[i] = sx * dy
        xx[i] = sx * dx
        yy[i] = sy * dy
        x[i] = dx * share + bx[i]
        y[i] = dy * share + by[i]


@compiled
def _together_samples(
    ax: Floats, ay: Floats, axx: Floats, ayy: Floats, axy: Floats,
    bx: Floats, by: Floats, bxx: Floats, byy: Floats, bxy: Floats,
    share: float, weight: float, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats,
) -> None:  # fmt: skip
    for i in range(len(x)):
        dx, dy = ax[i] - bx[i], ay[i] - by[i]
        sx, sy = dx * weight, dy * weight
        xy[i] = sx * dy + axy[i] + bxy[i]
        xx[i] = sx * dx + axx[i] + bxx[i]
        yy[i] = sy * dy + ayy[i] + byy[i]
        x[i] = dx * share + bx[i]
        y[i] = dy * share + by[i]
