"""A venue's own words for a bar that is refused, letter by letter, where its answer is a list of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import polars as pl

from pipelines.sources.base import Reply
from pipelines.sources.reading import elements_as_received

EPOCH = datetime(1970, 1, 1)
MOST_SECONDS = 10**11
"""A larger time counts milliseconds."""


def with_words(rows: pl.DataFrame, replies: Sequence[Reply]) -> pl.DataFrame:
    """`rows` with `payload`: the row's text in the last answer that holds it, null where it has none of its own.

    rows: symbol, ts (naive UTC) and more. A row has a text of its own in an array of arrays that begin with the
    row's time (Binance, Coinbase, Kraken); where columns or objects are sent there is none.
    """
    wanted = set(rows["symbol"])
    words: dict[tuple[str, datetime], str] = {}
    for reply in replies:
        if reply.symbol in wanted and reply.ok:
            words.update({(reply.symbol, ts): text for ts, text in _elements(reply)})
    texts = [words.get(key) for key in rows.select("symbol", "ts").iter_rows()]
    return rows.with_columns(payload=pl.Series(texts, dtype=pl.String))


def _elements(reply: Reply) -> Iterator[tuple[datetime, str]]:
    _, found, rest = reply.body.decode("utf-8", "replace").partition("[[")
    with suppress(ValueError, IndexError, OverflowError):  # what is no JSON is a reject of its own
        for element in elements_as_received(found + rest) if found else ():
            time = int(element.lstrip("[ ").partition(",")[0])
            yield EPOCH + timedelta(seconds=time / 1000 if time > MOST_SECONDS else time), element
