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
def _fed(close: Floats, high: Floats, low: Floats, of: int, bar: int) -> float:
    """What an average is made of at a bar that is not its series' first: see INPUTS."""
    if of == 0:
        return float(close[bar])
    before = close[bar - 1]
    if of == 3:
        return float(_larger(high[bar], before) + _larger(-low[bar], -before))
    return float(_larger(close[bar] - before if of == 1 else before - close[bar], 0.0))


@compiled
def _smooth(
    close: Floats, high: Floats, low: Floats, of: int, edges: Integers, alpha: float, start: int, period: int, out: Floats
) -> None:  # fmt: skip
    """Series in fours: a step waits for the one before it, so four that do not wait for each other take as long as one."""
    series = len(edges) - 1
    seeds = np.empty(series)
    for n in range(series):
        seeds[n] = _seed(close, high, low, of, edges[n], edges[n + 1], start, period, out)
    for n in range(0, series, 4):
        lanes = min(4, series - n)
        shared = edges[n + 1] - edges[n]
        for lane in range(1, lanes):
            shared = min(shared, edges[n + lane + 1] - edges[n + lane])
        first = start + period
        if lanes == 4 and shared > first:
            a, b, c, d = edges[n], edges[n + 1], edges[n + 2], edges[n + 3]
            s, t, u, v = seeds[n], seeds[n + 1], seeds[n + 2], seeds[n + 3]
            for k in range(first, shared):
                s += alpha * (_fed(close, high, low, of, a + k) - s)
                t += alpha * (_fed(close, high, low, of, b + k) - t)
                u += alpha * (_fed(close, high, low, of, c + k) - u)
                v += alpha * (_fed(close, high, low, of, d + k) - v)
                out[a + k], out[b + k], out[c + k], out[d + k] = s, t, u, v
            seeds[n], seeds[n + 1], seeds[n + 2], seeds[n + 3] = s, t, u, v
            first = shared
        for lane in range(n, n + lanes):
            average = seeds[lane]
            for bar in range(edges[lane] + first, edges[lane + 1]):
                average += alpha * (_fed(close, high, low, of, bar) - average)
                out[bar] = average


@compiled
def _seed(
    close: Floats, high: Floats, low: Floats, of: int, first: int, stop: int, start: int, period: int, out: Floats
) -> float:  # fmt: skip
    """The mean of the first `period` values from bar `start` of a series on, and NaN for the bars before it is there."""
    seeded, total = first + start + period - 1, 0.0
    for bar in range(first, min(seeded + 1, stop)):
        out[bar] = np.nan
        if bar >= first + start:
            total += _fed(close, high, low, of, bar) if bar > first or of == 0 else np.nan
    average = total / period
    if seeded < stop:
        out[seeded] = average
    return average


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


total, spread = Join(_total, 0), Join(_spread, 1)


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
def _together_samples(
    ax: Floats, ay: Floats, axx: Floats, ayy: Floats, axy: Floats,
    bx: Floats, by: Floats, bxx: Floats, byy: Floats, bxy: Floats,
    share: float, weight: float, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats,
) -> None:  # fmt: skip
    """Three loops, because only those of few arrays become vector instructions."""
    for i in range(len(x)):
        apart = ax[i] - bx[i]
        xx[i] = apart * weight * apart + axx[i] + bxx[i]
        x[i] = apart * share + bx[i]
    for i in range(len(x)):
        apart = ay[i] - by[i]
        yy[i] = apart * weight * apart + ayy[i] + byy[i]
        y[i] = apart * share + by[i]
    for i in range(len(x)):
        xy[i] = (ax[i] - bx[i]) * weight * (ay[i] - by[i]) + axy[i] + bxy[i]


BLOCK = 2048
"""Windows that are made at a time: all that leads to them stays in the processor's nearest memory."""


def volatility(width: int, x: Floats) -> Floats:
    """Standard deviation (of a sample) of every trailing window, as `moments.sliding` with `spread` has it."""
    out = np.empty(max(len(x) - width + 1, 0))
    _volatility(x, width, out)
    return out


@compiled
def _volatility(x: Floats, width: int, out: Floats) -> None:
    levels, row = _levels(width), BLOCK + width
    m, whole = np.empty(2 * levels * row), np.empty(4 * BLOCK)
    for start in range(0, len(out), BLOCK):
        count = min(BLOCK, len(out) - start)
        held = count + width - 1
        m[:held], m[row : row + held] = x[start : start + held], 0.0
        for k in range(1, levels):
            half = 1 << (k - 1)
            held -= half
            a, c = 2 * (k - 1) * row, 2 * k * row
            b = a + row
            _spread_samples(
                m[a : a + held], m[b : b + held], m[a + half : a + half + held], m[b + half : b + half + held],
                0.5, half / 2, m[c : c + held], m[c + row : c + row + held],
            )  # fmt: skip
        done, now = 0, 0
        for k in range(levels - 1, -1, -1):
            size = 1 << k
            if width & size:
                a = 2 * k * row + width - done - size
                b, c, d = a + row, 2 * now * BLOCK, 2 * (1 - now) * BLOCK
                if done:
                    _spread_samples(
                        m[a : a + count], m[b : b + count], whole[c : c + count], whole[c + BLOCK : c + BLOCK + count],
                        size / (size + done), size * done / (size + done),
                        whole[d : d + count], whole[d + BLOCK : d + BLOCK + count],
                    )  # fmt: skip
                    now = 1 - now
                else:
                    whole[c : c + count], whole[c + BLOCK : c + BLOCK + count] = (
                        m[a : a + count],
                        m[b : b + count],
                    )
                done += size
        squares = whole[(2 * now + 1) * BLOCK : (2 * now + 1) * BLOCK + count]
        for i in range(count):
            out[start + i] = np.sqrt(squares[i] / (width - 1))


def correlation(width: int, x: Floats, y: Floats) -> Floats:
    """Pearson's of every trailing window, as `moments.sliding` with `together` and `endings.pearson` have it."""
    out = np.empty(max(len(x) - width + 1, 0))
    _correlation(x, y, width, out)
    return out


@compiled
def _correlation(x: Floats, y: Floats, width: int, out: Floats) -> None:
    levels, row = _levels(width), BLOCK + width
    m, whole = np.empty(5 * levels * row), np.empty(10 * BLOCK)
    for start in range(0, len(out), BLOCK):
        count = min(BLOCK, len(out) - start)
        held = count + width - 1
        m[:held], m[row : row + held], m[2 * row : 5 * row] = (
            x[start : start + held],
            y[start : start + held],
            0.0,
        )
        for k in range(1, levels):
            half = 1 << (k - 1)
            held -= half
            _join(
                m,
                5 * (k - 1) * row,
                row,
                m,
                5 * (k - 1) * row + half,
                row,
                0.5,
                half / 2,
                m,
                5 * k * row,
                row,
                held,
            )
        done, now = 0, 0
        for k in range(levels - 1, -1, -1):
            size = 1 << k
            if width & size:
                a, c, d = 5 * k * row + width - done - size, 5 * now * BLOCK, 5 * (1 - now) * BLOCK
                if done:
                    share, weight = size / (size + done), size * done / (size + done)
                    _join(m, a, row, whole, c, BLOCK, share, weight, whole, d, BLOCK, count)
                    now = 1 - now
                else:
                    for moment in range(5):
                        at, to = a + moment * row, c + moment * BLOCK
                        whole[to : to + count] = m[at : at + count]
                done += size
        c = 5 * now * BLOCK
        xx, yy = c + 2 * BLOCK, c + 3 * BLOCK
        xy = c + 4 * BLOCK
        _pearson(
            whole[xx : xx + count], whole[yy : yy + count], whole[xy : xy + count], out[start : start + count]
        )


@compiled
def _join(
    older: Floats, a: int, a_row: int, newer: Floats, b: int, b_row: int, share: float, weight: float,
    out: Floats, c: int, c_row: int, count: int,
) -> None:  # fmt: skip
    """Five moments each, `row` values apart from the first one's place on."""
    _together_samples(
        older[a : a + count], older[a + a_row : a + a_row + count], older[a + 2 * a_row : a + 2 * a_row + count],
        older[a + 3 * a_row : a + 3 * a_row + count], older[a + 4 * a_row : a + 4 * a_row + count],
        newer[b : b + count], newer[b + b_row : b + b_row + count], newer[b + 2 * b_row : b + 2 * b_row + count],
        newer[b + 3 * b_row : b + 3 * b_row + count], newer[b + 4 * b_row : b + 4 * b_row + count], share, weight,
        out[c : c + count], out[c + c_row : c + c_row + count], out[c + 2 * c_row : c + 2 * c_row + count],
        out[c + 3 * c_row : c + 3 * c_row + count], out[c + 4 * c_row : c + 4 * c_row + count],
    )  # fmt: skip


@compiled
def _levels(width: int) -> int:
    count = 0
    while width >> count:
        count += 1
    return count


@compiled
def only_first_missing(values: Floats, edges: Integers) -> bool:
    """Whether each series lacks its first value and no other."""
    for n in range(len(edges) - 1):
        if edges[n + 1] > edges[n] and values[edges[n]] == values[edges[n]]:
            return False
        holes = 0
        for bar in range(edges[n] + 1, edges[n + 1]):
            holes += values[bar] != values[bar]
        if holes:
            return False
    return True


@compiled
def deviation_pct(close: Floats, average: Floats) -> Floats:
    """As `endings`, like all below."""
    out = np.empty(len(close))
    for i in range(len(out)):
        out[i] = (close[i] - average[i]) * 100.0 / (average[i] if average[i] != 0.0 else np.nan)
    return out


@compiled
def sigmas(value: Floats, mean: Floats, squares: Floats, freedom: int) -> Floats:
    out = np.empty(len(value))
    for i in range(len(out)):
        out[i] = (value[i] - mean[i]) / np.sqrt((squares[i] if squares[i] > 0.0 else np.nan) / freedom)
    return out


@compiled
def _pearson(xx: Floats, yy: Floats, xy: Floats, out: Floats) -> None:
    for i in range(len(out)):
        scale = np.sqrt(xx[i]) * np.sqrt(yy[i])
        one = xy[i] / (scale if scale > 0.0 else np.nan)
        out[i] = 1.0 if one > 1.0 else -1.0 if one < -1.0 else one


@compiled
def band(mean: Floats, squares: Floats, width: int, wide: float) -> tuple[Floats, Floats]:
    upper, lower = np.empty(len(mean)), np.empty(len(mean))
    for i in range(len(mean)):
        reach = wide * np.sqrt(squares[i] / width)
        upper[i], lower[i] = mean[i] + reach, mean[i] - reach
    return upper, lower
