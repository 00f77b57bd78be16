"""Rules, silences and acknowledgements from the Prefect UI: the same orders as `tapewatch alerts`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows import alerting, orders
from flows.context import Context, assemble, writing
from flows.run_names import run_name
from pipelines.alerts.history import Orders
from pipelines.alerts.rules import in_force, table_of
from pipelines.settings_values import duration
from warehouse.errors import TapewatchError

Action = Literal["list", "add", "remove", "silence", "unsilence", "acknowledge"]
Severity = Literal["critical", "high", "medium", "info"]
AUTHOR = "Prefect UI"


@task(name="order", cache_policy=NO_CACHE)
def order(action: Action, given: dict[str, Any]) -> str:
    """Does one thing and says what was done; then a table of what is in force."""
    context = assemble()
    now = datetime.now(UTC)
    with writing(context) as con:
        match action:
            case "add":
                said = _add(con, context, given, now)
            case "remove":
                orders.remove_rule(con, context, given["name"])
                said = f"{given['name']}: removed"
            case "silence":
                until = now + duration(given["lasts"])
                made = orders.silence(con, context, given["match"], given["reason"], until, AUTHOR)
                said = f"{made.id}: {made.match} is quiet until {made.ends_at:%Y-%m-%d %H:%M} UTC"
            case "unsilence":
                said = f"{orders.unsilence(con, context, given['match']).match}: speaks again"
            case "acknowledge":
                alert = orders.known_alert(con, given["match"])
                orders.acknowledge(con, context, alert, AUTHOR, given["reason"])
                said = f"{alert}: acknowledged"
            case "list":
                said = "what is in force"
        asked = alerting.orders_of(con, context)
    now = datetime.now(UTC)
    create_table_artifact(key="rules", table=_rules(context, asked, now), description="Rules in force")
    create_table_artifact(key="silences", table=_silences(asked, now), description="Silences in force")
    return said


@flow(name="alerts-admin", log_prints=False, flow_run_name=run_name)
def alerts_admin(
    action: Action = "list",
    name: str = "",
    when: str = "",
    on: list[str] | None = None,
    interval: list[str] | None = None,
    severity: Severity = "medium",
    for_bars: int = 1,
    clear: str = "",
    expires: str = "7d",
    match: str = "",
    reason: str = "",
    lasts: str = "1h",
) -> str:
    """Adds or removes a rule, sets or ends a silence, acknowledges an alert; lists what is in force in any case.

    Args:
        action: list; add and remove a rule; silence and unsilence; acknowledge.
        name: The rule's name, for add and remove.
        when: add: a comparison of columns, such as volume_ratio > 3 or abs(zscore) > 2.
        on: add: symbols or pairs, with globs such as binance:BTC*; empty: everything.
        interval: add: windows it is judged on, such as 5m; empty: 1m.
        severity: add: critical and high are told at once, the rest waits for the digest.
        for_bars: add: closed bars in a row before it fires.
        clear: add: the condition that ends it; empty: the opposite of when, with a tenth of slack.
        expires: add: when the rule ends by itself, such as 7d; never for no end.
        match: silence: rule, symbol, pair or source, with globs, RULE@SUBJECT for both; unsilence: the silence's id;
            acknowledge: the alert's id.
        reason: silence: why, everybody sees it; acknowledge: a word for the others.
        lasts: silence: how long, such as 2h.
    """
    given = {
        "name": name.strip(), "when": when, "on": on or [], "interval": interval, "severity": severity, "for": for_bars,
        "clear": clear or None, "expires": expires, "match": match.strip(), "reason": reason, "lasts": lasts,
    }  # fmt: skip
    said = order(action, given)
    get_run_logger().info("%s: %s", action, said)
    return said


def _add(con: Any, context: Context, given: dict[str, Any], now: datetime) -> str:
    if not given["name"] or not given["when"].strip():
        raise TapewatchError("add: a rule needs a name and a condition (when)")
    table = {name: given[name] for name in ("name", "when", "on", "severity", "for", "clear")}
    ends = _end(given["expires"], now)
    rule = orders.rule_to_add(context, table | {"expires": ends and ends.isoformat()}, given["interval"])
    orders.add_rule(con, context, rule)
    return f"{rule.name}: watches {', '.join(rule.on) or 'everything'} for {rule.when}"


def _end(text: str, now: datetime) -> datetime | None:
    lifetime = timedelta(0) if text.strip().lower() == "never" else duration(text)
    return now + lifetime if lifetime else None


def _rules(context: Context, asked: Orders, now: datetime) -> list[dict[str, Any]]:
    return [
        table_of(rule) | {"origin": rule.origin} for rule in in_force(alerting.rules_of(context, asked), now)
    ]


def _silences(asked: Orders, now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "match": one.match,
            "reason": one.reason,
            "until": one.ends_at.isoformat(),
            "by": one.author,
        }
        for one in asked.silences
        if one.is_in_force(now)
    ]
