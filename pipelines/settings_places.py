"""Where a value of the configuration stands: the line of each key in a TOML text, and the `.env` file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Path_ = tuple[str | int, ...]
_BARE = r'(?:[A-Za-z0-9_-]+|"[^"]*"|\'[^\']*\')'
_DOTTED = rf"{_BARE}(?:\s*\.\s*{_BARE})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_QUOTED = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*')


@dataclass(frozen=True)
class Place:
    """Where a value was written: `tapewatch.toml:6` with its line, or the name of a variable."""

    origin: str
    line: str = ""


class Places:
    """The place of every key by its path; a path that has none stands where its nearest parent does."""

    def __init__(self, default: Place) -> None:
        self.default = default
        self.known: dict[Path_, Place] = {}
        self.given: set[Path_] = set()

    def of(self, path: Path_) -> Place:
        """The place of `path`, of the longest known beginning of it, or the file as a whole."""
        for length in range(len(path), 0, -1):
            if place := self.known.get(path[:length]):
                return place
        return self.default

    def mark(self, raw: Any, path: Path_ = ()) -> None:
        """Notes every path of the raw tables as given by the user."""
        self.given.add(path)
        for name, value in (
            raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
        ):
            self.mark(value, (*path, name))

    def origin(self, path: Path_) -> str:
        """Where the value at `path` comes from; `default` where nobody gave it."""
        return self.of(path).origin if path in self.given else "default"

    def set(self, path: Path_, place: Place) -> None:
        """Notes that `place` has given the value at `path`."""
        self.known[path] = place
        self.given.add(path)

    def add_file(self, name: str, text: str) -> None:
        """Every key of a TOML text with `name:line`."""
        lines = text.splitlines()
        for path, number in key_lines(text):
            self.known.setdefault(path, Place(f"{name}:{number}", lines[number - 1].strip()))


def key_lines(text: str) -> Iterator[tuple[Path_, int]]:
    """(path, line number) of every table head and key; members of inline tables stand on their key's line."""
    table: Path_ = ()
    counts: dict[Path_, int] = {}
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote or depth:
            depth, quote = _continue(line, depth, quote)
            continue
        if head := _TABLE.match(line):
            table = _indexed(_parts(head[2]), counts)
            if head[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield table, number
        elif found := _KEY.match(line):
            yield (*table, *_parts(found[1])), number
            depth, quote = _continue(line[found.end() :], 0, "")


def _parts(dotted: str) -> Path_:
    return tuple(part.strip().strip("\"'") for part in re.findall(_BARE, dotted))


def _indexed(path: Path_, counts: dict[Path_, int]) -> Path_:
    """`path` with the current index after every list of tables on the way, its own end excepted."""
    done: Path_ = ()
    for position, part in enumerate(path):
        done = (*done, part)
        if done in counts and position < len(path) - 1:
            done = (*done, counts[done])
    return done


def _continue(line: str, depth: int, quote: str) -> tuple[int, str]:
    """Open brackets and the open triple quote after `line`."""
    if quote:
        _, closed, line = line.partition(quote)
        if not closed:
            return depth, quote
    bare = []
    position = 0
    for found in _QUOTED.finditer(line):
        bare.append(line[position : found.start()])
        position = found.end()
        if found[0] in ('"""', "'''"):
            if line.find(found[0], position) < 0:
                return depth + _balance(bare), found[0]
            return _continue(line[line.find(found[0], position) + 3 :], depth + _balance(bare), "")
    bare.append(line[position:])
    return max(depth + _balance(bare), 0), ""


def _balance(texts: list[str]) -> int:
    whole = "".join(texts)
    return whole.count("[") + whole.count("{") - whole.count("]") - whole.count("}")


_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")


def dotenv(text: str) -> dict[str, tuple[str, int]]:
    """The variables of a `.env` text with their line: `NAME=value`, quotes, `export` and `#` comments."""
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#") and (match := _ASSIGNMENT.match(line)):
            found[match[1]] = (_unquoted(match[2]), number)
    return found


def _unquoted(value: str) -> str:
    quoted = re.match(r"""(["'])(.*?)\1\s*(?:#.*)?$""", value)
    if quoted:
        return quoted[2]
    return re.sub(r"\s+#.*$", "", value)
