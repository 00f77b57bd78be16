"""Do pairs still move together as they used to? The newest returns' rank correlation beside that of those before them.

Of ranks (Spearman), because one shock that hits both legs decides Pearson's alone: on pairs that never change, with
returns as heavy-tailed as Student's t of 4 degrees, its difference passes 5 standard errors and 0.3 in 0.5 % of looks,
that of ranks in none of 9,000. A break from 0.8 to 0 is found in 99 of 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from pipelines.analytics.correlation import log_returns
from pipelines.analytics.detectors import SCHEMA, SEVERITY, TOLERANCE, Thresholds, anomaly_id
from pipelines.analytics.windows import Floats, Integers

RECENT = 60
"""Newest returns that are judged."""
USUAL = 100
"""Returns before them without which nothing is judged."""
KIND = "corr_break"


@dataclass(frozen=True)
class Breaks:
    """Rank correlations of the newest `n` returns and of the `n_usual` before them, a value a pair; NaN: a still leg.

    zscore: the difference of Fisher's transforms in its standard errors, each sqrt(1.06 / (n - 3)) (Fieller, Hartley
    and Pearson 1957)
    """

    n: int
    n_usual: int
    corr: Floats
    usual: Floats
    zscore: Floats

    def beyond(self, limits: Thresholds) -> Integers:
        """The pairs whose change is certain (`corr_z`) and large (`corr_change`).

        Of two series that are nearly one the fourth decimal can be certain.
        """
        certain = np.abs(self.zscore) > limits.corr_z * (1 + TOLERANCE)
        large = np.abs(self.corr - self.usual) > limits.corr_change * (1 + TOLERANCE)
        return np.flatnonzero(certain & large)


def breaks(closes: Floats, seconds: Floats, step: float, y: Integers, x: Integers) -> Breaks | None:
    """What the newest RECENT returns of each pair say against all before them; None if there are too few.

    closes: (bars, series), oldest first; seconds: their open times; a return is between bars that are `step` s apart.
    y, x: the columns of each pair's legs
    """
    returns = log_returns(closes)[np.append(False, np.diff(seconds) == step)]
    n_usual = len(returns) - RECENT
    if n_usual < USUAL:
        return None
    corr, usual = (_rank_correlations(part, y, x) for part in (returns[-RECENT:], returns[:-RECENT]))
    error = math.sqrt(1.06 / (RECENT - 3) + 1.06 / (n_usual - 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        zscore = (np.arctanh(corr) - np.arctanh(usual)) / error
    return Breaks(RECENT, n_usual, corr, usual, zscore)


def anomaly(
    source: str, pair: str, interval: str, ts: datetime, found: Breaks, at: int, limits: Thresholds
) -> pl.DataFrame:
    """A pair whose change is beyond the limits as a row of `anomalies`, the pair's name as its symbol."""
    corr, usual, zscore = (float(values[at]) for values in (found.corr, found.usual, found.zscore))
    reason = (
        f"rank correlation {corr:.2f} over the newest {found.n} returns, {usual:.2f} over the {found.n_usual} before "
        f"them: {abs(zscore):.1f} standard errors apart; the limits are {limits.corr_z:g} and a change of "
        f"{limits.corr_change:g}"
    )
    row = {
        "id": anomaly_id(source, pair, interval, ts, KIND),
        "source": source, "symbol": pair, "interval": interval, "ts": ts, "kind": KIND,
        "value": corr, "baseline": usual, "ratio": corr / usual if usual else None, "zscore": zscore,
        "severity": SEVERITY[KIND][2], "reason": reason,
    }  # fmt: skip
    return pl.DataFrame([row], schema=SCHEMA)


def _rank_correlations(returns: Floats, y: Integers, x: Integers) -> Floats:
    """Equal values share their mean rank. Sums of ranks are exact, so the bits depend on the two legs alone."""
    ranks = np.stack([pl.Series(column).rank("average").to_numpy() for column in returns.T])
    apart = ranks - (len(returns) + 1) / 2
    products = apart @ apart.T
    own = products.diagonal()
    scale = np.sqrt(own[y] * own[x])
    return np.asarray(products[y, x] / np.where(scale > 0, scale, np.nan))
