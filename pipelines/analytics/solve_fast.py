"""What `solve` does, as machine code: LANES pairs side by side, so that each step is one vector instruction."""

from __future__ import annotations

import numpy as np

from pipelines.analytics.compiled import compiled
from pipelines.analytics.grams import Sums
from pipelines.analytics.solve import SINGULAR
from pipelines.analytics.windows import Floats, Integers

LANES = 64


def choose(sums: Sums, y: Integers, x: Integers, beta: Floats, weights: Floats) -> Integers:
    """As `solve.choose`."""
    best = np.empty(len(y), dtype=np.int64)
    _choose(*sums.arrays, y, x, beta, weights, best)
    return best


def statistic(sums: Sums, y: Integers, x: Integers, beta: Floats, lags: int) -> Floats:
    """As `solve.statistic`."""
    t = np.empty(len(y))
    _statistic(*sums.arrays, y, x, beta, lags, sums.bars - 2 - 2 * lags, t)
    return t


@compiled
def _choose(
    summed: Floats, own: Floats, levels: Floats, spread: Floats, heads: Floats, tails: Floats, at: Floats, last: Floats,
    y: Integers, x: Integers, beta: Floats, weights: Floats, best: Integers,
) -> None:  # fmt: skip
    lags = len(own) - 1
    table, inverse, work = _room(lags, lags)
    least = np.empty(LANES)
    for start in range(0, len(y), LANES):
        used = min(LANES, len(y) - start)
        _normal(summed, own, levels, spread, heads, tails, at, last, y, x, beta, start, lags, table, work)
        _factor(table, inverse, work, lags)
        for w in range(used):
            best[start + w] = 0
            least[w] = (
                table[lags + 1, lags + 1, w] - table[lags + 1, lags, w] ** 2 / table[lags, lags, w]
            ) * weights[0]
        for k in range(lags):
            _take(table, inverse, lags, k)
            for w in range(used):
                left = (
                    table[lags + 1, lags + 1, w] - table[lags + 1, lags, w] ** 2 / table[lags, lags, w]
                ) * weights[k + 1]
                if left < least[w]:
                    least[w], best[start + w] = left, k + 1
        for w in range(used):
            if np.isnan(table[lags + 1, lags + 1, w]):
                best[start + w] = -1


@compiled
def _statistic(
    summed: Floats, own: Floats, levels: Floats, spread: Floats, heads: Floats, tails: Floats, at: Floats, last: Floats,
    y: Integers, x: Integers, beta: Floats, lags: int, spare: int, t: Floats,
) -> None:  # fmt: skip
    table, inverse, work = _room(len(own) - 1, lags)
    for start in range(0, len(y), LANES):
        _normal(summed, own, levels, spread, heads, tails, at, last, y, x, beta, start, lags, table, work)
        _factor(table, inverse, work, lags)
        for k in range(lags):
            _take(table, inverse, lags, k)
        for w in range(min(LANES, len(y) - start)):
            level, cross, moved = table[lags, lags, w], table[lags + 1, lags, w], table[lags + 1, lags + 1, w]
            t[start + w] = cross / np.sqrt(level * (moved - cross * cross / level) / spare)


@compiled
def _room(most: int, lags: int) -> tuple[Floats, Floats, Floats]:
    return (
        np.empty((lags + 2, lags + 2, LANES)),
        np.empty((lags + 1, LANES)),
        np.empty((2 * most + 2 * lags + 8, LANES)),
    )


@compiled
def _normal(
    summed: Floats, own: Floats, levels: Floats, spread: Floats, heads: Floats, tails: Floats, at: Floats, last: Floats,
    y: Integers, x: Integers, beta: Floats, start: int, lags: int, table: Floats, work: Floats,
) -> None:  # fmt: skip
    """`solve._normal` for the LANES pairs from `start` on; the last pair stands in where there are fewer."""
    most, end = len(own) - 1, len(y) - 1
    h, ends, first = work[:most], work[most : most + lags], work[most + lags : most + 2 * lags + 1]
    now, then, run, b = work[-4], work[-3], work[-2], work[-1]
    rows = np.empty(LANES, dtype=np.int64)
    columns = np.empty(LANES, dtype=np.int64)
    for w in range(LANES):
        pair = min(start + w, end)
        rows[w], columns[w], b[w] = y[pair], x[pair], beta[pair]
    for k in range(most):
        for w in range(LANES):
            h[k, w] = heads[k, rows[w]] - b[w] * heads[k, columns[w]]
    for k in range(lags):
        for w in range(LANES):
            ends[k, w] = tails[k, rows[w]] - b[w] * tails[k, columns[w]]
    for w in range(LANES):
        now[w] = at[rows[w]] - b[w] * at[columns[w]]
        then[w] = last[rows[w]] - b[w] * last[columns[w]]
    for j in range(lags + 1):
        for w in range(LANES):
            shared = summed[j, min(rows[w], columns[w]), max(rows[w], columns[w])]
            first[j, w] = own[j, rows[w]] - b[w] * (2.0 * shared - b[w] * own[j, columns[w]])
    for t in range(most - 1, lags - 1, -1):
        for j in range(lags + 1):
            for w in range(LANES):
                first[j, w] += (h[t, w] + h[t - j, w]) ** 2
        for w in range(LANES):
            now[w] -= h[t, w]
    for w in range(LANES):
        first[0, w] *= 0.25
        run[w] = first[0, w]
    for j in range(1, lags + 1):
        for w in range(LANES):
            run[w] += h[lags - j, w] * h[lags - j, w] - ends[j - 1, w] * ends[j - 1, w]
            first[j, w] = 0.5 * (first[j, w] - first[0, w] - run[w])
    for j in range(lags):
        for w in range(LANES):
            table[j, 0, w] = first[j, w] + h[lags - 1, w] * h[lags - 1 - j, w] - ends[0, w] * ends[j, w]
    for i in range(1, lags):
        for j in range(i, lags):
            for w in range(LANES):
                table[j, i, w] = (
                    table[j - 1, i - 1, w] + h[lags - 1 - i, w] * h[lags - 1 - j, w] - ends[i, w] * ends[j, w]
                )
    for w in range(LANES):
        shared = levels[min(rows[w], columns[w]), max(rows[w], columns[w])]
        table[lags, lags, w] = (
            spread[rows[w]] - b[w] * (2.0 * shared - b[w] * spread[columns[w]]) - then[w] * then[w]
        )
        run[w] = 0.5 * (then[w] * then[w] - now[w] * now[w] - first[0, w])
        table[lags + 1, lags, w] = run[w]
        table[lags + 1, lags + 1, w] = first[0, w]
    for j in range(lags):
        for w in range(LANES):
            run[w] += first[j, w] + now[w] * h[lags - 1 - j, w] - then[w] * ends[j, w]
            table[lags, j, w] = run[w]
            table[lags + 1, j, w] = first[j + 1, w]
    for t in range(lags - 1, -1, -1):
        for w in range(LANES):
            now[w] -= h[t, w]
            table[lags, lags, w] -= now[w] * now[w]


@compiled
def _factor(table: Floats, inverse: Floats, work: Floats, lags: int) -> None:
    """Columns 0 .. lags - 1 become L D of the factor L D L'; four columns a pass, because stores cost most."""
    scaled, whole = work[:lags], work[-1]
    for j in range(lags):
        for w in range(LANES):
            whole[w] = SINGULAR * table[j, j, w]
        for k in range(j):
            for w in range(LANES):
                scaled[k, w] = table[j, k, w] * inverse[k, w]
        for i in range(j, lags + 2):
            k = 0
            while k + 4 <= j:
                for w in range(LANES):
                    table[i, j, w] -= (
                        table[i, k, w] * scaled[k, w] + table[i, k + 1, w] * scaled[k + 1, w]
                    ) + (table[i, k + 2, w] * scaled[k + 2, w] + table[i, k + 3, w] * scaled[k + 3, w])
                k += 4
            while k < j:
                for w in range(LANES):
                    table[i, j, w] -= table[i, k, w] * scaled[k, w]
                k += 1
        for w in range(LANES):
            inverse[j, w] = 1.0 / table[j, j, w] if table[j, j, w] > whole[w] else np.nan


@compiled
def _take(table: Floats, inverse: Floats, lags: int, k: int) -> None:
    """Takes column k out of the level and the difference."""
    for w in range(LANES):
        level, moved = table[lags, k, w], table[lags + 1, k, w]
        share = level * inverse[k, w]
        table[lags, lags, w] -= share * level
        table[lags + 1, lags, w] -= share * moved
        table[lags + 1, lags + 1, w] -= moved * inverse[k, w] * moved
