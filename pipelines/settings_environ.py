"""What the environment says about the configuration: `TAPEWATCH_<KEY>` and `TAPEWATCH_<SECTION>__<KEY>`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.settings_places import Path_, Place, Places, dotenv
from pipelines.settings_values import EnvText

PREFIX = "TAPEWATCH_"
NOT_KEYS = frozenset({"TAPEWATCH_CONFIG", "TAPEWATCH_SHARED"})


class Environment(Mapping[str, str]):
    """The real environment over the `.env` file; knows which of the two a variable came from."""

    def __init__(self, environ: Mapping[str, str], env_file: Path) -> None:
        self._real = environ
        self._file: dict[str, tuple[str, int]] = {}
        if env_file.is_file():
            self._file = dotenv(env_file.read_text(encoding="utf-8", errors="replace"))

    def __getitem__(self, name: str) -> str:
        return self._real[name] if name in self._real else self._file[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._real, **self._file})

    def __len__(self) -> int:
        return len(set(self._real) | set(self._file))

    def __repr__(self) -> str:
        return f"Environment({len(self)} variables)"

    def origin(self, name: str) -> str:
        """`environment NAME`, or `.env:3 NAME`."""
        return f"environment {name}" if name in self._real else f".env:{self._file[name][1]} {name}"


def overlay(raw: dict[str, Any], environ: Environment, places: Places, sections: Mapping[str, bool]) -> None:
    """Writes the environment's values over the file's.

    `sections` names the top-level keys, true where a key is a list of named tables: those are addressed
    by name, as in TAPEWATCH_SOURCE__BINANCE__BASE_URL.
    """
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in NOT_KEYS and environ[variable] != "":
            parts = variable.removeprefix(PREFIX).lower().split("__")
            if len(parts) == 1 and parts[0] not in sections and not _is_typo(parts[0], sections):
                continue  # not ours: a cluster sets TAPEWATCH_PORT and its like for a service of this name
            path = _put(raw, parts, EnvText(environ[variable]), sections)
            places.set(path, Place(environ.origin(variable)))
    if environ.get("LOG_LEVEL") and PREFIX + "LOG_LEVEL" not in environ:
        raw["log_level"] = EnvText(environ["LOG_LEVEL"])
        places.set(("log_level",), Place(environ.origin("LOG_LEVEL")))


def _is_typo(word: str, known: Mapping[str, bool]) -> bool:
    """Whether `word` is a known key but for its underscores: `datadir`."""
    return word.replace("_", "") in {name.replace("_", "") for name in known}


def _put(raw: dict[str, Any], parts: list[str], value: EnvText, sections: Mapping[str, bool]) -> Path_:
    """Sets `value` at the path the variable's parts name; returns the path."""
    path: list[str | int] = [parts[0]]
    table: Any = raw
    if len(parts) > 2 and sections.get(parts[0]):
        index = _named(table.setdefault(parts[0], []), parts[1])
        path, table, parts = [parts[0], index], table[parts[0]][index], parts[1:]
    elif len(parts) > 1:
        table = _inner(table, parts[0])
    for part in parts[1:-1]:
        table = _inner(table, part)
        path.append(part)
    if len(parts) > 1:
        path.append(parts[-1])
    table[parts[-1]] = value
    return tuple(path)


def _inner(table: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(table.get(name), dict):
        table[name] = {}
    inner: dict[str, Any] = table[name]
    return inner


def _named(tables: list[dict[str, Any]], wanted: str) -> int:
    """The index of the table called `wanted` as far as a variable can spell it; made if absent."""
    for index, table in enumerate(tables):
        if re.sub(r"\W", "_", str(table.get("name", ""))).lower() == wanted:
            return index
    tables.append({"name": wanted})
    return len(tables) - 1
