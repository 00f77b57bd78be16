"""Reading answers that list trades one by one, each as a venue tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
import polars as pl

from pipelines.market import TRADE_SCHEMA
from pipelines.sources.agg_trades import ParsedTrades
from pipelines.sources.base import Reply
from pipelines.sources.reading import Rejects, read_json
from pipelines.sources.refusals import refusal
from pipelines.sources.told_trades import Told


def read_replies(
    replies: Sequence[Reply], rows: Callable[[Any], Iterable[Any]], read: Callable[[str, Any], Told]
) -> ParsedTrades:
    """Trades of all replies, each once; a row that cannot be read is a reject, the rows beside it are kept.

    rows: the list in an answer. read: one row of a symbol. Both raise ValueError, KeyError, TypeError or IndexError
    where they meet something else.
    """
    rejects = Rejects()
    found: list[tuple[Any, ...]] = []
    for reply in replies:
        if not reply.ok:
            rejects.failures.append(refusal(reply, reply.text))
            continue
        try:
            listed = list(rows(read_json(reply.body)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            rejects.reply(
                reply, "wrong_shape", f"not the documented message ({type(error).__name__}: {error})"
            )
            continue
        for row in listed:
            try:
                one = read(reply.symbol, row)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                received = orjson.dumps(row, default=str).decode()
                rejects.row(
                    reply, None, "wrong_shape", f"not a trade ({type(error).__name__}: {error})", received
                )
                continue
            found.append((reply.source, *one[:3], one.price, one.qty, one.side, 1))
    trades = pl.DataFrame(found, schema=dict(TRADE_SCHEMA), orient="row")
    once = trades.unique(["symbol", "trade_id"], keep="last", maintain_order=True).sort("symbol", "trade_id")
    return ParsedTrades(once, rejects.frame(), rejects.failures)
