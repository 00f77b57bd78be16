"""`tapewatch doctor`: what is wrong and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

from flows.cli.call import Injected
from flows.cli.config_check import deeper_problems, missing_secrets, summary
from flows.cli.doctor_lake import lake_findings
from flows.cli.doctor_machine import machine_findings
from flows.cli.doctor_streams import stream_findings
from flows.cli.finding import Finding, fail, ok, warn
from flows.cli.lake import context_of
from flows.cli.status import platform
from flows.cli.tables import show
from pipelines.settings import ConfigError, Settings


def doctor(*, call: Injected) -> int:
    """Config, ports, disk, clock, server, worker, warehouse, lag, gaps, dead letters, and how to mend each.

    Runs whether or not the platform does. Exit code 1 if a line says fail, 2 if the configuration does.

    Example: tapewatch doctor --json
    """
    try:
        context = context_of(call)
    except ConfigError as error:
        _tell(call, [_problem(str(problem)) for problem in error.problems])
        return error.exit_code
    running = platform(context.settings)
    findings = [
        *config_findings(context.settings),
        *machine_findings(context, running),
        *stream_findings(context, running),
        *lake_findings(context, running),
    ]
    return _tell(call, findings)


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
