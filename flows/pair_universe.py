"""Which pairs are tested and how, and of which rows are kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from flows.context import Context
from pipelines.analytics.examine import Scan, ScanParams
from pipelines.analytics.panels import Pair, all_pairs, same_source_pairs
from pipelines.analytics.windows import Integers
from pipelines.market import Interval, Series
from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)

MOST_TESTED = 500_000
"""Pairs tested in one run: each two of a thousand series."""
MOST_KEPT = 2_000
"""Pairs with rows and pages, besides those found; a list in the configuration is never cut."""


def scan_params(context: Context) -> ScanParams:
    """The scan as the settings want it; `refit` is a time there, bars here."""
    given = context.settings.pairs
    return ScanParams(
        given.interval, given.lookback, given.window, given.lags, given.fdr,
        refit=max(int(given.refit / Interval.parse(given.interval).delta), 1), dependent=given.correction == "by",
    )  # fmt: skip


def universe(wanted: str | Sequence[Pair], frame: pl.DataFrame) -> list[Pair]:
    """The pairs to test: those of a list, or each two series (of one source).

    A leg of a list is `source:SYMBOL`, or SYMBOL where only one source has it; TapewatchError where that is
    ambiguous. A leg without bars stays out until it has some.
    """
    names = _names(frame)
    if not isinstance(wanted, str):
        resolved = [(_series(y, names), _series(x, names)) for y, x in wanted]
        return [(y, x) for y, x in resolved if y and x]
    if _count(wanted, names) > MOST_TESTED:
        series = len(names)
        names = list(_fewer(wanted, most_traded(frame, names), MOST_TESTED))
        log.warning(
            "pairs: %d series make more than %d pairs; tested are those of the %d most traded",
            series, MOST_TESTED, len(names),
        )  # fmt: skip
    return all_pairs(names) if wanted == "all" else same_source_pairs(names)


def kept(wanted: str | Sequence[Pair], frame: pl.DataFrame, scan: Scan) -> Integers:
    """The pairs of a scan that get rows: all, or where there are too many those found and those of the most traded."""
    if not isinstance(wanted, str) or len(scan.pairs) <= MOST_KEPT:
        return np.arange(len(scan.pairs))
    names = _names(frame)
    chosen = _fewer(wanted, most_traded(frame, names), MOST_KEPT)
    some = set(chosen)
    rows = scan.found | np.array([y in some and x in some for y, x in scan.pairs])
    log.warning(
        "pairs: all %d pairs of %d series are tested; kept are the %d found and those of the %d most traded. "
        "Name the ones you want in [pairs] universe",
        len(scan.pairs), len(names), scan.found.sum(), len(chosen),
    )  # fmt: skip
    return np.flatnonzero(rows)


def slug(pair: Pair) -> str:
    """The pair's name in tables and addresses: `binance-ETHUSDT~binance-BTCUSDT`."""
    return "~".join(Series(*leg.split(":", 1)).slug for leg in pair)


def most_traded(frame: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """The series by turnover, the largest first."""
    traded = frame.group_by("source", "symbol").agg(
        (pl.col("close") * pl.col("volume")).sum().alias("traded")
    )
    by_name = {f"{source}:{symbol}": value or 0.0 for source, symbol, value in traded.iter_rows()}
    return sorted(names, key=lambda name: (-by_name[name], name))


def _names(frame: pl.DataFrame) -> list[str]:
    return [f"{source}:{symbol}" for source, symbol in frame.select("source", "symbol").unique().iter_rows()]


def _fewer(wanted: str, ranked: Sequence[str], most: int) -> Sequence[str]:
    """As many of the first series as make at most `most` pairs."""
    chosen = ranked
    while _count(wanted, chosen) > most:
        chosen = chosen[: len(chosen) - max(len(chosen) // 20, 1)]
    return chosen


def _count(wanted: str, names: Sequence[str]) -> int:
    """How many pairs they make, without making them."""
    groups = Counter("" if wanted == "all" else name.split(":", 1)[0] for name in names)
    return sum(size * (size - 1) // 2 for size in groups.values())


def _series(wanted: str, names: Sequence[str]) -> str | None:
    if ":" in wanted:
        return wanted if wanted in names else None
    fitting = [name for name in names if name.split(":", 1)[1] == wanted]
    if len(fitting) > 1:
        raise TapewatchError(f"[pairs] {wanted} is ambiguous: write one of {', '.join(sorted(fitting))}")
    return fitting[0] if fitting else None
