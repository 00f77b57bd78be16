"""The rules applied to closed rows: what fires, what has calmed down, and by which value.

Rows come as three frames, each row judged on its own:
series: `ohlcv` with `indicators`: source, symbol, interval, ts, is_complete, values; complete bars only;
pairs:  `pair_stats`: pair, interval, fitted_at, source_y, symbol_y, source_x, symbol_x, values;
feeds:  source, symbol (null: all of it), ts (the market's clock), latency_p99_ms, stale_s, gap_minutes.
Times are naive UTC. A column that a frame lacks is unknown, so its rules stay silent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import polars as pl

from pipelines.alerts.columns import COMPANIONS, Subject
from pipelines.alerts.evaluate import Cause, value_of, vectorised, watched
from pipelines.alerts.rules import Rule, in_force
from pipelines.market import Interval, Series, utc

KEY = ("source", "symbol", "pair", "interval")


class Labels(NamedTuple):
    """What an alert is about; never its values."""

    source: str | None = None
    symbol: str | None = None
    pair: str | None = None
    interval: str | None = None

    @property
    def name(self) -> str:
        """The subject in a message: a pair, a symbol, or the source."""
        return self.pair or self.symbol or self.source or "?"


@dataclass(frozen=True)
class Judged:
    """One rule on one row. `at` is when the row was known to be final: a bar's end, aware UTC."""

    rule: Rule
    labels: Labels
    series: tuple[Series, ...]
    ts: datetime
    at: datetime
    fired: bool
    cleared: bool
    cause: Cause | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.rule.name, self.labels)


def fingerprint(rule: str, labels: Labels) -> str:
    """The identity of an alert: the rule and the sorted labels, so that it survives any change of value."""
    said = sorted((name, value) for name, value in labels._asdict().items() if value is not None)
    return blake2b(repr((rule, said)).encode(), digest_size=8).hexdigest()


def judge(
    rules: Iterable[Rule],
    now: datetime,
    series: pl.DataFrame | None = None,
    pairs: pl.DataFrame | None = None,
    feeds: pl.DataFrame | None = None,
    open_alerts: Collection[tuple[str, Labels]] = (),
) -> list[Judged]:
    """Every row that fires a rule in force at `now`, and every row of a (rule, labels) open or firing here.

    The rest says nothing new and is left out. Oldest first; feeds before the markets they may inhibit.
    """
    frames: dict[Subject, pl.DataFrame | None] = {"feed": feeds, "series": series, "pair": pairs}
    shaped = {subject: SHAPES[subject](frame) for subject, frame in frames.items() if frame is not None}
    found: list[Judged] = []
    for rule in sorted(in_force(rules, now), key=lambda rule: rule.subject != "feed"):
        if rule.subject in shaped:
            watching = [labels for name, labels in open_alerts if name == rule.name]
            found += _judge_one(rule, shaped[rule.subject], watching)
    return sorted(found, key=lambda judged: judged.at)


def _judge_one(rule: Rule, rows: pl.DataFrame, watching: list[Labels]) -> list[Judged]:
    rows = _covered(rule, rows)
    missing = [name for name in rule.columns if name not in rows.columns]
    unknown = [pl.lit(None).cast(_TYPES[rule.catalogue[rule.subject][name]]).alias(name) for name in missing]
    judged = rows.with_columns(unknown).with_columns(
        __fired=vectorised(rule.condition).fill_null(False),
        __cleared=vectorised(rule.cleared).fill_null(False),
    )
    telling = judged.filter("__fired").select(KEY).unique()
    if watching:
        opened = pl.DataFrame(watching, schema=dict.fromkeys(KEY, pl.String), orient="row")
        telling = pl.concat([telling, opened]).unique()
    if telling.is_empty():
        return []
    kept = judged.join(telling, on=KEY, how="semi", nulls_equal=True)
    shown = [*KEY, *LEGS, "ts", "at", "__fired", "__cleared", *_evidence_columns(rule, kept.columns)]
    return [_judged(rule, row) for row in kept.select(*dict.fromkeys(shown)).iter_rows(named=True)]


_TYPES = {"number": pl.Float64, "truth": pl.Boolean}
LEGS = ("source_y", "symbol_y", "source_x", "symbol_x")


def _evidence_columns(rule: Rule, present: list[str]) -> list[str]:
    beside = [name for column in rule.columns for name in COMPANIONS.get(column, ())]
    return [name for name in dict.fromkeys([*rule.columns, *beside]) if name in present]


def _judged(rule: Rule, row: dict[str, Any]) -> Judged:
    labels = Labels(*(row[name] for name in KEY))
    hidden = {*KEY, *LEGS, "ts", "at", "__fired", "__cleared"}
    cause = value_of(rule.condition, row) if row["__fired"] else watched(rule.condition, row)
    return Judged(
        rule, labels, _series(row), utc(row["ts"]), utc(row["at"]), row["__fired"], row["__cleared"], cause,
        {name: value for name, value in row.items() if name not in hidden},
    )  # fmt: skip


def _series(row: dict[str, Any]) -> tuple[Series, ...]:
    if row["pair"] is not None:
        return Series(row["source_y"], row["symbol_y"]), Series(row["source_x"], row["symbol_x"])
    return (Series(row["source"], row["symbol"] or ""),)


def _covered(rule: Rule, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of the rule's intervals and of the names that its globs match."""
    if rule.intervals:
        rows = rows.filter(pl.col("interval").is_in(rule.intervals))
    if rule.on:
        names = rows.select(*KEY[:3], *LEGS).unique()
        covered = [row[:3] for row in names.iter_rows() if rule.covers(*_names(row))]
        picked = pl.DataFrame(covered, schema=dict.fromkeys(KEY[:3], pl.String), orient="row")
        rows = rows.join(picked, on=KEY[:3], how="semi", nulls_equal=True)
    return rows


def _names(row: tuple[str | None, ...]) -> list[str]:
    source, symbol, pair, source_y, symbol_y, source_x, symbol_x = row
    names = [name for name in (source, symbol, pair) if name]
    if pair:
        return [*names, f"{symbol_y}~{symbol_x}", f"{source_y}:{symbol_y}~{source_x}:{symbol_x}"]
    return [*names, f"{source}:{symbol}"] if symbol else names


def _shape_series(rows: pl.DataFrame) -> pl.DataFrame:
    """Complete bars only: a partial window is never judged."""
    if "is_complete" in rows.columns:
        rows = rows.filter(pl.col("is_complete").fill_null(False))
    return rows.with_columns(_texts("pair", *LEGS), at=pl.col("ts") + _lengths(rows))


def _shape_pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """A pair over two venues belongs to no source; its legs say which."""
    one_venue = pl.when(pl.col("source_y") == pl.col("source_x")).then(pl.col("source_y"))
    return rows.with_columns(
        _texts("symbol"), source=one_venue, ts=pl.col("fitted_at"), at=pl.col("fitted_at") + _lengths(rows)
    )


def _shape_feeds(rows: pl.DataFrame) -> pl.DataFrame:
    absent = [name for name in ("symbol",) if name not in rows.columns]
    return rows.with_columns(_texts("pair", "interval", *LEGS, *absent), at=pl.col("ts"))


SHAPES = {"series": _shape_series, "pair": _shape_pairs, "feed": _shape_feeds}


def _texts(*names: str) -> list[pl.Expr]:
    return [pl.lit(None, dtype=pl.String).alias(name) for name in names]


def _lengths(rows: pl.DataFrame) -> pl.Expr:
    names = rows.get_column("interval").unique().to_list()
    seconds = {name: Interval.parse(name).seconds for name in names}
    return pl.duration(seconds=pl.col("interval").replace_strict(seconds, return_dtype=pl.Int64))
