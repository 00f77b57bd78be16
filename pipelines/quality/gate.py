"""The minute's gate: rows that keep their contract go on, the others are put aside with the reason why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import polars as pl

from pipelines.market import naive
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine, unreadable
from pipelines.quality.rules import MARKET_NOW, Contract, Rule

__all__ = ["QUARANTINE_SCHEMA", "Gated", "split", "to_quarantine", "unreadable"]

DUPLICATE = "duplicate key with other values"

_FIRST, _ORDER, _NOW = "__first_broken", "__order", MARKET_NOW.meta.output_name()


class Gated(NamedTuple):
    """A batch after the gate: rows in = accepted + quarantined + collapsed."""

    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    collapsed: int
    """Rows that said again, word for word, what an accepted or quarantined row of their key says."""


def split(frame: pl.DataFrame, contract: Contract, market_now: datetime) -> Gated:
    """The rows that keep every critical rule, and the others with `reason` and `detail`.

    frame:      the contract's columns, and any others (`payload`, `file`, `line`), which stay on their rows
    market_now: the source's clock

    The first broken rule gives the reason. Of rows with one key the last received is accepted, its
    equals vanish into `collapsed`, and the ones that differ are quarantined. Both answers keep the
    order of arrival. Raises ValueError when a column of the contract is missing.
    """
    absent = [column for column in contract.columns if column not in frame.columns]
    if absent:
        needed = ", ".join(contract.columns)
        raise ValueError(f"{contract.table}: no column {', '.join(absent)}; the parser must give {needed}")
    rules = [rule for rule in contract.rows if rule.severity == "critical"]
    judged = frame.with_columns(pl.lit(naive(market_now)).cast(pl.Datetime("us")).alias(_NOW))
    judged = judged.with_columns(_first_broken(rules).alias(_FIRST), pl.int_range(pl.len()).alias(_ORDER))
    kept = judged.filter(pl.col(_FIRST).is_null())
    broken = _explained(judged.filter(pl.col(_FIRST).is_not_null()), rules)
    accepted, contradicted = _last_of_each_key(kept, contract)
    quarantined = pl.concat([broken, contradicted]).sort(_ORDER)
    helpers = (_FIRST, _ORDER, _NOW)
    collapsed = frame.height - accepted.height - quarantined.height
    return Gated(accepted.drop(helpers), quarantined.drop(helpers), collapsed)


def _first_broken(rules: Sequence[Rule]) -> pl.Expr:
    """The number of the first rule the row breaks, null for none."""
    return pl.coalesce(
        pl.when(rule.bad).then(pl.lit(number, dtype=pl.Int16)) for number, rule in enumerate(rules)
    )


def _explained(broken: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    reason, detail = pl.lit(None, dtype=pl.String), pl.lit(None, dtype=pl.String)
    if broken.height:
        for number in broken[_FIRST].unique().to_list():
            here = pl.col(_FIRST) == number
            reason = pl.when(here).then(pl.lit(rules[number].reason)).otherwise(reason)
            detail = pl.when(here).then(rules[number].detail).otherwise(detail)
    return broken.with_columns(reason.alias("reason"), detail.alias("detail"))


def _last_of_each_key(kept: pl.DataFrame, contract: Contract) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The last row of each key, and once each the earlier rows that contradict it."""
    last = kept.unique(subset=contract.key, keep="last", maintain_order=True)
    if last.height == kept.height:
        return kept, _explained(kept.clear(), ())
    earlier = kept.join(last.select(_ORDER), on=_ORDER, how="anti")
    winners = last.select(*contract.key, *(pl.col(value).alias(f"kept_{value}") for value in contract.values))
    both = earlier.join(winners, on=list(contract.key), how="inner", maintain_order="left")
    differs = {value: pl.col(value).ne_missing(pl.col(f"kept_{value}")) for value in contract.values}
    told = pl.concat_str(
        [
            pl.when(other).then(
                pl.format("{} {}, kept {}", pl.lit(value), _text(value), _text(f"kept_{value}"))
            )
            for value, other in differs.items()
        ],
        separator="; ",
        ignore_nulls=True,
    )
    contradicted = (
        both.filter(pl.any_horizontal(differs.values()))
        .unique(subset=contract.columns, keep="first", maintain_order=True)
        .with_columns(pl.lit(DUPLICATE).alias("reason"), told.alias("detail"))
    )
    return last, contradicted.select(*kept.columns, "reason", "detail")


def _text(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).fill_null("null")
