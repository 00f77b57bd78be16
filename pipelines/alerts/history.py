"""Alerts, rules, silences and acknowledgements as they lie in the warehouse: appended events, read back folded.

`ops.rules` holds what users ask of the alerts: rules (`add`, `rm`) and silences (`silence`, `unsilence`), so that
one query reads both. Writers call these inside `warehouse.connect.transaction`, together with `warehouse.outbox.enqueue`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb

from pipelines.alerts.columns import COLUMNS
from pipelines.alerts.judge import Labels
from pipelines.alerts.rules import Catalogue, Rule, RuleError, rule_from, table_of
from pipelines.alerts.silences import Silence
from pipelines.alerts.states import Alert
from pipelines.market import naive, utc

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orders:
    """What users have asked for and not taken back: rules and silences, those that have ended too."""

    rules: tuple[Rule, ...] = ()
    silences: tuple[Silence, ...] = ()


_EVENT = """id, rule, rule_version, fingerprint, source, symbol, pair, interval, state, severity,
    value, threshold, evidence, event_ts"""


def read_alerts(con: duckdb.DuckDBPyConnection, ended_since: datetime) -> list[Alert]:
    """The newest event of each fingerprint and of each episode that is open or ended since then.

    `ended_since` must reach back further than a bar that may be judged again and than the longest cooldown.
    Oldest first, so that `step` keeps the newest of a fingerprint.
    """
    query = f"""
        WITH newest AS (
            SELECT {_EVENT}, min(event_ts) FILTER (state = 'firing') OVER (PARTITION BY id) AS fired_at,
                   min(event_ts) OVER (PARTITION BY id) AS started_at
            FROM ops.alert_events
            QUALIFY row_number() OVER (PARTITION BY id ORDER BY recorded_at DESC) = 1
        )
        SELECT newest.*, (SELECT min(acked_at) FROM ops.alert_acks AS a WHERE a.id = newest.id) AS acked_at
        FROM newest WHERE state <> 'resolved' OR event_ts >= ? ORDER BY event_ts, id
    """
    names = [*(name.strip() for name in _EVENT.split(",")), "fired_at", "started_at", "acked_at"]
    rows = con.execute(query, [naive(ended_since)]).fetchall()
    return [_alert(dict(zip(names, row, strict=True))) for row in rows]


def write_events(
    con: duckdb.DuckDBPyConnection, events: Sequence[Alert], now: datetime, run_id: str | None = None
) -> None:
    """Appends events in their order, a microsecond apart so that it shows; `now` is the wall clock."""
    if not events:
        return
    rows = [_row(event, now + timedelta(microseconds=place), run_id) for place, event in enumerate(events)]
    places = ", ".join(["(" + ", ".join("?" * len(rows[0])) + ")"] * len(rows))
    con.execute(
        f"INSERT INTO ops.alert_events ({_EVENT}, recorded_at, run_id) VALUES {places}",
        [value for row in rows for value in row],
    )


def acknowledge(
    con: duckdb.DuckDBPyConnection, identity: str, now: datetime, author: str, note: str = ""
) -> None:
    con.execute("INSERT INTO ops.alert_acks VALUES (?, ?, ?, ?)", [identity, naive(now), author, note])


def write_rule(con: duckdb.DuckDBPyConnection, rule: Rule, now: datetime) -> None:
    """Adds a user's rule, or replaces the one of its name."""
    expires = naive(rule.expires_at) if rule.expires_at else None
    values = [rule.name, "add", json.dumps(table_of(rule)), expires, naive(now)]
    con.execute("INSERT INTO ops.rules VALUES (?, ?, ?, ?, ?)", values)


def remove_rule(con: duckdb.DuckDBPyConnection, name: str, now: datetime) -> bool:
    """Removes a user's rule; False if there is none of that name."""
    if name not in {rule.name for rule in read_rules(con)}:
        return False
    con.execute("INSERT INTO ops.rules VALUES (?, 'rm', NULL, NULL, ?)", [name, naive(now)])
    return True


def write_silence(con: duckdb.DuckDBPyConnection, silence: Silence, now: datetime) -> None:
    """Adds a silence."""
    said = {"match": silence.match, "reason": silence.reason, "author": silence.author,
            "starts_at": utc(silence.starts_at).isoformat()}  # fmt: skip
    values = [silence.id, "silence", json.dumps(said), naive(silence.ends_at), naive(now)]
    con.execute("INSERT INTO ops.rules VALUES (?, ?, ?, ?, ?)", values)


def remove_silence(con: duckdb.DuckDBPyConnection, identity: str, now: datetime) -> bool:
    """Ends a silence before its time; False if there is none of that id."""
    if identity not in {silence.id for silence in read_orders(con).silences}:
        return False
    con.execute("INSERT INTO ops.rules VALUES (?, 'unsilence', NULL, NULL, ?)", [identity, naive(now)])
    return True


def read_rules(con: duckdb.DuckDBPyConnection, catalogue: Catalogue = COLUMNS) -> list[Rule]:
    """Users' rules that were added and not removed, expired ones too, by name."""
    return list(read_orders(con, catalogue).rules)


def read_orders(con: duckdb.DuckDBPyConnection, catalogue: Catalogue = COLUMNS) -> Orders:
    """Users' rules and silences that were added and not removed, those that have ended too, by name.

    A rule that cannot be read any more, because the configuration lost its column, is left out and logged.
    """
    query = """
        SELECT action IN ('add', 'rm') AS is_rule, name, arg_max_null(definition, recorded_at),
               arg_max_null(expires_at, recorded_at)
        FROM ops.rules GROUP BY is_rule, name
        HAVING arg_max(action, recorded_at) IN ('add', 'silence') ORDER BY name
    """
    found = [
        (is_rule, name, json.loads(said), ends) for is_rule, name, said, ends in con.execute(query).fetchall()
    ]
    rules = [_rule(said, catalogue) for is_rule, _, said, _ in found if is_rule]
    silences = [
        Silence(name, said["match"], said["reason"], said["author"],
                utc(datetime.fromisoformat(said["starts_at"])), utc(ends))
        for is_rule, name, said, ends in found if not is_rule
    ]  # fmt: skip
    return Orders(tuple(rule for rule in rules if rule is not None), tuple(silences))


def _rule(table: dict[str, Any], catalogue: Catalogue) -> Rule | None:
    try:
        return rule_from(table, catalogue, "user")
    except RuleError as error:
        logger.warning(
            "%s; mend the configuration or remove it: tapewatch alerts rm %s", error, table["name"]
        )
        return None


def _row(event: Alert, recorded_at: datetime, run_id: str | None) -> list[Any]:
    said = [event.id, event.rule, event.rule_version, event.fingerprint, *event.labels, event.state]
    measured = [event.severity, event.value, event.threshold, json.dumps(event.evidence)]
    return [*said, *measured, naive(event.seen_at), naive(recorded_at), run_id]


def _alert(row: dict[str, Any]) -> Alert:
    evidence = json.loads(row["evidence"] or "{}")
    seen_at = utc(row["event_ts"])
    return Alert(
        id=row["id"],
        rule=row["rule"],
        rule_version=row["rule_version"],
        fingerprint=row["fingerprint"],
        labels=Labels(row["source"], row["symbol"], row["pair"], row["interval"]),
        state=row["state"],
        severity=row["severity"],
        value=row["value"],
        threshold=row["threshold"],
        started_at=utc(row["started_at"]),
        seen_at=seen_at,
        bars=evidence.get("bars", 1),
        fired_at=utc(row["fired_at"]) if row["fired_at"] else None,
        resolved_at=seen_at if row["state"] == "resolved" else None,
        acked_at=utc(row["acked_at"]) if row["acked_at"] else None,
        evidence=evidence,
    )
