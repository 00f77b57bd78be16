"""The ledger of gaps held against what truth cannot fill: each such hole is lost, for the right reason, and no other."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from warehouse.stage import literal

REASON = "answered without them"


def minutes(con: duckdb.DuckDBPyConnection, source: str, symbol: str, absent: set[int]) -> Iterator[str]:
    """absent: the minutes (epoch s) that nobody gave."""
    told: set[int] = set()
    for since, until, reason in _lost(
        con, source, symbol, "minutes", "epoch(from_ts)::BIGINT, epoch(to_ts)::BIGINT"
    ):
        told |= set(range(since, until, 60))
        if REASON not in reason:
            yield f"gap of {source}:{symbol} at {since}: {reason}"
    found = con.execute(
        "SELECT epoch(ts)::BIGINT FROM bars WHERE source = ? AND symbol = ?", [source, symbol]
    ).fetchall()
    yield from _unequal(f"minutes of {source}:{symbol}", told - {ts for (ts,) in found}, absent)


def trades(con: duckdb.DuckDBPyConnection, source: str, symbol: str, lost: set[int]) -> Iterator[str]:
    """lost: the ids that nobody gave."""
    told: set[int] = set()
    for first, last, reason in _lost(con, source, symbol, "trades", "first_id, last_id"):
        told |= set(range(first, last + 1))
        if REASON not in reason:
            yield f"gap of {source}:{symbol} from trade {first}: {reason}"
    found = con.execute(
        "SELECT trade_id FROM trades WHERE source = ? AND symbol = ?", [source, symbol]
    ).fetchall()
    yield from _unequal(f"trades of {source}:{symbol}", told - {number for (number,) in found}, lost)


def unsettled(con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Gaps that wait for healing still."""
    for row in con.execute(
        "SELECT source, symbol, kind, from_ts, minutes, trades, state FROM gaps WHERE state IN ('open', 'healing')"
    ).fetchall():
        yield f"gap not settled: {row}"


def _lost(
    con: duckdb.DuckDBPyConnection, source: str, symbol: str, kind: str, bounds: str
) -> list[tuple[int, int, str]]:
    return con.execute(
        f"SELECT {bounds}, reason FROM gaps WHERE state = 'lost' AND kind = {literal(kind)} "
        f"AND source = {literal(source)} AND symbol = {literal(symbol)}"
    ).fetchall()


def _unequal(who: str, told: set[int], true: set[int]) -> Iterator[str]:
    if missing := sorted(true - told):
        yield f"{who}: {len(missing)} are lost and in no gap: {missing[:5]}"
    if extra := sorted(told - true):
        yield f"{who}: {len(extra)} stand as lost and are not: {extra[:5]}"
