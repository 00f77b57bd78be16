"""What each table promises: its key and the rules its rows keep, source of gate and suites alike."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from pipelines.market import MINUTE, Interval
from pipelines.quality.rules import (
    Contract,
    Rule,
    Where,
    aligned,
    at_least,
    not_ahead,
    number,
    one_of,
    present,
    printable,
    rule,
    shown,
    unique,
    within,
)

SIDES = ("buy", "sell")
CLOCKS_APART = MINUTE
"""How far a trade's time may be ahead of the clock the source told us: one was read before the other."""

_PRICES = ("open", "high", "low", "close")
_BAR_VALUES = (*_PRICES, "volume", "turnover", "trades")


def _named() -> tuple[Rule, ...]:
    return tuple(check(column) for column in ("source", "symbol") for check in (present, printable))


def _timed(step: timedelta) -> tuple[Rule, ...]:
    return present("ts"), aligned("ts", step), not_ahead("ts")


def _priced() -> tuple[Rule, ...]:
    """Prices finite, above zero, in order; volume zero or more; turnover and trades the same or missing."""
    return (
        *(number(column) for column in (*_PRICES, "volume")),
        *(within(column, 0, above=True) for column in _PRICES),
        at_least("high", "low"),
        at_least("high", "open"),
        at_least("high", "close"),
        at_least("open", "low"),
        at_least("close", "low"),
        *(within(column, 0) for column in ("volume", "turnover", "trades")),
    )


def _doubtful() -> tuple[Rule, ...]:
    """What some venues do send, so it is loaded, but an operator wants to know how often."""
    return (
        rule(
            "trades behind volume", "volume without a trade",
            (pl.col("volume") > 0) & pl.col("volume").is_not_nan() & (pl.col("trades") < 1),
            pl.format("volume {}, trades {}", shown("volume"), shown("trades")),
            "ExpectColumnValuesToBeBetween", "warning",
            column="trades", min_value=1, row_condition=Where("volume", ">", 0),
        ),
        rule(
            "volume behind moves", "the price moved without volume",
            (pl.col("volume") == 0) & (pl.col("high") != pl.col("low"))
            & pl.col("high").is_not_nan() & pl.col("low").is_not_nan(),
            pl.format("low {}, high {}, volume 0", shown("low"), shown("high")),
            "ExpectColumnPairValuesToBeEqual", "info",
            column_A="high", column_B="low", ignore_row_if="either_value_is_missing",
            row_condition=Where("volume", "==", 0),
        ),
    )  # fmt: skip


def bars(interval: Interval) -> Contract:
    """Bars of one interval as a venue or a file gives them.

    They start on a whole minute, or on a whole interval below a minute: what is longer than a minute may
    be anchored at a session's open. A bar is in the future when its open is; whether it is closed is the
    caller's question, and open bars are taken out before.
    """
    key = ("source", "symbol", "ts")
    return Contract(
        table="bars" if interval == Interval(60) else f"bars_{interval}",
        key=key,
        values=(*_BAR_VALUES, "venue"),
        rows=(*_named(), *_timed(min(interval.delta, MINUTE)), *_priced(), *_doubtful()),
        whole=(unique(key),),
    )


BARS = bars(Interval(60))

TRADES = Contract(
    table="trades",
    key=("source", "symbol", "trade_id"),
    values=("ts", "price", "qty", "side", "fills"),
    rows=(
        *_named(),
        present("trade_id"),
        present("ts"),
        number("price"),
        number("qty"),
        within("trade_id", 0),
        not_ahead("ts", CLOCKS_APART),
        within("price", 0, above=True),
        within("qty", 0, above=True),
        one_of("side", SIDES),
        within("fills", 1),
    ),
    whole=(unique(("source", "symbol", "trade_id")),),
)

_WINDOW_KEY = ("source", "symbol", "interval", "ts")
OHLCV = Contract(
    table="ohlcv",
    key=_WINDOW_KEY,
    values=(*_BAR_VALUES, "minutes", "minutes_expected", "is_complete"),
    rows=(
        *_named(),
        present("interval"),
        *_timed(timedelta(seconds=1)),
        *_priced(),
        within("minutes", 0),
        at_least("minutes_expected", "minutes", "warning"),
        present("is_complete"),
    ),
    whole=(unique(_WINDOW_KEY),),
)
"""Windows as the warehouse computed them; checked hourly, never gated."""

_REVISION_KEY = ("source", "symbol", "ts", "revision")
_LATER = pl.col("revision") > pl.col("revision").shift(1)
REVISIONS = Contract(
    table="bar_revisions",
    key=_REVISION_KEY,
    values=("known_at",),
    rows=(present("revision"), present("known_at"), within("revision", 1)),
    whole=(
        unique(_REVISION_KEY),
        rule(
            "revisions rise", "a revision became known after a higher one",
            _LATER.over(("source", "symbol", "ts"), order_by="known_at").not_(),
            pl.format("revision {}, known at {}", shown("revision"), shown("known_at")),
            "ExpectRevisionsToRise",
            column_list=[*_REVISION_KEY, "known_at"], ignore_row_if="any_value_is_missing",
        ),
    ),
)  # fmt: skip
"""All versions of the bars, the newest ones included."""

CONTRACTS: dict[str, Contract] = {each.table: each for each in (BARS, TRADES, OHLCV, REVISIONS)}
