"""The contracts as Great Expectations suites: the hourly and daily check of whole tables, in its own process.

Imported by nothing the minute runs: the import alone takes seconds. A fresh ephemeral context serves each
call, because a shared one gives wrong answers on several threads, and nothing is written or sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import polars as pl
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    Expectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import (
    multicolumn_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_map_metric_provider import (
    MulticolumnMapMetricProvider,
)
from great_expectations.expectations.row_conditions import Column

from pipelines.market import naive
from pipelines.quality.rules import MARKET_NOW, Contract, FromNow, Rule, Where, fresh
from pipelines.quality.tables import Check, quality_frame

logging.getLogger("great_expectations").setLevel(logging.WARNING)


class ColumnValuesAligned(ColumnMapMetricProvider):
    condition_metric_name = "column_values.aligned"
    condition_value_keys = ("seconds",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, seconds: int, **_: object) -> pd.Series:  # noqa: N805
        microseconds = column.to_numpy("datetime64[us]").astype(np.int64)
        return pd.Series(microseconds % (seconds * 1_000_000) == 0, index=column.index)


class ExpectColumnValuesToBeAligned(ColumnMapExpectation):
    """Each time is a whole multiple of `seconds` since 1970."""

    seconds: int
    map_metric = "column_values.aligned"
    success_keys = ("seconds", "mostly")


class RevisionsRise(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.revisions_rise"

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, **_: object) -> pd.Series:  # noqa: N805
        *key, revision, known_at = column_list.columns
        by_time = column_list.sort_values(known_at, kind="stable")
        steps = by_time.groupby(key, sort=False)[revision].diff()
        return ~(steps <= 0).reindex(column_list.index)


class ExpectRevisionsToRise(MulticolumnMapExpectation):
    """What became known later of a row has the higher revision; columns: key .., revision, known_at."""

    map_metric = "multicolumn_values.revisions_rise"


_OWN: Mapping[str, type[Expectation]] = {
    each.__name__: each for each in (ExpectColumnValuesToBeAligned, ExpectRevisionsToRise)
}


def check(
    frame: pl.DataFrame,
    contract: Contract,
    market_now: datetime,
    checked_at: datetime,
    fresh_after: datetime | None = None,
) -> pl.DataFrame:
    """Every rule of the contract judged over the whole frame, as rows of the `quality` table.

    frame:       the contract's columns
    fresh_after: the newest `ts` must not be older than this; None where nothing was due

    A rule that Great Expectations could not judge (it answers its own errors as failures) is critical
    and says so, without a count. An empty frame breaks no rule but freshness.
    """
    rules = _rules(contract, fresh_after)
    results = _results(to_pandas(frame), f"{contract.table} contract", _judgeable(rules, frame), market_now)
    timed = frame.with_columns(pl.lit(naive(market_now)).alias(MARKET_NOW.meta.output_name()))
    checks = [_judged(rule, contract.table, results.get(rule.name), timed) for rule in rules]
    return quality_frame(checks, checked_at, suite=f"{contract.table} contract")


def suite(name: str, rules: Sequence[Rule], market_now: datetime) -> gx.ExpectationSuite:
    """The rules as one suite; each expectation has its rule's name in `meta`, its words as description."""
    return gx.ExpectationSuite(name, expectations=[_expectation(rule, market_now) for rule in rules])


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """The frame for Great Expectations, which reads neither polars nor DuckDB; needs no pyarrow."""
    return pd.DataFrame({column: frame[column].to_numpy() for column in frame.columns})


def _rules(contract: Contract, fresh_after: datetime | None) -> list[Rule]:
    freshness = [] if fresh_after is None else [fresh("ts", naive(fresh_after))]
    return [*contract.rows, *contract.whole, *freshness]


def _expectation(rule: Rule, market_now: datetime) -> Expectation:
    kind: Callable[..., Expectation] = _OWN.get(rule.expectation) or getattr(gxe, rule.expectation)
    arguments = {name: _argument(value, market_now) for name, value in rule.arguments.items()}
    return kind(**arguments, severity=rule.severity, description=rule.reason, meta={"rule": rule.name})


def _argument(value: object, market_now: datetime) -> object:
    match value:
        case FromNow(ahead):
            return naive(market_now) + ahead
        case Where(column, ">", limit):
            return Column(column) > limit
        case Where(column, _, limit):
            return Column(column) == limit
    return value


def _judgeable(rules: Sequence[Rule], frame: pl.DataFrame) -> list[Rule]:
    """The rules without those on the extreme of a column without values: an error to Great Expectations."""
    blank = {column for column in frame.columns if frame[column].null_count() == frame.height}
    return [rule for rule in rules if not (rule.on_extreme and rule.arguments["column"] in blank)]


def _results(
    frame: pd.DataFrame, name: str, rules: Sequence[Rule], market_now: datetime
) -> dict[str, ExpectationValidationResult]:
    context = gx.get_context(mode="ephemeral", project_config=_quiet_and_in_memory())
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    validated = batch.validate(suite(name, rules, market_now), result_format="BASIC")
    return {_rule_name(result): result for result in validated.results}


def _quiet_and_in_memory() -> DataContextConfig:
    """No progress bars, nothing told to anyone, no folder for pages that nobody builds."""
    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )


def _rule_name(result: ExpectationValidationResult) -> str:
    meta = result.expectation_config.meta if result.expectation_config else None
    return str((meta or {})["rule"])


def _judged(rule: Rule, table: str, result: ExpectationValidationResult | None, frame: pl.DataFrame) -> Check:
    name, threshold = f"{table}: {rule.name}", f"0 rows where {rule.reason}"
    if result is None:
        return Check(name, table, rule.severity, not rule.needs_rows, "no values", threshold, 0)
    error = _error(result.exception_info)
    if error:
        return Check(name, table, "critical", False, f"the check itself failed: {error}", threshold)
    failing = _failing(rule, result, frame)
    observed = f"{failing} of {frame.height} rows" + (
        "" if result.success else f", such as {_example(rule, frame)}"
    )
    return Check(name, table, rule.severity, bool(result.success), observed, threshold, failing)


def _failing(rule: Rule, result: ExpectationValidationResult, frame: pl.DataFrame) -> int:
    """Great Expectations' own count; where it judged by the extreme alone, ours."""
    if rule.on_extreme:
        return 0 if result.success else int(frame.select(rule.bad.sum()).item())
    return int(result.result["unexpected_count"])


def _example(rule: Rule, frame: pl.DataFrame) -> str:
    return ", ".join(frame.filter(rule.bad).head(1).select(rule.detail).to_series())


def _error(exception_info: Mapping[str, Any]) -> str | None:
    """The first error, which stands either in the mapping itself or one level down, by metric."""
    told = [exception_info, *(value for value in exception_info.values() if isinstance(value, Mapping))]
    errors = (str(each["exception_message"]) for each in told if each.get("raised_exception"))
    return next(errors, None)
