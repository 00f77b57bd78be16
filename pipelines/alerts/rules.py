"""Rules: what to watch, where, how grave it is and until when; and the ones that are built in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal, cast

from pipelines.alerts.columns import COLUMNS, Subject
from pipelines.alerts.evaluate import relaxed
from pipelines.alerts.expression import Columns, Expression, Not, names_in
from pipelines.alerts.grammar import RuleSyntaxError, parse
from pipelines.market import Interval, utc

Severity = Literal["critical", "high", "medium", "info"]
Origin = Literal["built-in", "config", "user"]

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "info")
USER_LIFETIME = timedelta(days=7)
DEFAULT_WINDOWS = ("1m", "5m", "15m", "30m", "1h")

Catalogue = Mapping[Subject, Columns]


class RuleError(ValueError):
    """A rule that cannot stand; the message names the rule, the key and what is allowed."""


@dataclass(frozen=True)
class Rule:
    """One condition on the newest closed rows of the series, pairs or feeds that `on` names.

    on: globs on SYMBOL, source:SYMBOL, a pair's or a source's name, any case; empty = everything.
    intervals: names such as `5m`; empty = every one there is (feeds have none).
    for_: closed bars in a row that must satisfy `when` before it fires; 1 = at once.
    clear: the condition that ends it; None = `when` with its thresholds moved by a tenth no longer holds.
    expires_at: aware UTC; None = never.  inhibits: while it fires, that source's market alerts are silent.
    """

    name: str
    when: str
    on: tuple[str, ...] = ()
    intervals: tuple[str, ...] = ()
    severity: Severity = "medium"
    for_: int = 1
    clear: str | None = None
    expires_at: datetime | None = None
    origin: Origin = "config"
    inhibits: bool = False
    catalogue: Catalogue = field(default_factory=lambda: COLUMNS, repr=False, compare=False)

    def __post_init__(self) -> None:
        _ = self.condition, self.cleared
        if self.severity not in SEVERITIES:
            raise RuleError(
                f"rule {self.name}: severity {self.severity!r} is not one of {', '.join(SEVERITIES)}"
            )
        if self.for_ < 1:
            raise RuleError(f"rule {self.name}: for = {self.for_}; it counts bars, so write 1 or more")
        for interval in self.intervals:
            try:
                Interval.parse(interval)
            except ValueError as error:
                raise RuleError(f"rule {self.name}: interval: {error}") from error

    @cached_property
    def subject(self) -> Subject:
        """What the rule judges: the one kind of row that has all its columns."""
        return _subject(self)

    @cached_property
    def condition(self) -> Expression:
        return _parsed(self, "when", self.when)

    @cached_property
    def cleared(self) -> Expression:
        """The condition under which a firing alert ends."""
        return _parsed(self, "clear", self.clear) if self.clear else Not(relaxed(self.condition))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every column that `when` and `clear` read, in the order written."""
        return tuple(dict.fromkeys(names_in(self.condition) + names_in(self.cleared)))

    @cached_property
    def version(self) -> str:
        """Changes with anything that changes what the rule says."""
        said = [self.name, self.when, self.clear, self.on, self.intervals, self.severity, self.for_]
        return blake2b(json.dumps(said).encode(), digest_size=6).hexdigest()

    def is_active(self, now: datetime) -> bool:
        return self.expires_at is None or utc(now) < utc(self.expires_at)

    def covers(self, *names: str) -> bool:
        """Whether one of the names (symbol, source:symbol, source, pair) matches `on`."""
        return not self.on or any(_matches(pattern, name) for pattern in self.on for name in names)


def user_rule(
    name: str, when: str, now: datetime, lifetime: timedelta | None = USER_LIFETIME, **parts: Any
) -> Rule:
    """A rule made by `alerts add`: ends after seven days unless told otherwise; no lifetime = never."""
    return Rule(name, when, origin="user", expires_at=utc(now) + lifetime if lifetime else None, **parts)


def rule_from(table: Mapping[str, Any], catalogue: Catalogue = COLUMNS, origin: Origin = "config") -> Rule:
    """A `[[rule]]` table (name, when, on, interval, severity, for, clear, expires) as a Rule; else RuleError.

    on and interval take one text or a list; for takes bars (3 or "3 bars"); expires a time or its ISO text.
    """
    known = {"name", "when", "on", "interval", "severity", "for", "clear", "expires"}
    if unknown := set(table) - known:
        raise RuleError(
            f"rule {table.get('name', '?')}: unknown key {min(unknown)}; allowed: {', '.join(sorted(known))}"
        )
    if missing := {"name", "when"} - set(table):
        raise RuleError(f"rule {table.get('name', '?')}: {' and '.join(sorted(missing))} must be given")
    expires = table.get("expires")
    return Rule(
        name=str(table["name"]),
        when=str(table["when"]),
        on=_texts(table.get("on", ())),
        intervals=_texts(table.get("interval", ())),
        severity=cast(Severity, table.get("severity", "medium")),
        for_=_bars(str(table["name"]), table.get("for", 1)),
        clear=table.get("clear"),
        expires_at=utc(datetime.fromisoformat(expires) if isinstance(expires, str) else expires)
        if expires
        else None,
        origin=origin,
        catalogue=catalogue,
    )


def table_of(rule: Rule) -> dict[str, Any]:
    """The rule as the `[[rule]]` table that `rule_from` reads: JSON-ready, for `ops.rules` and `--json`."""
    return {
        "name": rule.name,
        "when": rule.when,
        "on": list(rule.on),
        "interval": list(rule.intervals),
        "severity": rule.severity,
        "for": rule.for_,
        "clear": rule.clear,
        "expires": rule.expires_at.isoformat() if rule.expires_at else None,
    }


def built_in(windows: Sequence[str] = DEFAULT_WINDOWS) -> tuple[Rule, ...]:
    """The rules that are always there; `windows` are the configured intervals, judged from 1m to 1h."""
    hour = Interval.parse("1h")
    judged = tuple(name for name in ("1m", *windows) if Interval.parse("1m") <= Interval.parse(name) <= hour)
    intervals = tuple(dict.fromkeys(judged))
    volume = "volume_ratio > 3 and (volume_robust_z > 3 or volume_robust_z is null)"
    rsi, calm = "rsi_14 > 70 or rsi_14 < 30", "rsi_14 < 65 and rsi_14 > 35"
    rules = (
        Rule("price", "abs(dev_20_pct) > 5", intervals=intervals, severity="critical"),
        Rule("volume", volume, intervals=intervals),
        Rule("rsi", rsi, intervals=("1h",), clear=calm),
        Rule(
            "spread",
            "abs(zscore) > 2 and is_cointegrated",
            severity="high",
            clear="abs(zscore) < 1 or not is_cointegrated",
        ),
        Rule("latency", "latency_p99_ms > 100"),
        Rule("stale", "stale_s > 180", severity="critical", clear="stale_s < 120", inhibits=True),
        Rule("gap", "gap_minutes > 0", severity="high"),
    )
    return tuple(replace(rule, origin="built-in") for rule in rules)


def in_force(rules: Iterable[Rule], now: datetime) -> tuple[Rule, ...]:
    """The rules that have not expired; of two with one name the later stands (built-in, config, user)."""
    return tuple({rule.name: rule for rule in rules if rule.is_active(now)}.values())


def _parsed(rule: Rule, key: str, text: str) -> Expression:
    try:
        return parse(text, rule.catalogue[rule.subject])
    except RuleSyntaxError as error:
        raise RuleError(f"rule {rule.name}: {key}: {error}") from error


def _subject(rule: Rule) -> Subject:
    known: dict[str, Any] = {
        name: kind for columns in rule.catalogue.values() for name, kind in columns.items()
    }
    try:
        names = set(names_in(parse(rule.when, known)))
    except RuleSyntaxError as error:
        raise RuleError(f"rule {rule.name}: when: {error}") from error
    for subject, columns in rule.catalogue.items():
        if names <= set(columns):
            return subject
    raise RuleError(
        f"rule {rule.name}: when: {', '.join(sorted(names))} are not columns of one kind of row; "
        "a rule reads a series (close, rsi_14), a pair (zscore, corr) or a feed (latency_p99_ms)"
    )


def _matches(pattern: str, name: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _bars(name: str, value: Any) -> int:
    match = re.fullmatch(r"(\d+)(?:\s*bars?)?", str(value).strip())
    if not match:
        raise RuleError(f"rule {name}: for = {value!r}; it counts closed bars, such as 3 or '3 bars'")
    return int(match[1])


BUILT_IN = built_in()
