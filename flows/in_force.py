"""The settings in force: what every command and flow of a data folder goes by. Light: the command line imports it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from flows.demo_config import DEMO_FILE, demo_environment
from flows.standing import last_usable, place_in, standing
from pipelines.settings import Settings, load


def settings_in_force(given: Settings | None = None) -> Settings:
    """The given settings, else those of the configuration; under a running platform the last usable ones.

    A data folder that the demo made keeps its own configuration: no command mixes real data into it.
    """
    return _of_the_demo(given) if given else standing(_load)


def last_in_force(file: Path) -> Settings | None:
    """Of a configuration file with a mistake: the last usable one of the platform that goes by it."""
    data = os.environ.get("TAPEWATCH_DATA_DIR") or _data_dir(file) or "data"
    return last_usable(place_in(file.parent / data), _load)


def _data_dir(file: Path) -> str | None:
    """What a file that cannot be used as a whole says of its data folder."""
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8-sig")).get("data_dir")
    except (OSError, ValueError):
        return None
    return said if isinstance(said, str) else None


def _load(path: Path | None, text: str | None) -> Settings:
    if path is not None and path.name == DEMO_FILE:
        return load(path, demo_environment(os.environ, path.parent), text)
    return _of_the_demo(load(path, text=text))


def _of_the_demo(settings: Settings) -> Settings:
    demo = settings.data_dir / DEMO_FILE
    if demo.exists() and settings.path != demo:
        return load(demo, demo_environment(os.environ, settings.data_dir))
    return settings
