"""Every pair of a universe, tested together: rows of `pair_stats` and `pair_series`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from pipelines.analytics import spread
from pipelines.analytics.examine import Scan, ScanParams, examine
from pipelines.analytics.fits import CHUNK, fit
from pipelines.analytics.panels import Pair, pair_name
from pipelines.analytics.windows import Integers


def scan(
    closes: pl.DataFrame, pairs: Sequence[Pair], params: ScanParams, fitted_at: datetime
) -> pl.DataFrame:
    """One row of `fits.SCHEMA` a pair, in the order given; q_bh is over all tested pairs of this call.

    closes: final bars of one interval as `panels.wide` gives them, null where a series has none
    """
    return fit(closes, examine(closes, pairs, params), np.arange(len(pairs)), fitted_at)


def scan_series(scanned: Scan, which: Integers, after: Mapping[str, datetime] | None = None) -> pl.DataFrame:
    """The rows of `pair_series` of the pairs that `which` names; a pair that could not be tested has none.

    after: newest bar that is known already, by the pair's name; a pair without one gets all its bars
    """
    wanted = np.zeros(len(scanned.pairs), dtype=bool)
    wanted[which] = True
    wanted[list(scanned.reasons)] = False
    params, paths = scanned.params, []
    for panel in scanned.panels:
        todo: dict[int, list[int]] = {}
        first: dict[datetime | None, int] = {None: 0}
        for place in np.flatnonzero(wanted[panel.pairs]).tolist():
            known = (after or {}).get(pair_name(scanned.pairs[panel.pairs[place]]))
            if known not in first:
                first[known] = int(panel.ts.search_sorted(known, side="right"))
            if first[known] < len(panel.ts):
                todo.setdefault(first[known], []).append(place)
        for since, places in todo.items():
            for start in range(0, len(places), CHUNK):
                some = places[start : start + CHUNK]
                names = [pair_name(scanned.pairs[i]) for i in panel.pairs[some]]
                y, x = (panel.prices[:, side[some]] for side in (panel.y, panel.x))
                paths.append(
                    spread.pair_series(
                        names,
                        params.interval,
                        panel.ts,
                        y,
                        x,
                        params.window,
                        params.log,
                        params.refit,
                        since,
                    )
                )
    return pl.concat(paths) if paths else pl.DataFrame(schema=spread.SCHEMA)
