"""`tapewatch alerts rules|add|rm|preview`: what is watched."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from flows import orders
from flows.alerting import orders_of, rules_of
from flows.cli.call import Injected
from flows.cli.lake import Connection, Row, close_to, context_of
from flows.cli.series import every_series, stranger
from flows.cli.tables import print_json, show, table
from flows.context import Context, reading, writing
from flows.orders import catalogue_of
from flows.times import deadline
from pipelines.alerts.history import Orders
from pipelines.alerts.preview import episodes_of
from pipelines.alerts.preview import preview as played
from pipelines.alerts.rules import Catalogue, Rule, RuleError, built_in, rule_from, table_of
from pipelines.alerts.states import Alert
from warehouse.errors import TapewatchError, UsageError
from warehouse.stage import frame, literal, literals, scalar

Severity = Literal["critical", "high", "medium", "info"]
SHOWN = ("name", "when", "on", "interval", "severity", "for", "clear", "expires", "origin", "state")


def rules(*, call: Injected) -> None:
    """Every rule: built in, from the file, and made by `alerts add`; of two with one name the later counts.

    Example: tapewatch alerts rules --json
    """
    context = context_of(call)
    now = datetime.now(UTC)
    found = every_rule(context)
    counts = {rule.name: place for place, rule in enumerate(found)}
    shown = [_row(rule, now, counts[rule.name] == place) for place, rule in enumerate(found)]
    show(call, shown, SHOWN)


def add(
    name: str,
    when: str,
    /,
    *,
    on: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    interval: str = "",
    severity: Severity = "medium",
    for_: Annotated[int, Parameter(name="--for")] = 1,
    clear: str = "",
    expires: str = "7d",
    call: Injected,
) -> None:
    """Add a rule, or replace the one of its name; it ends after seven days unless --expires says otherwise.

    Example: tapewatch alerts add btc-volume "volume_ratio > 3" --on "binance:BTC*" --severity high

    Parameters
    ----------
    name
        Its name, used by rm and preview.
    when
        A comparison of columns: "abs(zscore) > 2", "rsi_14 > 70 or rsi_14 < 30".
    on
        Symbols or pairs, with globs; else everything.
    interval
        Width of the bars it is judged on, several by commas, or all; else 1m (a rule on a feed has none).
    severity
        critical, high, medium or info.
    for_
        Closed bars in a row before it fires.
    clear
        The condition that ends it; else the opposite of `when` with a tenth of slack.
    expires
        A duration such as 7d, a time, or never.
    """
    context = context_of(call)
    now = datetime.now(UTC)
    until = deadline(expires, "--expires", now)
    given: dict[str, Any] = {
        "name": name.strip(),
        "when": when,
        "on": on or [],
        "severity": severity,
        "for": for_,
    }
    given |= {"clear": clear or None, "expires": until.isoformat() if until else None}
    try:
        rule = orders.rule_to_add(context, given, _intervals(interval) if interval else None)
    except RuleError as error:
        raise UsageError(str(error)) from None
    with writing(context) as con:
        before = {one.name for one in orders_of(con, context).rules}
        orders.add_rule(con, context, rule)
        names = [str(series) for series in every_series(con, context)]
    if call.json:
        print_json(_row(rule, now, True))
        return
    ends = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "without end"
    if rule.name in before:
        print(f"{rule.name}: the rule of this name that was there is replaced")
    print(f"{rule.name}: watches {', '.join(rule.on) or 'everything'} for {rule.when}, {ends}")
    if rule.name in {one.name for one in built_in()}:
        print(f"it stands in for the built-in rule {rule.name} until then")
    for fault in filter(None, (stranger(pattern, names) for pattern in rule.on)):
        print(f"--on: {fault}; it will watch nothing until there is one", file=sys.stderr)


def rm(name: str, /, *, call: Injected) -> None:
    """Remove a rule made by `alerts add`; one of the file is removed there.

    Example: tapewatch alerts rm btc-volume

    Parameters
    ----------
    name
        Its name.
    """
    context = context_of(call)
    names = [rule.name for rule in every_rule(context)]
    if name not in names:
        raise TapewatchError(
            f"{name}: no such rule{close_to(name, names)}; `tapewatch alerts rules` lists them"
        )
    with writing(context) as con:
        orders.remove_rule(con, context, name)
    print(f"{name}: removed")


def preview(rule: str, /, *, days: int = 7, when: str = "", interval: str = "", call: Injected) -> None:
    """When a rule would have fired on stored history, by the same evaluator that runs live.

    Example: tapewatch alerts preview btc-volume --days 30

    Parameters
    ----------
    rule
        A rule's name, or a name for the condition given by --when.
    days
        How far to look back from the newest stored bar.
    when
        A condition to try before it becomes a rule.
    interval
        Width of the bars to try it on; else the rule's own, 1m for a new one.
    """
    if days < 1:
        raise UsageError("--days: write 1 or more")
    context = context_of(call)
    with reading(context) as con:
        chosen = _chosen(con, context, rule, when, interval)
        events = _play(con, chosen, timedelta(days=days))
    first = {event.id: event for event in reversed(events) if event.state == "firing"}
    fired = [_episode(first.get(last.id, last), last) for last in reversed(episodes_of(events))]
    if call.json:
        print_json(fired)
        return
    print(f"{chosen.name}: {chosen.when} would have fired {len(fired)} times in the last {days} days")
    if fired:
        table(fired, ("subject", "interval", "fired_at", "resolved_at", "column", "value", "threshold"))


def every_rule(context: Context) -> list[Rule]:
    """All rules, expired ones too; without a warehouse nobody has added one."""
    if not context.location.exists:
        return rules_of(context, Orders())
    with reading(context) as con:
        return rules_of(context, orders_of(con, context))


def made(given: dict[str, Any], catalogue: Catalogue) -> Rule:
    """The rule of a table; UsageError in the rule's own words where it cannot stand."""
    try:
        return rule_from(given, catalogue, "user")
    except RuleError as error:
        raise UsageError(str(error)) from None


def _intervals(text: str) -> list[str]:
    if text.strip().lower() == "all":
        return []
    return [part.strip() for part in text.split(",")] if text else ["1m"]


def _row(rule: Rule, now: datetime, counts: bool) -> Row:
    state = "expired" if not rule.is_active(now) else "in force" if counts else "replaced"
    return {**table_of(rule), "subject": rule.subject, "origin": rule.origin, "state": state}


def _chosen(con: Connection, context: Context, name: str, when: str, interval: str) -> Rule:
    if when:
        given = {"name": name, "when": when, "interval": _intervals(interval)}
        rule = made(given, catalogue_of(context))
        return replace(rule, intervals=()) if rule.subject == "pair" and not interval else rule
    known = {rule.name: rule for rule in rules_of(context, orders_of(con, context))}
    if name not in known:
        raise TapewatchError(
            f"{name}: no such rule{close_to(name, known)}; `tapewatch alerts rules` lists them, and --when tries a new one"
        )
    rule = replace(known[name], expires_at=None)
    return replace(rule, intervals=tuple(_intervals(interval))) if interval else rule


def _play(con: Connection, rule: Rule, reach: timedelta) -> list[Alert]:
    if rule.subject == "feed":
        raise TapewatchError(
            f"{rule.name} judges a feed as it is now; its past is not stored, so nothing can be previewed"
        )
    if rule.subject == "pair":
        since = _newest(con, "pair_stats", "fitted_at") - reach
        of = f" AND interval IN {literals(rule.intervals)}" if rule.intervals else ""
        pairs = frame(
            con, f"SELECT * FROM pair_stats WHERE fitted_at >= {literal(since)}{of} ORDER BY fitted_at"
        )
        return played(rule, datetime.now(UTC), pairs=pairs)
    since = _newest(con, "bars", "ts") - reach
    of = f" AND interval IN {literals(rule.intervals)}" if rule.intervals else " AND interval <> '1s'"
    series = frame(
        con,
        f"SELECT * FROM (SELECT * FROM ohlcv WHERE is_complete AND ts >= {literal(since)}{of}) "
        f"LEFT JOIN (SELECT * FROM indicators WHERE ts >= {literal(since)}{of}) "
        "USING (source, symbol, interval, ts) ORDER BY ts",
    )
    return played(rule, datetime.now(UTC), series=series)


def _newest(con: Connection, view: str, column: str) -> datetime:
    newest = scalar(con, f"SELECT max({column}) FROM {view}")
    if not isinstance(newest, datetime):
        raise TapewatchError(f"{view} is empty: there is no history to preview a rule on")
    return newest


def _episode(fired: Alert, last: Alert) -> Row:
    """One episode: what made it fire, and how it ended."""
    labels = fired.labels
    return {
        "subject": labels.pair or ":".join(filter(None, (labels.source, labels.symbol))),
        **labels._asdict(),
        "state": last.state,
        "fired_at": fired.fired_at,
        "resolved_at": last.resolved_at,
        "column": fired.evidence.get("column"),
        "value": fired.value,
        "threshold": fired.threshold,
    }
