"""Dickey-Fuller regressions of many residuals at once from shared sums, in numpy.

Each block of pairs is factored together, the pairs on the last axis. The columns stand as lagged differences,
level, difference: what the first k columns of the factor leave of the last two is the fit with k lags, so that one
factorisation answers for all of them. `solve_fast` does the same, step by step, as machine code.
"""

from __future__ import annotations

import numpy as np

from pipelines.analytics.grams import Sums
from pipelines.analytics.windows import Floats, Integers

BLOCK = 512
"""Pairs a block: their matrices fit into the processor's own memory."""
SINGULAR = 1e-11
"""Share of a column that must be new; less is rounding error, and the fit has no unique solution."""


def choose(sums: Sums, y: Integers, x: Integers, beta: Floats, weights: Floats) -> Integers:
    """The number of lags of each pair for which squares left * weights is least, the smaller one at a tie; -1 where
    there is no unique fit.

    y, x: columns of the panel; beta: of y on x; weights: one a number of lags, 0 .. sums.most
    """
    best = np.empty(len(y), dtype=np.int64)
    for block in _blocks(len(y)):
        level, cross, moved = _left(_normal(sums, y[block], x[block], beta[block], sums.most))
        with np.errstate(invalid="ignore", divide="ignore"):
            weighted = (moved - cross * cross / level) * weights[:, None]
        best[block] = np.where(np.isnan(weighted[-1]), -1, np.argmin(weighted, axis=0))
    return best


def statistic(sums: Sums, y: Integers, x: Integers, beta: Floats, lags: int) -> Floats:
    """t of the level with `lags` (at most sums.most) lagged differences; NaN where there is no unique fit."""
    t = np.empty(len(y))
    spare = sums.bars - 2 - 2 * lags
    for block in _blocks(len(y)):
        level, cross, moved = _left(_normal(sums, y[block], x[block], beta[block], lags))
        ll, ly = level[-1], cross[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            t[block] = ly / np.sqrt(ll * (moved[-1] - ly * ly / ll) / spare)
    return t


def _blocks(pairs: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, pairs, BLOCK)]


def _normal(sums: Sums, y: Integers, x: Integers, beta: Floats, lags: int) -> Floats:
    """(lags + 2, lags + 2, pairs): the lower triangles of the normal matrices over t >= lags."""
    most, low, high = sums.most, np.minimum(y, x), np.maximum(y, x)

    def of_residual(own: Floats, shared: Floats) -> Floats:
        return own[..., y] - beta * (2.0 * shared - beta * own[..., x])

    heads, tails = (edge[:, y] - beta * edge[:, x] for edge in (sums.heads, sums.tails[:lags]))
    at, last = (edge[y] - beta * edge[x] for edge in (sums.at, sums.last))
    first = of_residual(sums.own[: lags + 1], sums.summed[: lags + 1, low, high])
    for t in range(most - 1, lags - 1, -1):  # a sample that begins earlier than the sums
        first += (heads[t] + heads[t - np.arange(lags + 1)]) ** 2
        at = at - heads[t]
    first[0] *= 0.25
    # The differences before lags, newest first, as the tails are.
    heads = heads[:lags][::-1]
    squares = first[0] + np.cumsum(heads**2 - tails**2, axis=0)
    first[1:] = 0.5 * (first[1:] - first[0] - squares)

    table = np.zeros((lags + 2, lags + 2, len(y)))
    row = first[:-1]
    for i in range(lags):
        row = row + heads[i] * heads[i:] - tails[i] * tails[i:]
        table[i:lags, i] = row
        row = row[:-1]
    steps = first[:-1] + at * heads - last * tails
    cross = 0.5 * (last * last - at * at - first[0])
    table[lags, :lags] = cross + np.cumsum(steps, axis=0)
    before = at - np.cumsum(heads, axis=0)
    levels = of_residual(sums.spread, sums.levels[low, high])
    table[lags, lags] = levels - last * last - (before * before).sum(axis=0)
    table[lags + 1, :lags] = first[1:]
    table[lags + 1, lags] = cross
    table[lags + 1, lags + 1] = first[0]
    return table


def _left(table: Floats) -> tuple[Floats, Floats, Floats]:
    """level.level, level.difference and difference.difference that 0 .. lags columns leave; destroys `table`."""
    lags = len(table) - 2
    inverse = np.empty((lags, table.shape[2]))
    for j in range(lags):
        whole = table[j, j].copy()
        if j:
            scaled = table[j, :j] * inverse[:j]
            table[j:, j] -= np.einsum("ikp,kp->ip", table[j:, :j], scaled)
        pivot = np.where(table[j, j] > SINGULAR * whole, table[j, j], np.nan)
        np.divide(1.0, pivot, out=inverse[j])
    level, moved = table[lags, :lags], table[lags + 1, :lags]
    left = []
    for products, start in (
        (level * level, table[lags, lags]),
        (level * moved, table[lags + 1, lags]),
        (moved * moved, table[lags + 1, lags + 1]),
    ):
        left.append(
            start - np.concatenate([np.zeros((1, len(start))), np.cumsum(products * inverse, axis=0)])
        )
    return left[0], left[1], left[2]
