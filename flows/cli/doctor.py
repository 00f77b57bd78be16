"""`tapewatch doctor`: what is wrong and how to mend it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from flows.cli.call import Injected
from flows.cli.config_check import deeper_problems, missing_secrets, summary
from flows.cli.doctor_lake import lake_findings
from flows.cli.doctor_machine import machine_findings
from flows.cli.doctor_streams import stream_findings
from flows.cli.finding import Finding, fail, ok, warn
from flows.cli.lake import context_of
from flows.cli.status import platform
from flows.cli.tables import show
from flows.context import Context, assemble
from flows.in_force import last_in_force
from pipelines.settings import ConfigError, Settings


def doctor(*, call: Injected) -> int:
    """Config, ports, disk, clock, server, worker, warehouse, lag, gaps, dead letters, and how to mend each.

    Runs whether or not the platform does. Exit code 1 if a line says fail, 2 if the configuration does.

    Example: tapewatch doctor --json
    """
    try:
        context = context_of(call)
    except ConfigError as error:
        problems = [_problem(str(problem)) for problem in error.problems]
        last = last_in_force(call.config or Path(os.environ.get("TAPEWATCH_CONFIG", "tapewatch.toml")))
        _tell(call, [*problems, *_of_the_last(last)] if last else problems)
        return error.exit_code
    return _tell(call, [*config_findings(context.settings), *_beyond_the_configuration(context)])


def _of_the_last(settings: Settings) -> Iterator[Finding]:
    """What can be checked while the file is wrong: the platform goes by the last usable configuration."""
    told = "until then the last usable configuration stays in force; the lines below are about it"
    yield warn("config", told, "mend the lines above")
    yield from _beyond_the_configuration(assemble(settings))


def _beyond_the_configuration(context: Context) -> Iterator[Finding]:
    running = platform(context.settings)
    yield from machine_findings(context, running)
    yield from stream_findings(context, running)
    yield from lake_findings(context, running)


def config_findings(settings: Settings) -> Iterator[Finding]:
    """The configuration as `config check` sees it."""
    problems = [_problem(str(problem)) for problem in deeper_problems(settings)]
    yield from problems
    for secret in missing_secrets(settings):
        yield warn(
            "config", secret, "set it in the environment or in .env; channels that need it stay silent"
        )
    if not problems:
        yield ok("config", summary(settings))


def _problem(text: str) -> Finding:
    return fail("config", text, "mend that line; `tapewatch config check` tells all problems at once")


def _tell(call: Injected, findings: list[Finding]) -> int:
    show(call, [finding.row() for finding in findings], ("state", "check", "detail", "mend"))
    return int(any(finding.state == "fail" for finding in findings))
