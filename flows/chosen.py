"""The settings in force and the streams they ask for, without what a warehouse needs: the collector stays small."""

from __future__ import annotations

import os
from pathlib import Path

from flows.demo_config import DEMO_FILE, demo_environment
from flows.standing import standing
from pipelines.settings import Settings, load
from pipelines.sources.stream_registry import stream_of
from pipelines.sources.streams import Stream


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


def streams_of(settings: Settings) -> list[tuple[Stream, tuple[str, ...]]]:
    """The streams of the sources that have one and want it, each with its symbols."""
    found = [
        (stream_of(source.name, source.stream_url, source.base_url), source.symbols)
        for source in settings.sources
        if source.stream
    ]
    return [(stream, symbols) for stream, symbols in found if stream]
