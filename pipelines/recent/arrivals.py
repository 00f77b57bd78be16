"""What a delivery changes of the newest minutes: new bars, corrected ones, and the bars that come after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.market import BAR_SCHEMA
from pipelines.recent.matrices import TS, Booleans, Floats, Integers, Matrices, NotAtHandError, Rows
from pipelines.recent.past import Group
from pipelines.recent.places import seconds
from warehouse.load import VALUES, Delivery

MOST = 16
"""Rows of one series from which going through it beats stepping through the matrices."""


@dataclass(frozen=True)
class Arrivals:
    """Of each series' bars the last `behind` give way to `rows`: from its first new or corrected minute on, all."""

    source: str
    batch_id: str
    """Empty where nothing was delivered."""
    rows: Rows
    behind: Integers
    touched: Floats
    """Times of the new and the corrected bars alone."""
    delivered: int
    """Bars of the group's series in the delivery."""
    fresh: pl.DataFrame
    changed: pl.DataFrame
    """The corrected bars with their new `revision`."""


def arrivals(past: Group, delivery: Delivery | None) -> Arrivals:
    """What the delivery brings for the group's series, held against the minutes at hand.

    Raises NotAtHandError where a bar is older than the minutes at hand, or where there is much.
    """
    batch_id = delivery.batch.batch_id if delivery else ""
    bars, series = _own(past, delivery.bars if delivery else pl.DataFrame(schema=BAR_SCHEMA))
    if bars.is_empty():
        none = np.zeros(0)
        behind = np.zeros(len(past.symbols), np.int64)
        return Arrivals(past.source, batch_id, Rows(series, {}), behind, none, 0, bars, bars)
    minutes, ts = past.bars["1m"], seconds(bars["ts"])
    given = np.stack([bars[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in VALUES])
    found, at, near = _found(minutes, series, ts)
    known = np.stack([near[at, minutes.names.index(name), series] for name in VALUES])
    is_other = ~((given == known) | (np.isnan(given) & np.isnan(known))).all(axis=0)
    is_changed = found & is_other
    revision = np.ones(len(ts))
    if is_changed.any():
        before = near[at, minutes.names.index("revision"), series]
        revision = np.where(is_changed, before + 1, revision)
    touched = _rows(series, ts, given, revision, is_changed | ~found)
    behind, after = _after(minutes, touched)
    corrected = bars.with_columns(revision=pl.Series(revision).cast(pl.Int64)).filter(pl.Series(is_changed))
    return Arrivals(
        source=past.source,
        batch_id=batch_id,
        rows=_merged(touched, after, minutes.series),
        behind=behind,
        touched=touched.ts,
        delivered=bars.height,
        fresh=bars.filter(pl.Series(~found)),
        changed=corrected,
    )


def _own(past: Group, bars: pl.DataFrame) -> tuple[pl.DataFrame, Integers]:
    """The bars of the group's series, and each one's series by number."""
    numbers = {symbol: number for number, symbol in enumerate(past.symbols)}
    series = np.array([numbers.get(symbol, -1) for symbol in bars["symbol"].to_list()], dtype=np.int64)
    is_own = series >= 0
    return (bars, series) if is_own.all() else (bars.filter(pl.Series(is_own)), series[is_own])


def _found(minutes: Matrices, series: Integers, ts: Floats) -> tuple[Booleans, Integers, Floats]:
    """Whether each minute is at hand, in which of the newest rows, and these."""
    oldest = float(ts.min(initial=np.inf))
    rows = 2 * MOST
    near = minutes.tail(rows)
    while len(near) == rows and (near[0, 0] >= oldest).any():
        rows *= 2
        near = minutes.tail(rows)
    held = near[:, 0]
    if len(ts) and (held[0, series] > ts).any():
        raise NotAtHandError("a bar before the minutes at hand")
    same = held[:, series] == ts
    return same.any(axis=0), np.asarray(same.argmax(axis=0), dtype=np.int64), near


def _rows(series: Integers, ts: Floats, given: Floats, revision: Floats, chosen: Booleans) -> Rows:
    nothing = np.zeros(int(chosen.sum()))
    values = dict(zip(VALUES, given[:, chosen], strict=True))
    more = {TS: ts[chosen], "revision": revision[chosen], "ret_log": nothing * np.nan}
    more |= {"imported": nothing, "lent": nothing}  # what comes this way is the source's own
    return Rows(series[chosen], values | more)


def _after(minutes: Matrices, touched: Rows) -> tuple[Integers, Rows]:
    """How many held bars of each series do not lie before its first touched one, and the untouched among them."""
    first = np.full(minutes.series, np.inf)
    np.minimum.at(first, touched.series, touched.ts)
    near = minutes.tail(2 * MOST)
    behind = (near[:, 0] >= first).sum(axis=0)
    if not behind.any():
        return behind, Rows(touched.series[:0], {name: values[:0] for name, values in touched.values.items()})
    if (near[0, 0] >= first).any():
        raise NotAtHandError("a correction of an older bar")
    at, series = np.nonzero(near[:, 0] >= first)
    keys = set(zip(touched.series.tolist(), touched.ts.tolist(), strict=True))
    held = zip(series.tolist(), near[at, 0, series].tolist(), strict=True)
    stays = np.array([key not in keys for key in held], dtype=bool)
    at, series = at[stays], series[stays]
    return behind, Rows(series, {name: near[at, c, series] for c, name in enumerate(minutes.names)})


def _merged(touched: Rows, after: Rows, series: int) -> Rows:
    number = np.concatenate([touched.series, after.series])
    order = np.lexsort((np.concatenate([touched.ts, after.ts]), number))
    rows = Rows(
        number[order],
        {name: np.concatenate([touched.values[name], after.values[name]])[order] for name in touched.values},
    )
    if rows.counts(series).max(initial=0) > MOST:
        raise NotAtHandError("many minutes at once")
    return rows
