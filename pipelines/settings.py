"""The configuration: `tapewatch.toml`, the environment and `.env` become one frozen `Settings`.

`load` tells every problem at once, each with its file and line, and never touches the network or a secret.
"""

# ruff: noqa: RUF009 - key() and table() return dataclass fields

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.secrets import Secret
from pipelines.settings_alerts import Channel, Rule
from pipelines.settings_environ import Environment, overlay
from pipelines.settings_places import Path_, Place, Places
from pipelines.settings_reader import Problem, Reader, name_of
from pipelines.settings_sections import (
    Anomalies,
    Baseline,
    Collector,
    Digest,
    Indicators,
    Pairs,
    Prefect,
    Problems,
    Retention,
    Site,
    Warehouse,
    Windows,
    key,
    table,
)
from pipelines.settings_sources import Closure, Source
from pipelines.settings_values import choice, folder, interval_name
from warehouse.errors import TapewatchError

DEFAULT_FILE = "tapewatch.toml"
DEFAULT_SOURCES: list[dict[str, Any]] = [
    {
        "name": "binance",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "fallback": ["coinbase", "kraken"],
        "stream": True,
    },
    {
        "name": "yahoo",
        "symbols": ["AAPL", "MSFT", "GOOGL", "NVDA", "AMZN", "TSLA", "SPY"],
        "calendar": "XNYS",
    },
]


class ConfigError(TapewatchError):
    """The configuration cannot be used; carries every problem found, and the settings as far as they go.

    numbers: of each list of tables (`source`, `rule`) the places in the file of those in `readable`.
    """

    exit_code = 2

    def __init__(
        self,
        problems: list[Problem],
        readable: Settings | None = None,
        numbers: Mapping[str, list[int]] | None = None,
    ) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.readable = readable
        self.numbers = numbers or {}


@dataclass(frozen=True)
class Settings:
    """Everything a user can set. Paths are absolute, symbols upper case, times are timedeltas.

    doubled: what a list of the file names twice, in words; it counts once.
    fault: what is wrong with the file now, where these are the settings that it held before.
    """

    data_dir: Path = key(Path("data"), folder)
    site_dir: Path = key(Path("site"), folder)
    log_level: str = key("info", choice("debug", "info", "warning", "error", "critical"))
    log_format: str = key("auto", choice("auto", "text", "json"))
    warehouse: Warehouse = table(Warehouse(), Warehouse)
    prefect: Prefect = table(Prefect(), Prefect)
    site: Site = table(Site(), Site)
    sources: tuple[Source, ...] = table((), Source, name="source", many=True)
    collector: Collector = table(Collector(), Collector)
    windows: Windows = table(Windows(), Windows)
    indicators: Indicators = table(Indicators(), Indicators)
    baseline: Baseline = table(Baseline(), Baseline)
    anomalies: Anomalies = table(Anomalies(), Anomalies)
    pairs: Pairs = table(Pairs(), Pairs)
    retention: Retention = table(Retention(), Retention)
    sessions: tuple[Closure, ...] = table((), Closure, name="session", many=True)
    rules: tuple[Rule, ...] = table((), Rule, name="rule", many=True)
    channels: tuple[Channel, ...] = table((), Channel, name="channel", many=True)
    digest: Digest = table(Digest(), Digest)
    path: Path | None = None
    doubled: tuple[str, ...] = field(default=(), repr=False, compare=False)
    fault: str = field(default="", compare=False)
    places: Places = field(default_factory=lambda: Places(Place("default")), repr=False, compare=False)

    def source(self, name: str) -> Source:
        """The source called `name`; KeyError where none is configured."""
        return {source.name: source for source in self.sources}[name]

    def check(self) -> Problems:
        for section in ("sources", "rules", "channels"):
            items = getattr(self, section)
            names = Counter(item.name for item in items)
            for name in (name for name, count in names.items() if name and count > 1):
                last = max(index for index, item in enumerate(items) if item.name == name)
                yield (
                    (section[:-1], last, "name"),
                    f'"{name}" stands there {names[name]} times; give each its own name, or merge them',
                )
        known = {channel.name for channel in self.channels} | {"file"}
        for wanted in (*self.digest.channels, *(channel.escalate_to for channel in self.channels)):
            if wanted and wanted not in known:
                yield "channel", f'no channel is called "{wanted}"; there are {", ".join(sorted(known))}'


SECTIONS: Mapping[str, bool] = {
    name_of(item): bool(item.metadata.get("many")) for item in fields(Settings) if item.metadata
}
"""The top-level keys of the file; true for those that are lists of tables."""


STARTED_IN = "_TAPEWATCH_STARTED_IN"
"""The variable that tells a platform's processes, which work in folders of their own, where it was started."""


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, text: str | None = None
) -> Settings:
    """The settings from `path`, else TAPEWATCH_CONFIG, else ./tapewatch.toml, else the defaults.

    text: read in place of what the file holds now. `.env` lies beside the file, or where the platform was started.
    Relative paths belong to the file's folder, those from the environment to the working directory. Raises ConfigError
    with all problems at once.
    """
    real = os.environ if environ is None else environ
    base = Path.cwd()
    variables = Environment(real, base / ".env")
    file = _file(path, variables)
    if file and file.parent != base:
        base = file.parent
        started = Path(real.get(STARTED_IN) or Path.cwd())
        variables = Environment(
            real, next((at / ".env" for at in (base, started) if (at / ".env").is_file()), base)
        )
    shown = _shown(file) if file else "default"
    places = Places(Place(shown))
    raw = _parse(file, shown, places, text) if file else {}
    places.mark(raw)
    raw.setdefault("source", copy.deepcopy(DEFAULT_SOURCES))
    overlay(raw, variables, places, SECTIONS)
    return _build(raw, places, variables, base, file)


def _build(
    raw: dict[str, Any], places: Places, environ: Environment, base: Path, file: Path | None
) -> Settings:
    reader = Reader(places, environ, base)
    settings = reader.build(Settings, raw)
    if reader.problems or settings is None:
        readable = settings and replace(settings, places=places)
        raise ConfigError(reader.problems, readable, reader.numbers)
    return replace(
        settings,
        data_dir=_absolute(settings.data_dir, places.of(("data_dir",)), base),
        site_dir=_absolute(settings.site_dir, places.of(("site_dir",)), base),
        path=file,
        doubled=tuple(reader.doubled),
        places=places,
    )


def _file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read; one that was asked for by name must be there."""
    asked = str(path) if path else environ.get("TAPEWATCH_CONFIG", "")
    found = Path(asked or DEFAULT_FILE).expanduser().absolute()
    if found.is_file():
        return found
    if asked:
        what = "is a folder" if found.is_dir() else "no such file"
        raise ConfigError(
            [Problem(str(asked), "", f"{what}; `tapewatch config init {asked}` writes a starter file")]
        )
    return None


def _shown(file: Path) -> str:
    """The file's name as short as the user would write it."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _parse(file: Path, shown: str, places: Places, instead: str | None = None) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig") if instead is None else instead
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(shown, "", f"cannot be read: {error}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(str(error), shown, text)]) from None
    places.add_file(shown, text)
    return raw


def _syntax(message: str, shown: str, text: str) -> Problem:
    lines = text.splitlines()
    found = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", message)
    number = int(found[1]) if found and found[1] else max(len(lines), 1)
    line = lines[number - 1].strip() if number <= len(lines) else ""
    what = message[: found.start()] if found else message
    hint = " (a text needs quotes)" if what == "Invalid value" else ""
    return Problem(f"{shown}:{number}", "", f"not TOML: {what}{hint}", line=line)


def _absolute(path: Path, place: Place, base: Path) -> Path:
    is_environment = place.origin.startswith(("environment", ".env"))
    return (Path.cwd() if is_environment else base) / path


class Provenance(NamedTuple):
    """One setting: its key, its value as text, and where it comes from."""

    key: str
    value: str
    origin: str


def provenance(settings: Settings) -> list[Provenance]:
    """Every setting with its origin: `default`, `tapewatch.toml:6`, `environment NAME`, `.env:3 NAME`."""
    return list(_walk(settings, settings.places, (), ""))


def _walk(section: Any, places: Places, path: Path_, shown: str) -> Iterator[Provenance]:
    for item in fields(section):
        if not item.metadata:
            continue
        name, value = name_of(item), getattr(section, item.name)
        here, label = (*path, name), f"{shown}.{name}" if shown else name
        if item.metadata.get("many"):
            for index, each in enumerate(value):
                yield from _walk(each, places, (*here, index), f"{label}.{getattr(each, 'name', index + 1)}")
        elif is_dataclass(value) and not isinstance(value, Secret):
            yield from _walk(value, places, here, label)
        else:
            yield Provenance(label, spelt(value), places.origin(here))


def spelt(value: Any) -> str:
    """A value as the file would spell it."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return interval_name(int(seconds)) if seconds == int(seconds) else f"{seconds}s"
    if isinstance(value, tuple):
        return "[" + ", ".join(spelt(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
