"""The command `tapewatch`: finds the command, hands it the global options, turns errors into words.

Nothing heavy is imported here: each command's module is loaded when the command is used.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from flows.cli.call import Call, split_globals
from flows.cli.commands import make_app
from warehouse.errors import TapewatchError, UsageError

INTERRUPTED = 130
TOLD = (
    ("duckdb", "Error"),
    ("pipelines.sources.base", "SourceError"),
    ("pipelines.landing", "LandingError"),
    ("builtins", "OSError"),
)
"""Errors whose own words suffice; looked up in what the command has loaded, so that nothing is loaded for it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 done, 1 failed, 2 wrong usage or configuration."""
    try:
        call, rest = split_globals(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        return _say(error)
    try:
        return _run(make_app(rest), rest, call)
    except CycloptsError:
        return 2  # the parser has told why
    except TapewatchError as error:
        return _say(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: no user should meet a traceback
        return _apologise(error, call)


def _run(app: App, tokens: Sequence[str], call: Call) -> int:
    command, bound, injected = app.parse_args(tokens, exit_on_error=False, print_error=True)
    bound.arguments.update(dict.fromkeys(injected, call))
    if injected:
        call.set_up_logs()
    result = command(*bound.args, **bound.kwargs)
    return result if isinstance(result, int) else 0


def _say(error: TapewatchError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _apologise(error: Exception, call: Call) -> int:
    if call.log_level == "debug":
        traceback.print_exception(error)
    if _is_told(error):
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
    print("this should not happen; --log-level debug shows where it came from", file=sys.stderr)
    return 1


def _is_told(error: Exception) -> bool:
    known = [getattr(sys.modules[module], name) for module, name in TOLD if module in sys.modules]
    return isinstance(error, tuple(known))


__all__ = ["main"]
