"""Johansen's test: how many independent relations hold several prices together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.analytics.windows import Floats, Integers

TRACE_95 = {2: (15.4943, 3.8415)}
"""95 % critical values of the trace with a constant, rank 0 and 1, as `coint_johansen` tabulates them."""


@dataclass(frozen=True)
class Johansen:
    """Statistics by rank 0, 1, ...; `vectors` has the relations in its columns, the strongest first."""

    trace: Floats
    max_eigen: Floats
    eigenvalues: Floats
    vectors: Floats


def johansen(levels: Floats, lags: int = 1, restricted_constant: bool = False, seasons: int = 0) -> Johansen:
    """Johansen's maximum likelihood test of (bars, series) with `lags` lagged differences.

    The constant is free (det_order 0 of statsmodels) or restricted to the relations; `seasons` adds that
    many less one centred seasonal dummies. There are no p-values: the trace is compared with TRACE_95.
    Solved as a symmetric problem, so that eigenvalues are real. Johansen, Estimation and Hypothesis Testing
    (1991).
    """
    change = np.diff(levels, axis=0)
    n = len(change) - lags
    before, now = levels[lags:-1], change[lags:]
    nuisance = [change[lags - k : len(change) - k] for k in range(1, lags + 1)]
    if restricted_constant:
        before = np.column_stack([before, np.ones(n)])
    else:
        nuisance.append(np.ones((n, 1)))
    if seasons:
        nuisance.append(_seasonals(lags + 1, n, seasons))
    r0, r1 = (_without(part, nuisance) for part in (now, before))
    s00, s11, s10 = r0.T @ r0 / n, r1.T @ r1 / n, r1.T @ r0 / n
    inverse = np.linalg.inv(np.linalg.cholesky(s11))
    eigenvalues, rotated = np.linalg.eigh(inverse @ s10 @ np.linalg.solve(s00, s10.T) @ inverse.T)
    eigenvalues, rotated = eigenvalues[::-1][: levels.shape[1]], rotated[:, ::-1][:, : levels.shape[1]]
    max_eigen = -n * np.log1p(-np.clip(eigenvalues, 0.0, None))
    trace = np.cumsum(max_eigen[::-1])[::-1]
    return Johansen(trace, max_eigen, eigenvalues, inverse.T @ rotated)


def pair_traces(panel: Floats, y: Integers, x: Integers) -> tuple[Floats, Floats]:
    """Traces of rank 0 and 1 of many pairs of columns with one lagged difference, as `johansen` gives them.

    All pairs share one matrix of cross products; what is left for a pair are matrices of two by two. NaN where the
    lagged differences or the levels of a pair are the same but for rounding.
    """
    series = panel.shape[1]
    change = np.diff(panel, axis=0)
    table = np.hstack([change[1:], change[:-1], panel[1:-1]])
    table -= table.mean(axis=0)
    products = table.T @ table
    at = np.stack([y, x])
    now, lagged, level = at, at + series, at + 2 * series

    def block(rows: Integers, columns: Integers) -> Floats:
        return np.moveaxis(products[rows[:, None], columns[None]], 2, 0)

    with np.errstate(divide="ignore", invalid="ignore"):
        nuisance = _inverse(block(lagged, lagged))

        def left(rows: Integers, columns: Integers) -> Floats:
            return block(rows, columns) - block(rows, lagged) @ nuisance @ block(lagged, columns)

        s10 = left(level, now)
        joint = _inverse(left(level, level)) @ s10 @ _inverse(left(now, now)) @ s10.transpose(0, 2, 1)
        # Of two eigenvalues the sum and the product: the smaller one from the product keeps its digits.
        total, product = np.trace(joint, axis1=1, axis2=2), np.linalg.det(joint)
        larger = total / 2 + np.sqrt(np.maximum(total * total / 4 - product, 0.0))
        smaller = np.clip(product / larger, 0.0, None)
        one = -len(table) * np.log1p(-smaller)
        return one - len(table) * np.log1p(-larger), one


def _inverse(matrices: Floats) -> Floats:
    """Of symmetric two by two matrices, NaN where one is singular."""
    a, b, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    determinant = a * d - b * b
    determinant = np.where(determinant > 1e-12 * a * d, determinant, np.nan)
    return (
        np.stack([np.stack([d, -b], axis=1), np.stack([-b, a], axis=1)], axis=1) / determinant[:, None, None]
    )


def _seasonals(first: int, n: int, seasons: int) -> Floats:
    season = (np.arange(first, first + n) % seasons)[:, None]
    dummies: Floats = (season == np.arange(seasons - 1)).astype(np.float64)
    return dummies - 1.0 / seasons


def _without(part: Floats, nuisance: list[Floats]) -> Floats:
    """What the nuisance columns leave of `part`."""
    if not nuisance:
        return part
    table = np.column_stack(nuisance)
    left: Floats = part - table @ np.linalg.lstsq(table, part, rcond=None)[0]
    return left
