"""The files of single series and pairs: chart columns, API answers, their pages."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Any
from zlib import crc32

import polars as pl

from pipelines.market import Interval, Series
from reports import api, charts, render
from reports.options import SiteOptions
from reports.pages import symbols
from reports.pages.movers import movers
from reports.pages.shell import Page, pair_slug
from reports.shelf import Shelf
from reports.snapshot import Row, Snapshot, by_series, minute_rows
from warehouse import read
from warehouse.read import findings, market

PAIR_SCHEMA = {"pair": pl.String(), "interval": pl.String(), "ts": pl.Datetime("us"), "spread": pl.Float64(), "zscore": pl.Float64(), "corr_roll": pl.Float64(), "beta": pl.Float64()}  # fmt: skip
PAIR_COLUMNS = ("close_y", "close_x", "spread_bp", "mean_bp", "lower_bp", "upper_bp", "zscore", "corr")
WINDOW_BARS = 1000
MOST_QUIET = 200


def seconds_of(snap: Snapshot) -> dict[str, int]:
    return {name: int(width.total_seconds()) for name, width in snap.options.widths.items()}


def write_tails(shelf: Shelf, snap: Snapshot) -> None:
    """Each series' newest bars with the shaded stretches of two days: what a chart draws first."""
    widths = seconds_of(snap)
    for key, tail in snap.tails.items():
        flagged, gaps = snap.flagged.get(key), snap.holes.get(key)
        with shelf.going_on(f"chart of {key}"):
            payload = charts.payload(
                tail,
                60,
                snap.digits[key],
                zones=() if flagged is None else charts.zones_of(flagged, widths),
                marks=() if flagged is None else charts.marks_of(flagged),
                holes=() if gaps is None else charts.holes_of(gaps),
            )
            shelf.put(f"data/symbols/{key.slug}.js", charts.script(key.slug, "tail", payload))


def write_days(con: read.Connection, shelf: Shelf, snap: Snapshot) -> None:
    """Chart columns of whole days: past ones when anything in them changed, today's before the tail leaves it."""
    first = datetime.combine(
        snap.at.date() - timedelta(days=snap.options.chart_days - 1), datetime.min.time()
    )
    known: dict[str, dict[str, list[Any]]] = shelf.state.setdefault("days", {})
    due: dict[date, set[Series]] = {}
    touched: dict[tuple[Series, date], list[Any]] = {}
    for row in market.touched_days(con, first).iter_rows(named=True):
        key, day = Series(row["source"], row["symbol"]), row["day"]
        mark = [_iso(row["known_at"]), _iso(row["ts"]), row["rows"]]
        touched[key, day] = mark
        if _is_due(known.get(key.slug, {}).get(day.isoformat()), mark, key, is_today=day == snap.at.date()):
            due.setdefault(day, set()).add(key)
    for day, keys in sorted(due.items()):
        start = datetime.combine(day, datetime.min.time())
        for key, bars in charts.by_series(market.minutes_between(con, start, start + timedelta(days=1))):
            if key in keys:
                _write_day(shelf, snap, key, day, bars)
                known.setdefault(key.slug, {})[day.isoformat()] = touched[key, day]
    _forget_days(shelf, known, first.date())


def _is_due(known: list[Any] | None, mark: list[Any], key: Series, *, is_today: bool) -> bool:
    """Today's file may lag as long as the tail still overlaps it, each series at its own moment."""
    if known is None or not is_today:
        return known != mark
    lag = datetime.fromisoformat(mark[1]) - datetime.fromisoformat(known[1])
    return lag > timedelta(minutes=30 + crc32(key.slug.encode()) % 50)


def _write_day(shelf: Shelf, snap: Snapshot, key: Series, day: date, bars: charts.Columns) -> None:
    gaps = snap.holes.get(key)
    digits = snap.digits.get(key) or charts.digits_of(bars.values["close"])
    payload = charts.payload(bars, 60, digits, holes=() if gaps is None else charts.holes_of(gaps))
    payload["gaps"] = []  # the tail names them; here they only keep their room
    shelf.put(f"data/symbols/{key.slug}/{day}.js", charts.script(key.slug, f"day:{day}", payload))


def _forget_days(shelf: Shelf, known: dict[str, dict[str, list[Any]]], first: date) -> None:
    for slug, days in known.items():
        old = [day for day in days if day < first.isoformat()]
        shelf.drop(f"data/symbols/{slug}/{day}.js" for day in old)
        for day in old:
            del days[day]


def write_windows(con: read.Connection, shelf: Shelf, snap: Snapshot, *, everything: bool = False) -> None:
    """Chart columns and API files of each wider window in which a bar closed since the last time; of touched series all."""
    widths = seconds_of(snap)
    newest = (
        {name: rows["ts"].max() for (name,), rows in snap.windows.group_by("interval")}
        if snap.windows.height
        else {}
    )
    seen = shelf.state.setdefault("windows", {})
    charted: dict[str, list[str]] = shelf.state.setdefault("intervals", {})
    for interval, ts in newest.items():
        name = str(interval)
        is_news = everything or seen.get(name) != _iso(ts)
        if name == "1m" or not (is_news or snap.options.touched):
            continue
        width = snap.options.widths[name]
        rows = market.history(
            con,
            name,
            snap.at - max(width * WINDOW_BARS * 4, timedelta(days=30)),
            WINDOW_BARS,
            None if is_news else snap.options.touched,
        )
        for key, mine in by_series(rows).items():
            shelf.put(*api.ohlc(key, name, mine))
            for path, body in api.ohlc_tables(key, name, mine):
                shelf.put(path, body)
            payload = charts.payload_of(
                mine.filter(pl.col("is_complete")), widths[name], snap.digits.get(key, 2)
            )
            shelf.put(f"data/symbols/{key.slug}/{name}.js", charts.script(key.slug, name, payload))
            if name not in charted.setdefault(key.slug, []):
                charted[key.slug].append(name)
        seen[name] = _iso(ts)
    if snap.is_small:
        _write_minute_tables(con, shelf, snap)


def _write_minute_tables(con: read.Connection, shelf: Shelf, snap: Snapshot) -> None:
    """The last 1000 minutes of each series with their indicators, as CSV and Parquet."""
    oldest = min((bars.tail(api.LAST_BARS)["ts"][0] for bars in snap.bars.values()), default=None)
    if oldest is None:
        return
    rows = minute_rows(snap.minutes.filter(pl.col("ts") >= oldest))
    measures = market.indicators_since(con, "1m", oldest)
    joined = rows.join(measures, on=["source", "symbol", "interval", "ts"], how="left", maintain_order="left")
    for key, mine in by_series(joined).items():
        for path, body in api.ohlc_tables(key, "1m", mine):
            shelf.put(path, body)


def write_api(con: read.Connection, shelf: Shelf, snap: Snapshot) -> None:
    """The API files that move each minute."""
    trades = by_series(api.texts(market.last_trades(con, snap.at - timedelta(hours=2))))
    newest = snap.measures.group_by("source", "symbol", "interval", maintain_order=True).tail(
        api.LAST_INDICATORS
    )
    measured = by_series(api.texts(newest))
    last = snap.minutes.group_by("source", "symbol", maintain_order=True).tail(api.LAST_BARS + 1)
    minutes = by_series(api.texts(minute_rows(last)))
    for key, bars in minutes.items():
        with shelf.going_on(f"answers about {key}"):
            shelf.put(*api.latest(key, bars, snap.options.limits.stale_s, snap.stale_from(key)))
            shelf.put(*api.alerts_of(key, snap.alerts, snap.at))
            shelf.put(*api.ohlc(key, "1m", bars))
            if key in trades:
                shelf.put(*api.ticks(key, trades[key]))
            if key in measured:
                shelf.put(*api.indicators(key, measured[key]))


def write_pages(shelf: Shelf, snap: Snapshot) -> None:
    """The list of symbols and the page of each symbol with recent bars."""
    standing = {row["key"]: row for row in movers(snap)}
    with shelf.going_on("symbols"):
        _page(shelf, snap, symbols.index_page(snap))
    for key in snap.bars:
        days = sorted(shelf.state.get("days", {}).get(key.slug, {}))
        widths = shelf.state.get("intervals", {}).get(key.slug, [])
        order = ["1m", *(name for name in snap.options.intervals if name in widths)]
        with shelf.going_on(f"page of {key}"):
            _page(shelf, snap, symbols.symbol_page(snap, key, standing.get(key), days, order))


def _page(shelf: Shelf, snap: Snapshot, page: Page) -> None:
    shelf.put(page.path, render.html(page, snap))


def write_stats(shelf: Shelf, snap: Snapshot) -> None:
    for key, rows in by_series(snap.stats).items():
        shelf.put(*api.stats(key, rows))


def write_quiet(
    con: read.Connection, shelf: Shelf, snap: Snapshot, only: Collection[Series] | None = None
) -> None:
    """Series without recent minutes (imported, or no longer delivered): their newest rows, whatever their age."""
    chosen = [key for key in snap.keys if key not in snap.bars and (only is None or key in only)]
    for key in chosen[:MOST_QUIET]:
        with shelf.going_on(f"page of {key}"):
            _quiet_series(con, shelf, snap, key)


def _quiet_series(con: read.Connection, shelf: Shelf, snap: Snapshot, key: Series) -> None:
    rows = market.series_history(con, key.source, key.symbol, WINDOW_BARS)
    found = {str(name): part for (name,), part in rows.group_by("interval", maintain_order=True)}
    if not found:
        return
    snap.digits[key] = charts.digits_of(found[min(found, key=_width)]["close"].to_numpy())
    snap.flagged[key] = findings.series_anomalies(con, key.source, key.symbol)
    for name, part in found.items():
        is_minute = name == "1m"
        path = f"data/symbols/{key.slug}.js" if is_minute else f"data/symbols/{key.slug}/{name}.js"
        payload = charts.payload_of(part, _width(name), snap.digits[key])
        shelf.put(path, charts.script(key.slug, "tail" if is_minute else name, payload))
        shelf.put(*api.ohlc(key, name, part))
        for file, body in api.ohlc_tables(key, name, part):
            shelf.put(file, body)
    order = sorted(found, key=_width)
    snap.panes[key] = [part.row(-1, named=True) | {"rows": part.height} for part in (found[n] for n in order)]
    _page(shelf, snap, symbols.symbol_page(snap, key, None, [], order))


def _width(interval: str) -> int:
    return Interval.parse(interval).seconds


def pair_tails(con: read.Connection, snap: Snapshot, fits: list[Row]) -> dict[tuple[str, str], pl.DataFrame]:
    """The newest points of each fit's series, by (pair, interval)."""
    if not fits:
        return {}
    widest = max(Interval.parse(fit["interval"]).delta for fit in fits)
    since = snap.at - max(widest * snap.options.pair_points * 2, timedelta(days=5))
    points = findings.pair_tails(con, since, snap.options.pair_points, [fit["pair"] for fit in fits])
    banded = with_bands(
        points.unique(["pair", "interval", "ts"], keep="last", maintain_order=True),
        fits,
        snap.minutes,
        snap.options,
    )
    parts = banded.partition_by("pair", "interval", as_dict=True, maintain_order=True)
    return {(str(key[0]), str(key[1])): part for key, part in parts.items()}


def write_pair(shelf: Shelf, snap: Snapshot, fit: Row, tail: pl.DataFrame) -> None:
    """A pair's chart columns and API file; `tail` as `pair_tails` gives it."""
    slug = pair_slug(fit)
    hidden = ("age", "z", "z_at")
    rows = pl.DataFrame(
        [{name: value for name, value in fit.items() if name not in hidden}], infer_schema_length=None
    )
    points = tail.select(list(PAIR_SCHEMA))
    shelf.put(*api.pair(fit["pair"], slug, rows, points))
    shelf.put(*api.robust(fit["pair"], slug, rows))
    if tail.height:
        shelf.put(*api.pair_points(slug, points))
        shelf.put(
            f"data/pairs/{slug}.js",
            charts.script(slug, "tail", pair_payload(tail, fit, snap.options.limits.zscore)),
        )


def with_bands(
    points: pl.DataFrame, fits: list[Row], minutes: pl.DataFrame, options: SiteOptions
) -> pl.DataFrame:
    """Pair points with both legs' closes and the band of the spread, for all pairs at once.

    The band belongs to the z that is judged: std over the `pair_window` spreads before the bar, and the mean
    that makes (spread − mean) / std that z; so the spread leaves the band exactly when |z| passes the limit.
    """
    one, spread = ["pair", "interval"], pl.col("spread")
    names = pl.DataFrame(
        [
            (f["pair"], f["interval"], f["source_y"], f["symbol_y"], f["source_x"], f["symbol_x"])
            for f in fits
        ],
        schema=[*one, "source_y", "symbol_y", "source_x", "symbol_x"],
        orient="row",
    )
    std = spread.shift(1).rolling_std(options.pair_window, min_samples=options.pair_window).over(one)
    banded = points.with_columns(std=std).with_columns(mean=spread - pl.col("zscore") * pl.col("std"))
    joined = banded.join(names, on=one, how="left", maintain_order="left")
    for leg in ("y", "x"):
        closes = minutes.select(
            pl.col("source").alias(f"source_{leg}"), pl.col("symbol").alias(f"symbol_{leg}"), "ts",
            pl.col("close").alias(f"close_{leg}"),
        )  # fmt: skip
        joined = joined.join(
            closes, on=[f"source_{leg}", f"symbol_{leg}", "ts"], how="left", maintain_order="left"
        )
    reach = options.limits.zscore * pl.col("std")
    return joined.with_columns(
        spread_bp=spread * 1e4,
        mean_bp=pl.col("mean") * 1e4,
        lower_bp=(pl.col("mean") - reach) * 1e4,
        upper_bp=(pl.col("mean") + reach) * 1e4,
        corr=pl.col("corr_roll"),
        second=pl.col("ts").dt.epoch("s"),
    )


def pair_payload(frame: pl.DataFrame, fit: Row, limit: float) -> dict[str, Any]:
    """One pair's chart columns: legs, spread, its band, z, rolling correlation."""
    step = Interval.parse(fit["interval"]).seconds
    matrix = (
        frame.select(pl.col(name).cast(pl.Float64).fill_null(math.nan) for name in PAIR_COLUMNS).to_numpy().T
    )
    return {
        "step": step,
        "runs": charts.runs(frame["second"].to_numpy(), step),
        "c": {
            name: charts.rounded(values, 8 if "close" in name else 4)
            for name, values in zip(PAIR_COLUMNS, matrix, strict=True)
        },
        "zones": stretches(frame, limit),
        "marks": [],
        "gaps": [],
    }


def stretches(frame: pl.DataFrame, limit: float) -> list[list[Any]]:
    """[from, to, severity, word] of each run of bars with |z| at or over the limit."""
    found: list[list[Any]] = []
    open_ = False
    for second, z in zip(frame["second"].to_list(), frame["zscore"].to_list(), strict=True):
        over = z is not None and abs(z) >= limit
        if over and open_:
            found[-1][1] = second
            found[-1][2] = max(found[-1][2], abs(z))
        elif over:
            found.append([second, second, abs(z), ""])
        open_ = over
    return [
        [start, end, "critical" if peak >= 4 else "high", f"|z| {peak:.1f}"] for start, end, peak, _ in found
    ]


def _iso(at: object) -> str:
    """A time as the manifest remembers it; empty where there is none."""
    return at.isoformat() if isinstance(at, datetime) else ""
