"""What the platform did and said, and how complete and sound its data is."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from warehouse.read import Connection, frame


def alerts(con: Connection, since: datetime) -> pl.DataFrame:
    """Alerts that are open, or began or ended since a time; newest first."""
    return frame(
        con,
        """
        SELECT * FROM alerts
        WHERE state <> 'resolved' OR started_at >= $since OR resolved_at >= $since
        ORDER BY coalesce(fired_at, started_at) DESC, id
        """,
        {"since": since},
    )


def deliveries(con: Connection, since: datetime) -> pl.DataFrame:
    """Messages made since a time, and all that are not yet sent; newest first."""
    return frame(
        con,
        "SELECT * FROM deliveries WHERE created_at >= $since OR state <> 'sent' ORDER BY created_at DESC, id",
        {"since": since},
    )


def runs(con: Connection, since: datetime) -> pl.DataFrame:
    """Runs that started since a time, newest first."""
    return frame(
        con,
        "SELECT * FROM runs WHERE started_at >= $since ORDER BY started_at DESC, run_id",
        {"since": since},
    )


def latency(con: Connection, since: datetime) -> pl.DataFrame:
    """Stage latencies of the runs that started since a time."""
    return frame(
        con,
        """
        SELECT l.* FROM latency AS l JOIN (SELECT run_id, started_at FROM runs WHERE started_at >= $since) AS r
        USING (run_id) ORDER BY r.started_at, l.stage
        """,
        {"since": since},
    )


def quality(con: Connection, since: datetime) -> pl.DataFrame:
    """Check results since a time, newest first."""
    return frame(
        con,
        "SELECT * FROM quality WHERE checked_at >= $since ORDER BY checked_at DESC, suite, check_name",
        {"since": since},
    )


def quarantine(con: Connection, since: datetime, keep: int = 200) -> pl.DataFrame:
    """What was refused since a time, newest first."""
    return frame(
        con,
        "SELECT * FROM quarantine WHERE seen_at >= $since ORDER BY seen_at DESC, id LIMIT $keep",
        {"since": since, "keep": keep},
    )


def coverage(con: Connection, since: date) -> pl.DataFrame:
    return frame(
        con, "SELECT * FROM coverage WHERE day >= $since ORDER BY day DESC, source, symbol", {"since": since}
    )


def gaps(con: Connection, since: datetime) -> pl.DataFrame:
    """Gaps that are not closed, or reach into the span; newest first."""
    return frame(
        con,
        "SELECT * FROM gaps WHERE to_ts >= $since OR state IN ('open', 'healing') ORDER BY from_ts DESC, source, symbol",
        {"since": since},
    )


def source_states(con: Connection) -> pl.DataFrame:
    return frame(con, "SELECT * FROM source_states ORDER BY source")
