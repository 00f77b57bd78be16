"""The outbox: messages as facts, and what became of them; every change of state is an appended event.

A message is enqueued in the transaction of the state change that caused it. A sender claims what is due with
a lease, sends, and records the outcome; if it dies in between, the lease runs out and the same id is sent
again. Every function runs inside the caller's `warehouse.connect.transaction` where it writes. Times are
aware UTC on the wall clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb

State = Literal["queued", "sending", "sent", "dead"]
Spoken = tuple[datetime, dict[str, str]]
"""When a group's last message was made (its facts' `at`), and the state each alert was last told in."""

LEASE = timedelta(minutes=5)

_COLUMNS = "id, channel, group_key, state, attempts, next_try, last_error, facts, recorded_at, run_id"
# The last event of each message; one that was resent starts again with attempts 0.
_FOLDED = """
    SELECT id, any_value(channel) AS channel, any_value(group_key) AS group_key,
           arg_max(state, recorded_at) AS state, arg_max(attempts, recorded_at) AS attempts,
           arg_max(next_try, recorded_at) AS next_try, arg_max_null(last_error, recorded_at) AS last_error,
           max(facts) AS facts, min(recorded_at) AS created_at,
           max(recorded_at) FILTER (attempts = 0) AS queued_at
    FROM ops.outbox GROUP BY id
"""


@dataclass(frozen=True)
class Entry:
    """A message as it stands. `attempts` counts the sends begun since it was queued at `queued_at`."""

    id: str
    channel: str
    group_key: str
    state: State
    attempts: int
    next_try: datetime | None
    last_error: str | None
    facts: dict[str, Any]
    created_at: datetime
    queued_at: datetime


@dataclass(frozen=True)
class Change:
    """What a sender found out: sent, queued again until `next_try`, or dead."""

    entry: Entry
    state: State
    last_error: str | None = None
    next_try: datetime | None = None


def enqueue(
    con: duckdb.DuckDBPyConnection,
    messages: Iterable[dict[str, Any]],
    now: datetime,
    run_id: str | None = None,
) -> int:
    """Appends messages (id, channel, group_key, facts) as queued; known ids are skipped."""
    wanted = {message["id"]: message for message in messages}
    if not wanted:
        return 0
    found = con.execute(
        "SELECT DISTINCT id FROM ops.outbox WHERE list_contains(?, id)", [list(wanted)]
    ).fetchall()
    known = {row[0] for row in found}
    fresh = [message for identity, message in wanted.items() if identity not in known]
    rows = [
        [
            m["id"],
            m["channel"],
            m["group_key"],
            "queued",
            0,
            now,
            None,
            json.dumps(m["facts"], sort_keys=True),
        ]
        for m in fresh
    ]
    _append(con, rows, now, run_id)
    return len(rows)


def due(con: duckdb.DuckDBPyConnection, now: datetime, limit: int = 20) -> list[Entry]:
    """What wants to be sent at `now`, oldest first: queued ones and those whose sender's lease ran out."""
    query = f"""SELECT * FROM ({_FOLDED}) WHERE state IN ('queued', 'sending') AND next_try <= ?
                ORDER BY created_at, id LIMIT ?"""
    return _entries(con, query, [_naive(now), limit])


def claim(
    con: duckdb.DuckDBPyConnection, now: datetime, lease: timedelta = LEASE, limit: int = 20,
    run_id: str | None = None,
) -> list[Entry]:  # fmt: skip
    """Takes what is due for `lease`; the try is counted now, so that a sender that dies has used it up."""
    entries = due(con, now, limit)
    rows = [
        [e.id, e.channel, e.group_key, "sending", e.attempts + 1, now + lease, e.last_error, None]
        for e in entries
    ]
    _append(con, rows, now, run_id)
    return [Entry(**{**vars(e), "state": "sending", "attempts": e.attempts + 1}) for e in entries]


def record(
    con: duckdb.DuckDBPyConnection, changes: Sequence[Change], now: datetime, run_id: str | None = None
) -> None:
    """Appends what became of claimed messages."""
    rows = [
        [
            c.entry.id,
            c.entry.channel,
            c.entry.group_key,
            c.state,
            c.entry.attempts,
            c.next_try,
            c.last_error,
            None,
        ]
        for c in changes
    ]
    _append(con, rows, now, run_id)


def resend(con: duckdb.DuckDBPyConnection, identity: str, now: datetime, run_id: str | None = None) -> bool:
    """Queues a message again under its id with all its tries; False if there is none of that id."""
    found = _entries(con, f"SELECT * FROM ({_FOLDED}) WHERE id = ?", [identity])
    rows = [[e.id, e.channel, e.group_key, "queued", 0, now, None, None] for e in found]
    _append(con, rows, now, run_id)
    return bool(rows)


def told(con: duckdb.DuckDBPyConnection) -> dict[str, Spoken]:
    """Group of alerts -> what it was last told, whatever the channel."""
    return _spoken((key, facts) for _, key, facts in _alert_messages(con))


def told_by_channel(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Spoken]]:
    """channel -> group of alerts -> what it was last told there."""
    rows = _alert_messages(con)
    return {name: _spoken((key, facts) for channel, key, facts in rows if channel == name)
            for name in {channel for channel, _, _ in rows}}  # fmt: skip


def _alert_messages(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, dict[str, Any]]]:
    query = """
        SELECT DISTINCT channel, group_key, facts FROM ops.outbox
        WHERE facts IS NOT NULL AND json_extract_string(facts, '$.kind') = 'alert'
    """
    return [(channel, key, json.loads(facts)) for channel, key, facts in con.execute(query).fetchall()]


def _spoken(rows: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Spoken]:
    found: dict[str, Spoken] = {}
    for key, facts in sorted(rows, key=lambda row: str(row[1]["at"])):
        _, states = found.get(key, (None, {}))
        found[key] = datetime.fromisoformat(facts["at"]), {**states, **facts["states"]}
    return found


def _entries(con: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> list[Entry]:
    return [_entry(*row) for row in con.execute(query, values).fetchall()]


def _entry(
    identity: str, channel: str, group_key: str, state: State, attempts: int, next_try: datetime | None,
    last_error: str | None, facts: str | None, created_at: datetime, queued_at: datetime,
) -> Entry:  # fmt: skip
    return Entry(
        identity, channel, group_key, state, attempts, _aware(next_try) if next_try else None, last_error,
        json.loads(facts or "{}"), _aware(created_at), _aware(queued_at),
    )  # fmt: skip


def _append(con: duckdb.DuckDBPyConnection, rows: list[list[Any]], now: datetime, run_id: str | None) -> None:
    """One INSERT, because each writes a file; never older than a message's last event: the newest counts."""
    if not rows:
        return
    ids = [row[0] for row in rows]
    newest = con.execute(
        "SELECT max(recorded_at) FROM ops.outbox WHERE list_contains(?, id)", [ids]
    ).fetchone()
    last = newest[0] if newest else None
    at = _naive(now) if last is None else max(_naive(now), last + timedelta(microseconds=1))
    values = [[_naive(v) if isinstance(v, datetime) else v for v in row] + [at, run_id] for row in rows]
    places = ", ".join(["(" + ", ".join("?" * 10) + ")"] * len(values))
    con.execute(f"INSERT INTO ops.outbox ({_COLUMNS}) VALUES {places}", [v for row in values for v in row])


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
