"""`tapewatch backfill`: history from a source."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def backfill(
    *,
    start: str,
    end: str,
    source: str = "",
    symbol: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    derive: bool = True,
    call: Injected,
) -> None:
    """History through the same path as live; again, or after a kill, it only brings what is missing.

    Example: tapewatch backfill --source binance --symbol BTCUSDT --start 2024-03-01 --end 2024-03-08

    Parameters
    ----------
    start
        First minute, UTC: an ISO time, or 7d for seven days ago.
    end
        End, not included: an ISO time or now.
    source
        One source; else all that are configured.
    symbol
        One or more symbols; else all of the source.
    derive
        Compute windows, indicators and anomalies of what was loaded (--no-derive skips).
    """
    del call, start, end, source, symbol, derive
    not_built("backfill")
