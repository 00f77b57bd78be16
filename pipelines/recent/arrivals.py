"""What deliveries change of the newest minutes: new bars, corrected ones, and the bars that come after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.market import BAR_SCHEMA
from pipelines.recent.matrices import TS, Booleans, Floats, Integers, Matrices, NotAtHandError, Rows
from pipelines.recent.past import Past
from pipelines.recent.places import seconds
from warehouse.load import VALUES, Delivery

MOST = 16
"""Rows of one series from which going through it beats stepping through the matrices."""


@dataclass(frozen=True)
class Arrivals:
    """Of each series' bars the last `behind` give way to `rows`: from its first new or corrected minute on, all."""

    rows: Rows
    behind: Integers
    touched: Rows
    """The new and the corrected bars alone."""
    fresh: tuple[pl.DataFrame, ...]
    """A delivery each: its new bars."""
    changed: tuple[pl.DataFrame, ...]
    """A delivery each: its corrected bars with their new `revision`."""


def arrivals(past: Past, deliveries: Sequence[Delivery]) -> Arrivals:
    """The deliveries held against the minutes at hand.

    Raises NotAtHandError where a series is new, a bar older than the minutes at hand, a batch known, or where there is much.
    """
    sources = [delivery.batch.source for delivery in deliveries]
    if len(set(sources)) < len(sources):
        raise NotAtHandError("two batches of one source, one after the other")
    for delivery in deliveries:
        if (
            delivery.batch.batch_id <= past.newest.get(delivery.batch.source, "")
            or delivery.batch.kind != "rest"
        ):
            raise NotAtHandError("a batch that may have been loaded before")
    bars = pl.concat([pl.DataFrame(schema=BAR_SCHEMA), *(delivery.bars for delivery in deliveries)])
    owner = np.repeat(np.arange(len(deliveries)), [delivery.bars.height for delivery in deliveries])
    minutes = past.bars["1m"]
    series, ts = _numbers(past, bars), seconds(bars["ts"])
    given = np.stack([bars[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in VALUES])
    found, at = _found(minutes, series, ts)
    known = np.stack([minutes[name][series, at] for name in VALUES])
    is_other = ~((given == known) | (np.isnan(given) & np.isnan(known))).all(axis=0)
    is_changed = found & is_other
    revision = np.where(is_changed, minutes["revision"][series, at] + 1, 1.0)
    is_touched = is_changed | ~found
    touched = _rows(series, ts, given, revision, is_touched)
    behind, after = _after(minutes, touched)
    masks = [(owner == number) for number in range(len(deliveries))]
    whole = bars.with_columns(revision=pl.Series(revision.astype(np.int64)))
    return Arrivals(
        rows=_merged(touched, after, len(behind)),
        behind=behind,
        touched=touched,
        fresh=tuple(whole.filter(pl.Series(mask & ~found)) for mask in masks),
        changed=tuple(whole.filter(pl.Series(mask & is_changed)) for mask in masks),
    )


def _numbers(past: Past, bars: pl.DataFrame) -> Integers:
    """Each bar's series by number."""
    numbered = past.series.select("source", "symbol").with_row_index("number")
    number = bars.select("source", "symbol").join(
        numbered, on=["source", "symbol"], how="left", maintain_order="left"
    )["number"]
    if number.null_count():
        raise NotAtHandError("a series that is new")
    return number.cast(pl.Int64).to_numpy()


def _found(minutes: Matrices, series: Integers, ts: Floats) -> tuple[Booleans, Integers]:
    """Whether each minute is at hand, and in which column."""
    held = minutes[TS]
    oldest = np.where(np.isnan(held), np.inf, held).min(axis=1)[series]
    if ((ts < oldest) & np.isfinite(oldest)).any():
        raise NotAtHandError("a bar before the minutes at hand")
    same = held[series] == ts[:, None]
    return same.any(axis=1), np.asarray(same.argmax(axis=1), dtype=np.int64)


def _rows(series: Integers, ts: Floats, given: Floats, revision: Floats, chosen: Booleans) -> Rows:
    values = dict(zip(VALUES, given[:, chosen], strict=True))
    nothing = np.zeros(int(chosen.sum()))
    rows = values | {
        TS: ts[chosen],
        "revision": revision[chosen],
        "imported": nothing,
        "ret_log": nothing * np.nan,
    }
    return Rows(series[chosen], rows)


def _after(minutes: Matrices, touched: Rows) -> tuple[Integers, Rows]:
    """How many held bars of each series do not lie before its first touched one, and the untouched among them."""
    held = minutes[TS]
    first = np.full(len(held), np.inf)
    np.minimum.at(first, touched.series, touched.ts)
    is_after = held >= first[:, None]
    behind = is_after.sum(axis=1)
    if not behind.any():
        return behind, Rows(touched.series[:0], {name: values[:0] for name, values in touched.values.items()})
    series, at = np.nonzero(is_after)
    keys = set(zip(touched.series.tolist(), touched.ts.tolist(), strict=True))
    stays = np.array(
        [key not in keys for key in zip(series.tolist(), held[series, at].tolist(), strict=True)]
    )
    series, at = series[stays], at[stays]
    return behind, Rows(series, {name: minutes[name][series, at] for name in minutes.names})


def _merged(touched: Rows, after: Rows, series: int) -> Rows:
    number = np.concatenate([touched.series, after.series])
    ts = np.concatenate([touched.ts, after.ts])
    order = np.lexsort((ts, number))
    rows = Rows(
        number[order],
        {name: np.concatenate([touched.values[name], after.values[name]])[order] for name in after.values},
    )
    if rows.counts(series).max(initial=0) > MOST:
        raise NotAtHandError("many minutes at once")
    return rows
