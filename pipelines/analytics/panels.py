"""Closes of many series as tables without holes: pairs whose legs have the same bars in common share one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np
import polars as pl

from pipelines.analytics.windows import Floats, Integers

Pair = tuple[str, str]
"""y and x as `source:SYMBOL`: y is explained by x."""


@dataclass(frozen=True)
class Panel:
    """The newest bars that the legs of some pairs have in common, oldest first; nothing is filled in.

    ts:     open times; prices: (bars, series) closes
    pairs:  which of the pairs asked for; y, x: the columns of their legs
    most:   bars of the leg with more, over the same span
    """

    ts: pl.Series
    prices: Floats
    pairs: Integers
    y: Integers
    x: Integers
    most: int


def pair_name(pair: Pair) -> str:
    return f"{pair[0]}~{pair[1]}"


def all_pairs(series: Iterable[str]) -> list[Pair]:
    """Each two series once, in alphabetical order."""
    return list(combinations(sorted(series), 2))


def same_source_pairs(series: Iterable[str]) -> list[Pair]:
    """Each two series of one venue once: the usual universe."""
    venues = groupby(sorted(series), key=_source)
    return [pair for _, names in venues for pair in combinations(names, 2)]


def wide(closes: pl.DataFrame) -> pl.DataFrame:
    """Closes of one interval (source, symbol, ts, close) as one row a bar: ts, and a column `source:SYMBOL` each."""
    name = pl.concat_str("source", "symbol", separator=":")
    return closes.select("ts", "close", name=name).pivot("name", index="ts", values="close").sort("ts")


def panels(closes: pl.DataFrame, pairs: Sequence[Pair], lookback: int) -> Iterator[Panel]:
    """The pairs in as few panels as their holes allow; each pair is in one, of no bars if its legs share none.

    closes: as `wide` gives them, null or NaN where a series has no final bar
    """
    closes = closes.sort("ts")
    names = [name for name in closes.columns if name != "ts"]
    prices = closes.select(pl.col(names).cast(pl.Float64)).to_numpy()
    held = ~np.isnan(prices)
    kinds, kind = np.unique(held, axis=1, return_inverse=True)
    column = {name: i for i, name in enumerate(names)}
    y, x = (np.array([column[pair[leg]] for pair in pairs], dtype=np.int64) for leg in (0, 1))
    low, high = np.minimum(kind[y], kind[x]), np.maximum(kind[y], kind[x])
    order = np.lexsort((high, low))
    starts = np.flatnonzero(np.diff(low[order], prepend=-1) | np.diff(high[order], prepend=-1))
    for group in np.split(order, starts[1:]) if len(pairs) else []:
        one, other = kinds[:, low[group[0]]], kinds[:, high[group[0]]]
        rows = np.flatnonzero(one & other)[-lookback:]
        most = max(int(mask[rows[0] :].sum()) for mask in (one, other)) if rows.size else 0
        used, place = np.unique(np.concatenate([y[group], x[group]]), return_inverse=True)
        cut = prices[np.ix_(rows, used)]
        yield Panel(closes["ts"][rows], cut, group, place[: len(group)], place[len(group) :], most)


def _source(series: str) -> str:
    return series.split(":", 1)[0]
