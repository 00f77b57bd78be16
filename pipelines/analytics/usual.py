"""The volume baseline of one minute of the session on arrays: what the warehouse's SQL computes for all of them.

The minute needs one bucket of every series and nothing else: a (series, sessions) matrix of volumes in, the baseline
and the judgement of the newest bars out, without a table in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.analytics.baseline import MIN_SESSIONS
from pipelines.analytics.windows import Floats, Integers


@dataclass(frozen=True)
class Usual:
    """As `baseline.COLUMNS`, one value a series; NaN where there are too few sessions."""

    median: Floats
    log_median: Floats
    log_mad: Floats
    log_mean_ad: Floats
    sessions: Integers


def usual(volumes: Floats, min_sessions: int = MIN_SESSIONS) -> Usual:
    """The baseline of one bucket.

    volumes: (series, sessions), of the last sessions before the judged one in any order; NaN: the session has no
    such minute (a half day has no afternoon), or its bar is missing. The logarithms leave out sessions without volume.
    """
    ordered = np.sort(volumes, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(ordered)
    if not (ordered[:, 0] > 0).all():
        logs = np.sort(np.where(ordered > 0, logs, np.nan), axis=1)
    # NaN sorts behind everything: one look at the last column tells whether there is any.
    sessions, traded = _count(ordered), _count(logs)
    log_median = _median(logs, traded)
    apart = np.abs(logs - log_median[:, None])
    total = np.nansum(apart, axis=1) if np.isnan(logs[:, -1]).any() else apart.sum(axis=1)
    enough = traded >= min_sessions
    return Usual(
        np.where(sessions >= min_sessions, _median(ordered, sessions), np.nan),
        np.where(enough, log_median, np.nan),
        np.where(enough, _median(np.sort(apart, axis=1), traded), np.nan),
        np.where(enough, total / np.maximum(traded, 1), np.nan),
        sessions,
    )


def judge(volume: Floats, of: Usual) -> tuple[Floats, Floats]:
    """volume_ratio and volume_robust_z of each series' new bar, as `baseline.judge`; NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = volume / np.where(of.median > 0, of.median, np.nan)
        apart = np.log(np.where(volume > 0, volume, np.nan)) - of.log_median
        by_mad, by_mean = 0.6745 * apart / of.log_mad, apart / (1.2533 * of.log_mean_ad)
    return ratio, np.where(of.log_mad > 0, by_mad, np.where(of.log_mean_ad > 0, by_mean, np.nan))


def _count(ordered: Floats) -> Integers:
    rows, width = ordered.shape
    if not np.isnan(ordered[:, -1]).any():
        return np.full(rows, width)
    return np.asarray((~np.isnan(ordered)).sum(axis=1), dtype=np.int64)


def _median(ordered: Floats, count: Integers) -> Floats:
    """Of sorted rows with their NaN behind."""
    width = ordered.shape[1]
    if (count == width).all():
        low, high = ordered[:, (width - 1) // 2], ordered[:, width // 2]
    else:
        rows = np.arange(len(ordered))
        low = ordered[rows, np.maximum(count - 1, 0) // 2]
        high = ordered[rows, np.minimum(count // 2, width - 1)]
    return np.asarray(low + (high - low) / 2)
