"""The interactive SQL shell: history, completion of views and columns, statements over many lines."""

from __future__ import annotations

import contextlib
import readline
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.cli.lake import Connection, close_to
from flows.cli.sql_answers import Format, run_all
from warehouse.errors import TapewatchError
from warehouse.export import public_views

HISTORY_LINES = 2000
HELP = """\
.help             this
.tables           the public views
.columns VIEW     a view's columns and their types
.quit             leave (also Ctrl-D)
help, \\?, \\d, \\d VIEW, \\q, exit and quit alone on a line do the same.
Anything else is SQL and ends with ; over as many lines as it needs. Tab completes names. Nothing can be changed.
Start with: SELECT * FROM latest_price;"""
TWINS = {
    "help": ".help", "\\?": ".help", "\\h": ".help", "\\d": ".tables", "\\dt": ".tables",
    "quit": ".quit", "exit": ".quit", "\\q": ".quit",
}  # fmt: skip
"""What other shells call these commands, alone on a line."""
WORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ALL", "ORDER BY", "LIMIT", "JOIN", "LEFT", "USING", "HAVING"),
    *(
        "QUALIFY",
        "OVER",
        "PARTITION",
        "INTERVAL",
        "TIMESTAMP",
        "DESCRIBE",
        "SUMMARIZE",
        "BETWEEN",
        "DISTINCT",
    ),
    *("count(", "sum(", "avg(", "max(", "min(", "median(", "arg_max(", "time_bucket("),
)


def shell(con: Connection, history: Path, form: Format) -> None:
    """Reads statements until the end of input; an error is told and the shell goes on."""
    with _readline(con, history):
        print("Tapewatch's warehouse, read-only; .help tells more")
        for text in statements(_typed):
            started = time.perf_counter()
            try:
                if not text.startswith("."):
                    run_all(con, text, form)
                    print(f"({time.perf_counter() - started:.2f} s)", file=sys.stderr)
                elif not dotted(con, text):
                    return
            except KeyboardInterrupt:
                print("stopped")
            except TapewatchError as error:
                print(f"error: {error}")


def piped(con: Connection, text: str, form: Format, output: Path | None = None) -> None:
    """What came through a pipe, .commands among its statements; TapewatchError at the first that fails."""
    lines = text.splitlines()
    if not any(_command(line) for line in lines):
        run_all(con, text, form, output)
        return
    rest = iter([*lines, ";"])
    for part in statements(lambda goes_on: next(rest, None)):
        if not part.startswith("."):
            run_all(con, part, form, output)
        elif not dotted(con, part):
            return


def statements(read: Callable[[bool], str | None]) -> Iterator[str]:
    """One complete statement (or .command) at a time.

    read: the next line, told whether a statement goes on; None at the end. KeyboardInterrupt drops what was begun.
    """
    lines: list[str] = []
    while True:
        try:
            line = read(bool(lines))
        except KeyboardInterrupt:
            print()
            lines.clear()
            continue
        if line is None:
            return
        if not lines and (command := _command(line)):
            yield command
        elif lines or line.strip():
            lines.append(line)
            if line.rstrip().endswith(";"):
                yield "\n".join(lines)
                lines.clear()


def _typed(goes_on: bool) -> str | None:
    try:
        return input("      ...> " if goes_on else "tapewatch> ")
    except EOFError:
        print()
        return None


def _command(line: str) -> str:
    """The .command that a line is, by its own name or by that of other shells; empty for SQL."""
    words = line.strip().rstrip(";").split()
    if not words or words[0].startswith("."):
        return line.strip() if words else ""
    if words[0] == "\\d" and len(words) == 2:
        return f".columns {words[1]}"
    return TWINS.get(words[0].lower(), "") if len(words) == 1 else ""


def dotted(con: Connection, text: str) -> bool:
    """Does what a .command says; False for the one that leaves."""
    name, _, argument = text.rstrip(";").partition(" ")
    if name in (".quit", ".exit", ".q"):
        return False
    if name == ".help":
        print(HELP)
    elif name == ".tables":
        print("\n".join(public_views(con)))
    elif name == ".columns":
        view = argument.strip()
        if view not in public_views(con):
            raise TapewatchError(
                f"no view is called {view!r}{close_to(view, public_views(con))}; see .tables"
            )
        for column, kind, *_ in con.execute(f"DESCRIBE {view}").fetchall():
            print(f"{column:<20} {kind}")
    else:
        raise TapewatchError(f"{name}: no such command; see .help")
    return True


def completions(con: Connection) -> list[str]:
    """Everything that Tab knows: views, their columns, words of SQL."""
    columns = con.execute(
        "SELECT DISTINCT column_name FROM duckdb_columns() WHERE database_name = current_database() "
        "AND schema_name = 'main' ORDER BY column_name"
    ).fetchall()
    return list(dict.fromkeys([*public_views(con), *(name for (name,) in columns), *WORDS, *HELP_WORDS]))


HELP_WORDS = [line.split()[0] for line in HELP.splitlines() if line.startswith(".")]


@contextlib.contextmanager
def _readline(con: Connection, history: Path) -> Iterator[None]:
    """History from and to its file, Tab bound to `completions`."""
    known = completions(con)

    def complete(text: str, state: int) -> str | None:
        found = [name for name in known if name.lower().startswith(text.lower())]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n,;()=<>+-*/'\"")
    readline.parse_and_bind("tab: complete")
    readline.set_history_length(HISTORY_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(history)
