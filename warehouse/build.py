"""Runs the models: one SELECT a file, values in as literals, rows out as a temporary table or a frame."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import duckdb
import polars as pl

from warehouse.buckets import SLOT, counted_from, with_closing
from warehouse.stage import frame, literal, literals, stage

KEY = ("source", "symbol", "interval", "ts")
FOREVER = datetime(9999, 1, 1)


class Facts(NamedTuple):
    """The tables that are read: of one-minute bars, and of the windows stored before."""

    bars: str
    windows: str


IN_LAKE = Facts("core.bars", "calc.windows")
OF_PART = Facts("part_bars", "part_windows")
"""Copies of some series' rows, made by `stage_facts`; the bars with their sessions."""


@cache
def _text(model: str) -> str:
    return (files("warehouse") / "models" / f"{model}.sql").read_text()


class Sql(str):
    """A piece of SQL that goes into a model as it is."""


def render(model: str, **values: object) -> str:
    """The model's SELECT with each `$name` replaced by its literal; KeyError names a value that is missing."""
    return re.sub(r"\$([a-z_]+)", lambda match: _given(values[match[1]]), _text(model))


def anchored_bars(since: datetime, until: datetime, only: str = "true", table: str = IN_LAKE.bars) -> Sql:
    """The SELECT of the one-minute bars in [since, until) with their sessions; `only` is a condition on `bars`."""
    if table == OF_PART.bars:
        span = f"bars.ts >= {literal(since)} AND bars.ts < {literal(until)}"
        return Sql(f"SELECT bars.* FROM {table} AS bars WHERE {span} AND {only}")
    counted = Sql(counted_from("b.ts"))
    return Sql(
        render(
            "anchored_bars", since=since, until=until, only=Sql(only), table=Sql(table), counted_from=counted
        )
    )


def pending_batches(con: duckdb.DuckDBPyConnection, without: Collection[str] = ()) -> pl.DataFrame:
    """Loaded batches whose windows, indicators and anomalies are still to be derived: batch_id, source, kind, from_ts, to_ts.

    without: kinds that are left to somebody else.
    """
    others = f"WHERE kind NOT IN {literals(without)} " if without else ""
    return frame(
        con,
        "SELECT batch_id, source, kind, from_ts, to_ts FROM core.ledger ANTI JOIN core.derived USING (batch_id) "
        f"{others}ORDER BY loaded_at",
    )


def progress(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Source -> market time up to which its windows are closed."""
    return dict(con.execute("SELECT source, max(until_ts) FROM core.progress GROUP BY source").fetchall())


def calendars(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Source -> calendar of most of its series."""
    return dict(con.execute("SELECT source, mode(calendar) FROM core.series GROUP BY source").fetchall())


def series_calendars(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """source, symbol, calendar of every series."""
    return con.execute("SELECT source, symbol, calendar FROM core.series ORDER BY ALL").fetchall()


def stage_calendars(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """Temporary tables `series_now` (source, symbol, calendar) and `sessions_now`; the rows of the first.

    The models read these copies: each mention of a table of the lake costs a query of its catalog, 5-10 ms.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE series_now AS SELECT source, symbol, calendar FROM core.series")
    found = con.execute("FROM series_now ORDER BY source, symbol").fetchall()
    bound = sorted({calendar for _, _, calendar in found if calendar != "24/7"})
    if bound:
        sessions = f"FROM {with_closing(f'calc.sessions WHERE calendar IN {literals(bound)}')}"
    else:
        nothing = ", ".join(
            f"NULL::TIMESTAMP AS {name}" for name in ("open_ts", "close_ts", "closing_ts", "counted_from")
        )
        sessions = f"SELECT NULL::VARCHAR AS calendar, {nothing} LIMIT 0"
    con.execute(f"CREATE OR REPLACE TEMP TABLE sessions_now AS {sessions}")
    return found


def waiting_rows(con: duckdb.DuckDBPyConnection, batches: pl.DataFrame) -> pl.DataFrame:
    """source, symbol, rows: how many bars of each series these batches brought, in the order of the series."""
    since, until = batches["from_ts"].min(), batches["to_ts"].max()
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        return pl.DataFrame(schema={"source": pl.String, "symbol": pl.String, "rows": pl.Int64})
    return frame(
        con,
        f"""
        SELECT source, symbol, count(*) AS rows FROM core.bars
        WHERE ts >= {literal(since)} AND ts <= {literal(until)} AND batch_id IN {literals(batches["batch_id"])}
        GROUP BY ALL ORDER BY ALL""",
    )


def stage_facts(
    con: duckdb.DuckDBPyConnection,
    series: Collection[tuple[str, str]] | None = None,
    others_since: datetime | None = None,
) -> Facts:
    """The tables to work on: the lake's; or, for work on a few series, copies of what it has of them.

    others_since: the copies have the rows of all others from then on. A file of the lake holds a day of every series:
    each question about some of them would read them all.
    """
    if series is None:
        return IN_LAKE
    later = f" OR {{0}}.ts >= {literal(others_since)}" if others_since else ""
    chosen = {name: f"(true{_among(series, name)}{later.format(name)})" for name in ("bars", "windows")}
    bars = anchored_bars(datetime(1, 1, 1), FOREVER, chosen["bars"])
    con.execute(f"CREATE OR REPLACE TEMP TABLE {OF_PART.bars} AS {bars}")
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {OF_PART.windows} AS "
        f"SELECT windows.* FROM {IN_LAKE.windows} AS windows WHERE {chosen['windows']}"
    )
    return OF_PART


def touch(
    con: duckdb.DuckDBPyConnection,
    batches: pl.DataFrame,
    series: Collection[tuple[str, str]] | None = None,
    facts: Facts = IN_LAKE,
) -> int:
    """Temporary table `touched`: the anchored bars that these batches brought (of these series); returns how many.

    They are at hand in `brought` where this connection loaded them all: a bar of a pending batch can only have
    been changed since by another pending one. Otherwise `facts` are asked.
    """
    since, until = batches["from_ts"].min(), batches["to_ts"].max()
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        since = until = datetime(1970, 1, 1)
    only = f"bars.batch_id IN {literals(batches['batch_id'])}"
    only += _among(series, "bars")
    table, wanted = facts.bars, set(batches.filter(pl.col("from_ts").is_not_null())["batch_id"])
    if wanted and facts == IN_LAKE and wanted <= _at_hand(con):
        table = "(FROM brought QUALIFY row_number() OVER (PARTITION BY source, symbol, ts ORDER BY revision DESC) = 1)"
    rows = anchored_bars(since, until + timedelta(minutes=1), only, table)
    touched = con.execute(f"CREATE OR REPLACE TEMP TABLE touched AS {rows}").fetchall()[0][0]
    con.execute("DROP TABLE IF EXISTS temp.brought")
    return int(touched)


def _at_hand(con: duckdb.DuckDBPyConnection) -> set[str]:
    try:
        return {
            batch_id for (batch_id,) in con.execute("SELECT DISTINCT batch_id FROM temp.brought").fetchall()
        }
    except duckdb.CatalogException:
        return set()


def stage_clocks(con: duckdb.DuckDBPyConnection, clocks: dict[str, datetime], closing: pl.DataFrame) -> None:
    """Temporary tables `clocks` (source, until_ts) and `closing` (calendar, source, seconds, ts, end_ts)."""
    table = pl.DataFrame(
        {"source": list(clocks), "until_ts": list(clocks.values())},
        schema={"source": pl.String, "until_ts": pl.Datetime("us")},
    )
    stage(con, "clocks", table)
    stage(con, "closing", closing)


def plan_windows(con: duckdb.DuckDBPyConnection, widths: Sequence[int]) -> set[int]:
    """Temporary table `planned`: the closed windows that `touched` and `closing` call for; returns their widths.

    widths: in seconds, those of the configured intervals.
    """
    listed = Sql(", ".join(f"({width})" for width in widths) or "(NULL)")
    con.execute(f"CREATE OR REPLACE TEMP TABLE planned AS {render('todo', widths=listed)}")
    return {seconds for (seconds,) in con.execute("SELECT DISTINCT seconds FROM planned").fetchall()}


def due_windows(
    con: duckdb.DuckDBPyConnection, interval: str, seconds: int, facts: Facts = IN_LAKE
) -> pl.DataFrame:
    """The windows of one interval in `planned`, and the stored ones right after them, whose return starts there:
    source, symbol, ts, end_ts.
    """
    con.execute(
        "CREATE OR REPLACE TEMP TABLE todo AS "
        f"SELECT source, symbol, ts, end_ts FROM planned WHERE seconds = {seconds}"
    )
    since, until = con.execute("SELECT min(ts), max(end_ts) FROM todo").fetchall()[0]
    reach_days = 5 if seconds >= 86400 else 0
    after = render(
        "following", seconds=seconds, interval=interval, reach_days=reach_days,
        since=since, until=until + timedelta(days=reach_days), table=Sql(facts.windows),
    )  # fmt: skip
    con.execute(f"INSERT INTO todo SELECT * FROM ({after}) ANTI JOIN todo USING (source, symbol, ts)")
    return frame(con, "FROM todo")


def minutes_of_planned(
    con: duckdb.DuckDBPyConnection, since: datetime, until: datetime, facts: Facts = IN_LAKE
) -> pl.DataFrame:
    """The bars in [since, until) of the series in `planned`, sorted by series and time, with their sessions.

    Columns: source, symbol, ts, OHLCV, turnover, trades, imported, lent, anchor and closes of the session.
    """
    sources = [name for (name,) in con.execute("SELECT DISTINCT source FROM planned").fetchall()]
    of_planned = "(bars.source, bars.symbol) IN (SELECT source, symbol FROM planned)"
    rows = anchored_bars(since, until, f"bars.source IN {literals(sources)} AND {of_planned}", facts.bars)
    return frame(
        con,
        "SELECT source, symbol, ts, open, high, low, close, volume, turnover, trades, origin = 'import' AS imported, "
        f"origin = 'fallback' AS lent, anchor, closes FROM ({rows}) ORDER BY source, symbol, ts",
    )


def fronts_1m(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Each series with touched minutes: source, symbol, first_new, rows."""
    return frame(
        con,
        "SELECT source, symbol, min(ts) AS first_new, count(*) AS rows FROM touched GROUP BY source, symbol",
    )


def rows_under(con: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """What is stored under the keys (KEY) of the rows."""
    stage(con, "keys_to_find", rows.select(KEY))
    return frame(
        con,
        f"SELECT t.* FROM {table} AS t SEMI JOIN keys_to_find AS s USING ({', '.join(KEY)}) "
        f"WHERE t.ts BETWEEN {literal(rows['ts'].min())} AND {literal(rows['ts'].max())}",
    )


def delete_keys(con: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame) -> None:
    """Inside a transaction: deletes what is stored under the keys (KEY) of the rows."""
    stage(con, "keys_to_delete", rows.select(KEY))
    same = " AND ".join(f"t.{name} = s.{name}" for name in KEY)
    con.execute(
        f"DELETE FROM {table} AS t USING keys_to_delete AS s "
        f"WHERE {same} AND t.ts BETWEEN {literal(rows['ts'].min())} AND {literal(rows['ts'].max())}"
    )


def baseline_candidates(
    con: duckdb.DuckDBPyConnection,
    interval: str,
    since: datetime,
    until: datetime,
    sources: Sequence[str],
    series: Collection[tuple[str, str]] | None = None,
    facts: Facts = IN_LAKE,
) -> None:
    """Temporary table `candidates`: complete bars of the sources in [since, until), one interval, with session and bucket.

    None that is lent or holds a lent minute: another venue's volume says nothing about what is usual.

    series: only these of them.
    Of another interval than 1m the temporary table `new_windows` counts too, in place of what is stored.
    """
    if interval == "1m":
        only = f"bars.source IN {literals(sources)}{_among(series, 'bars')} AND bars.origin <> 'fallback'"
        rows = anchored_bars(since, until, only, facts.bars)
        con.execute(
            "CREATE OR REPLACE TEMP TABLE candidates AS SELECT source, symbol, '1m' AS interval, ts, volume, "
            f"anchor::DATE AS session, (epoch(ts - counted_from) // 60)::INTEGER AS bucket FROM ({rows})"
        )
        return
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE candidates AS
        SELECT w.source, w.symbol, w.interval, w.ts, w.volume, anchor::DATE AS session,
               (epoch(w.ts - counted) // 60)::INTEGER AS bucket
        FROM (
            SELECT v.*, CASE WHEN v.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', v.ts) END AS anchor,
                   {counted_from("v.ts")} AS counted
            FROM (
                SELECT windows.*, series.calendar
                FROM (
                    SELECT source, symbol, interval, ts, volume, is_complete, lent
                    FROM {facts.windows} ANTI JOIN new_windows USING (source, symbol, ts)
                    WHERE interval = {literal(interval)}
                    UNION ALL
                    SELECT source, symbol, interval, ts, volume, is_complete, lent FROM new_windows
                ) AS windows JOIN series_now AS series USING (source, symbol)
                WHERE windows.is_complete AND windows.lent IS NOT TRUE AND windows.ts >= {literal(since)} AND windows.ts < {literal(until)}
                  AND windows.source IN {literals(sources)}{_among(series, "windows")}
            ) AS v
            ASOF LEFT JOIN sessions_now AS s ON v.calendar = s.calendar AND v.ts >= s.open_ts
        ) AS w"""
    )


def baseline_rows(
    con: duckdb.DuckDBPyConnection, session: date, sessions: int, min_sessions: int = 0
) -> pl.DataFrame:
    """The baseline in force during `session`, from `candidates` of the sessions before it.

    A bucket with fewer than `min_sessions` has the sample of its whole slot, where that has enough.
    """
    rows = frame(con, render("volume_baseline", session=session, sessions=sessions))
    rows = rows.with_columns(slot=pl.col("bucket") // SLOT)
    series = ["source", "symbol", "interval", "slot"]
    thin = rows.filter(pl.col("sessions") < min_sessions)
    if thin.height and _is_any_old(con, thin.select(series).unique(), min_sessions, f"{literal(session)}"):
        coarse = frame(con, render("volume_coarse", session=session, sessions=sessions, slot=SLOT))
        coarse = coarse.filter(pl.col("sessions") >= min_sessions).with_columns(
            pl.col("slot").cast(rows["slot"].dtype)
        )
        better = thin.select(*series, "bucket").join(coarse, on=series)
        rows = pl.concat(
            [
                rows.join(better, on=["source", "symbol", "interval", "bucket"], how="anti"),
                better.select(rows.columns),
            ]
        )
    return rows.drop("slot").sort("interval", "bucket", "source", "symbol")


def baseline_history(
    con: duckdb.DuckDBPyConnection, judged: pl.DataFrame, sessions: int, min_sessions: int = 0
) -> pl.DataFrame:
    """For each judged row (source, symbol, interval, ts) the baseline of the sessions before its own, from `candidates`.

    As in `baseline_rows` a slot stands in for a bucket with fewer than `min_sessions`, but for one that has none.
    """
    stage(con, "judged", judged)
    rows = frame(con, render("volume_history", sessions=sessions))
    thin = rows.filter(pl.col("sessions").is_between(1, min_sessions - 1))
    keys = ["source", "symbol", "interval", "ts"]
    own = "(SELECT any_value(c.session) FROM candidates AS c WHERE c.source = t.source AND c.symbol = t.symbol AND c.ts = t.ts)"
    if thin.height and _is_any_old(con, thin.select(keys), min_sessions, own):
        values = {"sessions": sessions, "min_sessions": min_sessions, "slot": SLOT}
        coarse = frame(con, render("volume_history_coarse", **values))
        rows = pl.concat([rows.join(coarse, on=keys, how="anti"), coarse.select(rows.columns)])
    return rows


def _is_any_old(con: duckdb.DuckDBPyConnection, thin: pl.DataFrame, min_sessions: int, session: str) -> bool:
    """Temporary table `thin`: those rows before whose `session` (SQL) their series has enough sessions; is there any?

    A young series has too few for every bucket, and its half hours no more than they.
    """
    stage(con, "too_few", thin)
    rows = con.execute(
        f"""CREATE OR REPLACE TEMP TABLE thin AS
        SELECT t.* FROM too_few AS t JOIN (
            SELECT source, symbol, interval, list_sort(list(DISTINCT session)) AS known FROM candidates GROUP BY ALL
        ) AS k USING (source, symbol, interval)
        WHERE k.known[{min_sessions}] < {session}"""
    ).fetchall()
    return bool(rows[0][0])


def stored_baseline(con: duckdb.DuckDBPyConnection, interval: str, buckets: Sequence[int]) -> pl.DataFrame:
    """Rows of calc.volume_baseline for these buckets, as far as a bar is judged by them."""
    return frame(
        con,
        "SELECT source, symbol, session, bucket, median, sessions, log_median, log_mad, log_mean_ad, log_sessions, bars "
        f"FROM calc.volume_baseline WHERE interval = {literal(interval)} "
        f"AND bucket IN {literals(buckets)}",
    )


def baseline_sessions(con: duckdb.DuckDBPyConnection, interval: str) -> dict[str, date]:
    """Source -> session that its stored baseline is in force for."""
    rows = con.execute(
        f"SELECT source, max(session) FROM calc.volume_baseline WHERE interval = {literal(interval)} GROUP BY source"
    )
    return dict(rows.fetchall())


def trade_minutes(
    con: duckdb.DuckDBPyConnection, source: str, since: datetime, until: datetime, own: str
) -> pl.DataFrame:
    """One-minute bars (BAR_SCHEMA) of a source's trades in [since, until), where no other batch than one ending in
    `own` brought a bar."""
    return frame(con, render("trade_minutes", source=source, since=since, until=until, own=own))


def sessions_between(
    con: duckdb.DuckDBPyConnection, calendar: str, since: datetime, until: datetime
) -> pl.DataFrame:
    """Sessions that overlap [since, until): session, open_ts, close_ts."""
    return frame(
        con,
        "SELECT session, open_ts, close_ts FROM calc.sessions "
        f"WHERE calendar = {literal(calendar)} AND close_ts > {literal(since)} AND open_ts < {literal(until)} "
        "ORDER BY open_ts",
    )


def usual_minutes(con: duckdb.DuckDBPyConnection, calendars: Sequence[str]) -> dict[str, float]:
    """Calendar -> minutes of its most frequent session; calendars without stored sessions are absent."""
    rows = con.execute(
        "SELECT calendar, mode(minutes)::DOUBLE FROM calc.sessions "
        f"WHERE calendar IN {literals(calendars)} GROUP BY calendar"
    )
    return dict(rows.fetchall())


def _among(series: Collection[tuple[str, str]] | None, table: str) -> str:
    """A condition that the rows of `table` are of these series; nothing where all are meant."""
    if series is None:
        return ""
    listed = ", ".join(map(literals, series)) or "(NULL, NULL)"
    return f" AND ({table}.source, {table}.symbol) IN ({listed})"


def _given(value: object) -> str:
    return value if isinstance(value, Sql) else literal(value)
