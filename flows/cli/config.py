"""`tapewatch config show` and `config init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.call import Injected, in_force
from flows.cli.tables import show as show_table
from pipelines.settings import DEFAULT_FILE, provenance
from pipelines.settings_starter import STARTER
from warehouse.errors import TapewatchError


def show(*, call: Injected) -> None:
    """Every setting with its value and where it comes from: default, file and line, or a variable.

    Secrets are shown as the reference they are, never as their value.

    Example: tapewatch config show
    """
    rows = [row._asdict() for row in provenance(in_force(call))]
    show_table(call, rows, ("key", "value", "origin"))


def init(
    file: Path = Path(DEFAULT_FILE),
    /,
    *,
    force: Annotated[bool, Parameter(negative=())] = False,
    call: Injected,
) -> None:
    """Write a commented starter file with every key and its default.

    Example: tapewatch config init tapewatch.toml

    Parameters
    ----------
    file
        Where to write it.
    force
        Replace a file that is there already.
    """
    del call
    if file.exists() and not force:
        raise TapewatchError(f"{file}: there is one already; name another file, or add --force to replace it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STARTER, encoding="utf-8")
    except OSError as error:
        raise TapewatchError(
            f"{file}: {error.strerror}; name a file in a folder that can be written"
        ) from None
    print(f"{file} written; `tapewatch config check --config {file}` checks it", file=sys.stderr)
