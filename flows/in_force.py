"""The settings in force: what every command and flow of a data folder goes by. Light: the command line imports it."""

from __future__ import annotations

import os
from pathlib import Path

from flows.demo_config import DEMO_FILE, demo_environment
from flows.standing import standing
from pipelines.settings import Settings, load


def settings_in_force(given: Settings | None = None) -> Settings:
    """The given settings, else those of the configuration; under a running platform the last usable ones.

    A data folder that the demo made keeps its own configuration: no command mixes real data into it.
    """
    return _of_the_demo(given) if given else standing(_load)


def _load(path: Path | None, text: str | None) -> Settings:
    if path is not None and path.name == DEMO_FILE:
        return load(path, demo_environment(os.environ, path.parent), text)
    return _of_the_demo(load(path, text=text))


def _of_the_demo(settings: Settings) -> Settings:
    demo = settings.data_dir / DEMO_FILE
    if demo.exists() and settings.path != demo:
        return load(demo, demo_environment(os.environ, settings.data_dir))
    return settings
