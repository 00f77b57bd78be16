"""Builds the frozen sections from the raw tables, collecting every problem with the place it stands at."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pipelines.secrets import Secret
from pipelines.settings_places import Path_, Places
from pipelines.settings_values import EnvText, PlainSecretError, SettingError, inline, show

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, which key, what, what would be right."""

    origin: str
    key: str
    what: str
    allowed: str = ""
    meant: str = ""
    line: str = ""

    def __str__(self) -> str:
        words = f"{self.origin}: {self.key}: {self.what}" if self.key else f"{self.origin}: {self.what}"
        words += f"; allowed: {self.allowed}" if self.allowed else ""
        words += f'; did you mean "{self.meant}"?' if self.meant else ""
        return f"{words}\n    {self.line}" if self.line else words


class Reader:
    """Turns raw tables into sections; `problems` holds what was wrong on the way."""

    def __init__(self, places: Places, environ: Mapping[str, str], base: Path) -> None:
        self.places = places
        self.environ = environ
        self.base = base
        self.problems: list[Problem] = []
        self.doubled: list[str] = []
        """What lists name twice, where that counts once, in words."""
        self.numbers: dict[str, list[int]] = {}
        """Of each list of tables, which of them could be made."""

    def report(self, path: Path_, shown: str, bad: SettingError) -> None:
        """Notes a problem at `path`; the line of a plain secret is not repeated."""
        place = self.places.of(path)
        close = difflib.get_close_matches(bad.word, bad.known, n=1, cutoff=0.6) if bad.word else []
        line = "" if isinstance(bad, PlainSecretError) else place.line
        self.problems.append(Problem(place.origin, shown, bad.what, bad.allowed, next(iter(close), ""), line))

    def build(self, kind: type[T], raw: Any, path: Path_ = (), shown: str = "") -> T | None:
        """The section `kind` out of `raw`; None where a required key is missing or the table is no table.

        A required key that cannot be read is a problem, and left to its default for whoever checks the rest.
        """
        table = self._table(raw, path, shown)
        if table is None:
            return None
        known = {name_of(item): item for item in fields(kind) if item.metadata}  # type: ignore[arg-type]
        self._unknown(table, known, path, shown)
        made: dict[str, Any] = {}
        for name, item in known.items():
            if name in table:
                self._value(made, item, table[name], (*path, name), _dotted(shown, name))
            elif item.metadata.get("required"):
                self.report(path, _dotted(shown, name), SettingError("missing", f"{name} = ..."))
        if any(item.metadata.get("required") and name not in table for name, item in known.items()):
            return None
        section = kind(**made)
        # The whole is checked whatever its parts are like: what else is wrong must not wait for the next look.
        misspelt = any(name not in known for name in table)
        unread = {
            name for name, item in known.items() if item.name not in made and (name in table or misspelt)
        }
        self._check(section, path, shown, unread)
        return section

    def _table(self, raw: Any, path: Path_, shown: str) -> dict[str, Any] | None:
        try:
            table = inline(raw) if isinstance(raw, EnvText) else raw
            if isinstance(table, dict):
                return table
            raise SettingError(f"{show(raw)} is not a table", f"[{shown}] with its keys below")
        except SettingError as bad:
            self.report(path, shown, bad)
            return None

    def _unknown(self, table: dict[str, Any], known: Mapping[str, Any], path: Path_, shown: str) -> None:
        for name in table:
            if name not in known:
                bad = SettingError("unknown key", ", ".join(known), word=name, known=known)
                self.report((*path, name), _dotted(shown, name), bad)

    def _value(self, made: dict[str, Any], item: Field[Any], raw: Any, path: Path_, shown: str) -> None:
        """Reads one key into `made`; a bad one is reported and left to its default."""
        if kind := item.metadata.get("table"):
            value = (
                self._many(kind, raw, path, shown)
                if item.metadata["many"]
                else self.build(kind, raw, path, shown)
            )
            if value is not None:
                made[item.name] = value
            return
        try:
            value = made[item.name] = self._bound(item.metadata["read"](raw))
        except SettingError as bad:
            self.report(path, shown, bad)
            return
        if isinstance(raw, list) and isinstance(value, tuple) and len(value) < len(raw):
            words = Counter(str(one).upper() for one in raw)
            self.doubled += [
                f"{shown}: {word} stands there {times} times; it counts once"
                for word, times in words.items()
                if times > 1
            ]

    def _many(self, kind: type[T], raw: Any, path: Path_, shown: str) -> tuple[T, ...]:
        if not isinstance(raw, list):
            self.report(
                path, shown, SettingError("written as one table", f"[[{shown}]], once for each {shown}")
            )
            return ()
        built = []
        for index, table in enumerate(raw):
            label = table.get("name", f"[{index + 1}]") if isinstance(table, dict) else f"[{index + 1}]"
            built.append(self.build(kind, table, (*path, index), _dotted(shown, str(label))))
        self.numbers[shown] = [index for index, section in enumerate(built) if section is not None]
        return tuple(section for section in built if section is not None)

    def _bound(self, value: Any) -> Any:
        """A secret is told where to look when it is asked."""
        return replace(value, environ=self.environ, base=self.base) if isinstance(value, Secret) else value

    def _check(self, section: Any, path: Path_, shown: str, unread: Container[str]) -> None:
        """unread: keys that were not, though perhaps written; what is said of the defaults in their place is no problem."""
        for key, what in getattr(section, "check", _nothing)():
            way = (key,) if isinstance(key, str) else key
            if way[0] in unread:
                continue
            self.report((*path, *way), _dotted(shown, str(way[0])), SettingError(what))


def _nothing() -> Iterator[tuple[str | Path_, str]]:
    return iter(())


def name_of(item: Field[Any]) -> str:
    """A field's name in the file: `from_` is `from`."""
    return str(item.metadata.get("name") or item.name)


def _dotted(shown: str, name: str) -> str:
    return f"{shown}.{name}" if shown else name
