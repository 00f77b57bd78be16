"""`tapewatch config check`: the file itself, then what only other rooms know: calendars, rules, secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from flows.cli.call import Injected, in_force
from flows.cli.series import stranger
from flows.cli.tables import print_json
from pipelines.alerts.rules import RuleError, rule_from
from pipelines.market import Series
from pipelines.secrets import Secret, SecretError
from pipelines.sessions import CalendarError, check_calendar
from pipelines.settings import ConfigError, Settings
from pipelines.settings_places import Path_
from pipelines.settings_reader import Problem


def check(*, call: Injected) -> int:
    """All problems of the configuration at once, each with its file and line and what would be right.

    Exit code 0 where there is none, else 2. A secret that is not set yet is a warning.

    Example: tapewatch config check --config tapewatch.toml
    """
    try:
        settings = in_force(call)
        problems = list(deeper_problems(settings))
    except ConfigError as error:
        settings, problems = None, error.problems
        if error.readable:
            problems = [*problems, *deeper_problems(error.readable, error.numbers)]
    warnings = [*missing_secrets(settings), *doubts(settings)] if settings else []
    if call.json:
        print_json({"ok": not problems, "problems": [vars(p) for p in problems], "warnings": warnings})
    elif problems:
        print("\n".join(str(problem) for problem in problems))
    elif settings:
        print("\n".join([*(f"warning: {line}" for line in warnings), summary(settings)]))
    return 2 if problems else 0


def deeper_problems(
    settings: Settings, numbers: Mapping[str, Sequence[int]] | None = None
) -> Iterator[Problem]:
    """Calendars no exchange has, conditions no rule can be.

    numbers: of `source` and `rule` the places in the file, where some of its tables are missing.
    """
    at = numbers or {}
    for index, source in zip(at.get("source", count()), settings.sources, strict=False):
        for calendar in (source.calendar, *(name for _, name in source.calendars)):
            try:
                check_calendar(calendar)
            except CalendarError as error:
                yield _problem(
                    settings,
                    ("source", index, "calendar"),
                    f"source.{source.name or f'[{index + 1}]'}.calendar",
                    error,
                )
    for index, rule in zip(at.get("rule", count()), settings.rules, strict=False):
        if not rule.when:
            continue
        try:
            rule_from(rule.table())
        except RuleError as error:
            yield _problem(settings, ("rule", index, "when"), f"rule.{rule.name}", error)


def _problem(settings: Settings, path: Path_, key: str, error: Exception) -> Problem:
    place = settings.places.of(path)
    return Problem(place.origin, key, str(error), line=place.line)


def missing_secrets(settings: Settings) -> Iterator[str]:
    """Secrets that are referred to and cannot be fetched now."""
    for section in (settings.warehouse, *settings.sources, *settings.channels):
        for value in vars(section).values():
            try:
                if isinstance(value, Secret):
                    value.reveal()
            except SecretError as error:
                yield str(error)


def doubts(settings: Settings) -> Iterator[str]:
    """What may stand so and does not do what it seems to."""
    for channel in settings.channels:
        if channel.kind == "file":
            yield f'channel.{channel.name}: "file" is always on and writes to site/digests; this table changes nothing'
        if channel.kind == "webhook" and not channel.secret:
            yield f'channel.{channel.name}: without secret = "env:NAME" what it sends is not signed'
    names = [str(Series(source.name, symbol)) for source in settings.sources for symbol in source.symbols]
    yield from settings.doubled
    if not isinstance(settings.pairs.universe, str):
        for leg in dict.fromkeys(leg for pair in settings.pairs.universe for leg in pair):
            if fault := stranger(leg, names):
                yield f"pairs.universe: {fault}; until a file brings its bars, no pair is made of it"
    for rule in settings.rules:
        for pattern in rule.on:
            if fault := stranger(pattern, names):
                yield f"rule.{rule.name}.on: {fault}"


def summary(settings: Settings) -> str:
    """One line that says what the configuration amounts to."""
    sources = ", ".join(f"{source.name} ({len(source.symbols)})" for source in settings.sources)
    where = settings.path or "no file, defaults"
    return f"ok: {where}: {sources or 'no source'}; {len(settings.rules)} rules, {len(settings.channels)} channels"
