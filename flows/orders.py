"""What people ask of the alerts: rules, silences, acknowledgements; by the command line or from the Prefect UI.

Each function takes a connection that may write and makes its own transaction. Raises RuleError or
TapewatchError in words that say what to do.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from flows.context import Context
from pipelines.alerts import history
from pipelines.alerts.columns import with_configured
from pipelines.alerts.rules import Catalogue, Rule, built_in, rule_from
from pipelines.alerts.silences import Silence, silence_id
from pipelines.analytics.params import columns
from warehouse.connect import transaction
from warehouse.errors import TapewatchError
from warehouse.stage import frame, literal


def catalogue_of(context: Context) -> Catalogue:
    """The columns a rule may name, with those that the configuration adds."""
    return with_configured(columns(context.plan.params))


def rule_to_add(context: Context, given: dict[str, Any], intervals: list[str] | None) -> Rule:
    """The rule of a table as a user's; where no interval is asked for, 1m, or none for a pair or a feed."""
    rule = rule_from(
        given | {"interval": ["1m"] if intervals is None else intervals}, catalogue_of(context), "user"
    )
    if rule.subject == "feed" or (rule.subject == "pair" and intervals is None):
        rule = replace(rule, intervals=())
    if rule.name in {one.name for one in context.settings.rules}:
        raise TapewatchError(
            f"{rule.name}: the configuration has a rule of this name; change it there or choose another name"
        )
    return rule


def add_rule(con: duckdb.DuckDBPyConnection, context: Context, rule: Rule) -> None:
    """Adds a user's rule, or replaces the one of its name."""
    with transaction(con, context.location):
        history.write_rule(con, rule, datetime.now(UTC))


def remove_rule(con: duckdb.DuckDBPyConnection, context: Context, name: str) -> None:
    """Removes a rule that a user added; TapewatchError says where another one is changed."""
    with transaction(con, context.location):
        is_gone = history.remove_rule(con, name, datetime.now(UTC))
    if is_gone:
        return
    if name in {rule.name for rule in context.settings.rules}:
        raise TapewatchError(
            f"{name} stands in {context.settings.path}; remove it there, or set enabled = false"
        )
    if name in {rule.name for rule in built_in()}:
        raise TapewatchError(f"{name} is built in; a [[rule]] of the same name replaces it")
    known = ", ".join(rule.name for rule in history.read_rules(con)) or "none"
    raise TapewatchError(f"{name}: no such rule; added by users: {known}; `tapewatch alerts rules` lists all")


def silence(
    con: duckdb.DuckDBPyConnection, context: Context, match: str, reason: str, until: datetime, author: str
) -> Silence:
    """Keeps what matches quiet until a time (aware UTC); an alert's id stands for its rule on its subject."""
    if not match.strip() or not reason.strip():
        raise TapewatchError("a silence needs what it is about and a reason: everybody sees it")
    now = datetime.now(UTC)
    if until <= now:
        raise TapewatchError(f"a silence until {until:%Y-%m-%d %H:%M} UTC is over already")
    meant = _match_of(con, match.strip())
    made = Silence(silence_id(meant, now), meant, reason.strip(), author, now, until)
    with transaction(con, context.location):
        history.write_silence(con, made, now)
    return made


def unsilence(con: duckdb.DuckDBPyConnection, context: Context, identity: str) -> Silence:
    """Ends a silence before its time; an id may be shortened to its beginning."""
    silences = history.read_orders(con).silences
    found = [one for one in silences if one.id.startswith(identity)]
    if len(found) != 1 or not identity:
        known = ", ".join(f"{one.id} ({one.match})" for one in silences) or "none"
        raise TapewatchError(
            f"{identity}: {'several silences begin so' if found else 'no such silence'}; known: {known}"
        )
    with transaction(con, context.location):
        history.remove_silence(con, found[0].id, datetime.now(UTC))
    return found[0]


def known_alert(con: duckdb.DuckDBPyConnection, given: str) -> str:
    """The whole id of the alert whose id begins so; TapewatchError where there is none, or more than one."""
    found = frame(con, f"SELECT id FROM alerts WHERE starts_with(id, {literal(given)}) LIMIT 2")["id"]
    if len(found) != 1 or not given:
        which = "several alerts begin so" if len(found) else "no such alert"
        raise TapewatchError(f"{given}: {which}; `tapewatch alerts list` lists them")
    return str(found[0])


def acknowledge(
    con: duckdb.DuckDBPyConnection, context: Context, identity: str, author: str, note: str = ""
) -> None:
    """Notes that somebody has seen an alert: no repeats, no escalation."""
    with transaction(con, context.location):
        history.acknowledge(con, identity, datetime.now(UTC), author, note)


def _match_of(con: duckdb.DuckDBPyConnection, given: str) -> str:
    """`RULE@SUBJECT` of the alert whose id (or its beginning, from eight characters) is given; else what was given."""
    if len(given) < 8 or not given.isalnum():
        return given
    found = frame(
        con,
        "SELECT rule, coalesce(pair, source || ':' || symbol, source) AS subject FROM alerts "
        f"WHERE starts_with(id, {literal(given)}) LIMIT 2",
    )
    return f"{found['rule'][0]}@{found['subject'][0]}" if found.height == 1 else given
