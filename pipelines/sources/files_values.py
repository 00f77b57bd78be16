"""The values of a file: times in every usual spelling, numbers, sides, ids; what is unreadable says why."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from pipelines.market import naive

US = pl.Datetime("us")
EPOCH_FLOOR = datetime(2000, 1, 1)
"""Earlier epoch numbers are wrong units, not history; written dates may be older."""
WRITTEN_FLOOR = datetime(1900, 1, 1)
OUT_OF_RANGE = "timestamp out of range"
"""Why a row is refused whose time can be read and cannot be."""
_ISO = (
    r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*(?:Z|z|UTC|GMT|([+-]\d{2}):?(\d{2})?)?$"
)
_COMMON = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.fZ",
)
_EPOCH_HINT = "seconds have 10 digits, milliseconds 13, microseconds 16, nanoseconds 19"


def times(values: pl.Series, now: datetime) -> pl.DataFrame:
    """`ts` (naive UTC, microseconds), and `reason` and `detail` where a time cannot stand.

    Texts are ISO 8601 (no offset means UTC) or epoch numbers; those are seconds, ms, µs or ns by their
    magnitude, row by row. Nothing after `now` and a day, no epoch before 2000.
    """
    if values.dtype.is_temporal():
        ts, is_epoch = _native(values), pl.repeat(False, len(values), eager=True)
    else:
        us = _epoch_us(values)
        is_epoch, ts = us.is_not_null(), us.cast(US)
        if us.null_count():
            texts = values.cast(pl.String).str.strip_chars()
            ts = ts.zip_with(is_epoch, _written(pl.select(pl.when(~is_epoch).then(texts)).to_series()))
    return _judged(values.cast(pl.String), ts, is_epoch, now)


def _native(values: pl.Series) -> pl.Series:
    zone = getattr(values.dtype, "time_zone", None)
    return (values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else values).cast(US)


def _epoch_us(values: pl.Series) -> pl.Series:
    """Microseconds since 1970 of the values that are plain numbers; `20240131` is that day."""
    given = pl.col("given")
    whole = pl.lit(None, dtype=pl.Int64) if values.dtype.is_float() else given.cast(pl.Int64, strict=False)
    decimal = given.cast(pl.Float64, strict=False)
    decimal = pl.when(decimal.is_finite() & (decimal.abs() < 4e18)).then(decimal)
    exact, rounded = _scaled(whole), _scaled(decimal).round().cast(pl.Int64, strict=False)
    return pl.DataFrame({"given": values}).select(us=pl.coalesce(exact, rounded)).to_series()


def _scaled(value: pl.Expr) -> pl.Expr:
    size = value.abs()
    day = (
        value.cast(pl.Int64)
        .cast(pl.String)
        .str.to_datetime("%Y%m%d", strict=False, time_unit="us")
        .cast(pl.Int64)
    )
    is_day = value.is_between(19_000_101, 21_001_231) & (value == value.round(0)) & day.is_not_null()
    return (
        pl.when(is_day).then(day)
        .when(size < 1e11).then(value * 1_000_000)
        .when(size < 1e14).then(value * 1000)
        .when(size < 1e17).then(value)
        .otherwise(value // 1000)
    )  # fmt: skip


def _written(texts: pl.Series) -> pl.Series:
    """Written times: by the format of the first one, those that differ by the pattern of all usual ones."""
    first = texts.drop_nulls().head(1)
    for form in _COMMON:
        if len(first) and first.str.to_datetime(form, strict=False, time_unit="us").null_count() == 0:
            quick = texts.str.to_datetime(form, strict=False, time_unit="us")
            if quick.null_count() == texts.null_count():
                return quick
            return quick.fill_null(_by_pattern(texts))
    return _by_pattern(texts)


def _by_pattern(texts: pl.Series) -> pl.Series:
    parts = texts.to_frame("text").select(pl.col("text").str.extract_groups(_ISO)).unnest("text")
    names = ("year", "month", "day", "hour", "minute", "second", "fraction", "offset_h", "offset_m")
    parts = parts.rename(dict(zip(parts.columns, names, strict=True)))
    two = [pl.col(name).fill_null("0").str.zfill(2) for name in names[1:6]]
    spelt = pl.format(
        "{}-{}-{} {}:{}:{}.{}",
        "year",
        *two,
        pl.col("fraction").fill_null("0").str.pad_end(6, "0").str.head(6),
    )
    minutes = pl.col("offset_h").cast(pl.Int64).abs() * 60 + pl.col("offset_m").fill_null("0").cast(pl.Int64)
    sign = pl.when(pl.col("offset_h").str.starts_with("-")).then(-1).otherwise(1)
    offset = pl.duration(minutes=(minutes * sign).fill_null(0))
    return parts.select(
        pl.when(pl.col("year").is_not_null())
        .then(spelt.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us") - offset)
        .alias("ts")
    ).to_series()


def _judged(given: pl.Series, ts: pl.Series, is_epoch: pl.Series, now: datetime) -> pl.DataFrame:
    """`ts` with the reason why it cannot stand, if so."""
    latest = naive(now) + timedelta(days=1)
    frame = pl.DataFrame({"given": given, "ts": ts.cast(US), "is_epoch": is_epoch})
    epoch = pl.col("is_epoch")
    floor = pl.when(epoch).then(pl.lit(EPOCH_FLOOR)).otherwise(pl.lit(WRITTEN_FLOOR))
    is_zero = pl.col("ts") == datetime(1970, 1, 1)
    reads = pl.format("{} reads as {}Z", "given", pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S"))
    digits = pl.col("given").str.extract(r"^-?(\d+)", 1).str.len_chars()
    guess = (
        pl.when(epoch)
        .then(pl.format("an epoch number of {} digits; " + _EPOCH_HINT, digits))
        .otherwise(
            pl.when(is_zero).then(pl.lit("an epoch of 0, a missing time")).otherwise(pl.lit("a wrong year"))
        )
    )
    outside = (pl.col("ts") < floor) | (pl.col("ts") > latest) | is_zero
    missing = pl.col("ts").is_null()
    return frame.select(
        "ts",
        reason=pl.when(missing).then(pl.lit("unreadable time")).when(outside).then(pl.lit(OUT_OF_RANGE)),
        detail=pl.when(missing)
        .then(
            pl.format(
                "time {} is neither ISO 8601 nor an epoch",
                pl.format('"{}"', "given").fill_null("that is missing"),
            )
        )
        .when(outside)
        .then(pl.format("timestamp out of range: {}; looks like {}", reads, guess)),
    )


def numbers(values: pl.Series, *, decimal_comma: bool = False) -> pl.Series:
    """Decimals; null where there is nothing or no number."""
    if values.dtype == pl.String:
        plain = values.str.strip_chars()
        return (plain.str.replace(",", ".", literal=True) if decimal_comma else plain).cast(
            pl.Float64, strict=False
        )
    return values.cast(pl.Float64, strict=False)


def wholes(values: pl.Series) -> pl.Series:
    """Whole numbers; `12.0` counts as one, null where there is none."""
    whole = values.cast(pl.Int64, strict=False)
    if values.dtype == pl.String and whole.null_count() > values.null_count():
        decimal = values.cast(pl.Float64, strict=False)
        return whole.fill_null(decimal.set(decimal != decimal.round(), None).cast(pl.Int64, strict=False))
    return whole


def sides(values: pl.Series, *, is_maker: bool) -> pl.Series:
    """The aggressor's side; from the `is buyer maker` flag, a maker who buys means that a seller struck."""
    words = values.cast(pl.String).str.strip_chars().str.to_lowercase()
    return words.replace_strict(_MAKER if is_maker else _SIDES, default=None, return_dtype=pl.String)


_MAKER = {"true": "sell", "1": "sell", "t": "sell", "false": "buy", "0": "buy", "f": "buy"}
_SIDES = {"buy": "buy", "b": "buy", "sell": "sell", "s": "sell"}
