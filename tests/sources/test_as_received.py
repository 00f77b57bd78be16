"""A refused bar keeps the words it came in, where the venue's answer has words for a single bar."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from pipelines.sources.as_received import with_words
from pipelines.sources.base import Reply

TS = datetime(2026, 11, 20, 15, 1)
T = int(TS.replace(tzinfo=UTC).timestamp())
BINANCE = f'[{T}000, "1.10", "-2.0" , "1", "1", "0.50"]'
OTHERS = f"[{T}, 1, 2.50, 1, 1, 5e-1]"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f'[[{T - 60}000,"1","1","1","1","1"],{BINANCE}]', BINANCE),
        (f"[{OTHERS},[{T - 60},1,1,1,1,1]]", OTHERS),
        (f'{{"error":[],"result":{{"XXBTZUSD":[{OTHERS}],"last":{T}}}}}', OTHERS),
        (f'{{"chart":{{"result":[{{"timestamp":[{T}]}}]}}}}', None),
        (f"[{OTHERS[:-4]}", None),
        ("[[]]", None),
        ("<html>", None),
    ],
    ids=["binance", "coinbase", "kraken", "columns", "cut", "empty", "html"],
)
def test_a_row_is_found_letter_by_letter_by_its_time(body: str, words: str | None) -> None:
    rows = pl.DataFrame({"symbol": ["BTCUSDT", "ETHUSDT"], "ts": [TS, TS], "high": [-2.0, -2.0]})
    reply = Reply(
        "venue", "BTCUSDT", "/", {}, 200, body.encode(), datetime(2026, 11, 20, 15, 2, tzinfo=UTC), 1.0
    )
    found = with_words(rows, [reply])
    assert found["payload"].to_list() == [words, None]
    assert found.drop("payload").equals(rows)
