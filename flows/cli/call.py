"""The global options, wherever they stand on the command line, and what commands get from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows import logs
from flows.in_force import settings_in_force
from pipelines.settings import Settings, load
from warehouse.errors import UsageError

LEVELS = ("debug", "info", "warning", "error", "critical")
EPILOGUE = (
    "Global options, before or after the command: --config FILE (else TAPEWATCH_CONFIG, else ./tapewatch.toml), "
    "--json (tables as JSON), --log-level debug|info|warning|error. "
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."
)


@dataclass
class Call:
    """One use of the command: its global options, and the settings they lead to."""

    config: Path | None = None
    json: bool = False
    log_level: str | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings in force, whose log level counts from now on; raises ConfigError with all problems."""
        settings = load(self.config)
        logs.set_up(self.log_level or settings.log_level, settings.log_format)
        return settings

    def set_up_logs(self) -> None:
        """Logging by --log-level and the environment; the file's word counts once the settings are read."""
        environment = os.environ.get("TAPEWATCH_LOG_LEVEL") or os.environ.get("LOG_LEVEL") or "info"
        wanted = (self.log_level or environment).lower()
        logs.set_up(wanted if wanted in LEVELS else "info", os.environ.get("TAPEWATCH_LOG_FORMAT", "auto"))
        if self.config:
            os.environ["TAPEWATCH_CONFIG"] = str(self.config.expanduser().absolute())


def in_force(call: Call) -> Settings:
    """The settings of --config as they stand, else those that every command of this folder goes by, the demo's too."""
    return call.settings if call.config else settings_in_force(call.settings)


Injected = Annotated[Call, Parameter(parse=False)]
"""The parameter through which a command receives its Call."""


def split_globals(argv: Sequence[str]) -> tuple[Call, list[str]]:
    """The global options out of `argv`, and the rest in its order; after `--` everything is the command's."""
    call = Call()
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, has_value, value = word.partition("=")
        if word == "--":
            return call, [*rest, word, *words]
        if word == "--json":
            call.json = True
        elif name in ("--config", "--log-level"):
            given = value if has_value else next(words, "")
            if not given or given.startswith("--"):
                raise UsageError(f"{name}: a value is missing; see tapewatch --help")
            _keep(call, name, given)
        else:
            rest.append(word)
    return call, rest


def _keep(call: Call, name: str, value: str) -> None:
    if name == "--config":
        call.config = Path(value)
    elif value.lower() in LEVELS:
        call.log_level = value.lower()
    else:
        raise UsageError(f"--log-level: {value!r} is not possible; allowed: {', '.join(LEVELS)}")
