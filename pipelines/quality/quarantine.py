"""What could not be loaded, word for word, with its reason: the rows of the `quarantine` table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

import polars as pl

from pipelines.market import naive

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "reason": pl.String(),
    "detail": pl.String(),
    "payload": pl.String(),
    "file": pl.String(),
    "line": pl.Int64(),
    "run_id": pl.String(),
    "batch_id": pl.String(),
    "seen_at": pl.Datetime("us"),
}
_PROVENANCE = ("payload", "file", "line")


def to_quarantine(
    quarantined: pl.DataFrame,
    source: str,
    run_id: str,
    batch_id: str,
    seen_at: datetime,
    payload: str | None = None,
) -> pl.DataFrame:
    """Rows of `split`'s quarantine in the shape of the `quarantine` table.

    The payload is the row's own `payload` column where it has one, else `payload` for all rows, else
    the row as JSON. A missing `source` is filled in. The id depends on what the row says and on where
    it stands, not on when it was seen, so the same bad row met again has the same id, and equal rows
    in one batch become one.
    """
    rows = quarantined.with_columns(
        pl.col("source").fill_null(source),
        _payload(quarantined, payload).alias("payload"),
        *(_nothing(name) for name in ("file", "line") if name not in quarantined.columns),
    )
    return _stamped(rows, run_id, batch_id, seen_at)


def unreadable(
    payloads: Sequence[str | bytes],
    source: str,
    symbol: str | None,
    reason: str,
    details: Sequence[str],
    run_id: str,
    batch_id: str,
    seen_at: datetime,
    file: str | None = None,
    lines: Sequence[int | None] | None = None,
) -> pl.DataFrame:
    """What never became a row, word for word, in the shape of the `quarantine` table.

    Bytes that are not UTF-8 are written as backslash escapes. `details` and `lines` go with `payloads`.
    """
    texts = [text if isinstance(text, str) else text.decode("utf-8", "backslashreplace") for text in payloads]
    rows = pl.DataFrame(
        {"payload": texts, "detail": list(details), "line": list(lines or [None] * len(texts))},
        schema_overrides={name: QUARANTINE_SCHEMA[name] for name in ("payload", "detail", "line")},
    ).with_columns(
        pl.lit(source).alias("source"),
        pl.lit(symbol, dtype=pl.String).alias("symbol"),
        _nothing("ts"),
        pl.lit(reason).alias("reason"),
        pl.lit(file, dtype=pl.String).alias("file"),
    )
    return _stamped(rows, run_id, batch_id, seen_at)


def _nothing(name: str) -> pl.Expr:
    return pl.lit(None, dtype=QUARANTINE_SCHEMA[name]).alias(name)


def _payload(quarantined: pl.DataFrame, payload: str | None) -> pl.Expr:
    as_json = _json(quarantined) if payload is None else pl.lit(payload)
    return pl.coalesce("payload", as_json) if "payload" in quarantined.columns else as_json


def _json(quarantined: pl.DataFrame) -> pl.Expr:
    """The row as JSON text; JSON has no NaN and no infinity, so a row with one has its decimals as text."""
    columns = [name for name in quarantined.columns if name not in (*_PROVENANCE, "reason", "detail")]
    decimals = [name for name in columns if quarantined.schema[name].is_float()]
    plain = pl.struct(columns).struct.json_encode()
    if not decimals:
        return plain
    told = pl.struct(pl.col(name).cast(pl.String) if name in decimals else pl.col(name) for name in columns)
    wild = pl.any_horizontal(pl.col(name).is_finite().not_() for name in decimals).fill_null(False)
    return pl.when(wild).then(told.struct.json_encode()).otherwise(plain)


def _stamped(rows: pl.DataFrame, run_id: str, batch_id: str, seen_at: datetime) -> pl.DataFrame:
    said = rows.select("source", "symbol", pl.col("ts").cast(pl.String), "reason", "payload", "file", "line")
    stamped = rows.with_columns(
        pl.Series("id", [_row_id(row) for row in said.iter_rows()], dtype=pl.String),
        pl.lit(run_id).alias("run_id"),
        pl.lit(batch_id).alias("batch_id"),
        pl.lit(naive(seen_at)).alias("seen_at"),
    )
    chosen = stamped.select(pl.col(name).cast(kind) for name, kind in QUARANTINE_SCHEMA.items())
    return chosen.unique(subset="id", keep="first", maintain_order=True)


def _row_id(row: tuple[object, ...]) -> str:
    text = "\x1f".join("" if value is None else str(value) for value in row)
    return blake2b(text.encode(), digest_size=12).hexdigest()
