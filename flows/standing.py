"""The last configuration that could be used: what a running platform goes on with while its file has a mistake.

The supervisor names the place in its children's environment; each that reads the configuration keeps the file's text
there, and takes it from there when the file has become wrong. Nothing stops for a typing error in a channel.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipelines.settings import ConfigError, Settings

log = logging.getLogger(__name__)

STANDING = "_TAPEWATCH_STANDING"
"""The variable that names the place; without it a wrong file is an error, as on the command line."""
Load = Callable[[Path | None, str | None], Settings]
"""Reads the file at a path, or the text as if it stood there."""


def standing(load: Load) -> Settings:
    """The configuration as it is, else as it last could be used, its `fault` told; ConfigError where there is none."""
    place = os.environ.get(STANDING)
    if not place:
        return load(None, None)
    try:
        settings = load(None, None)
    except ConfigError as error:
        return _last(Path(place), load, error)
    _keep(Path(place), settings)
    return settings


def last_usable(place: Path, load: Load) -> Settings | None:
    """What is kept at `place`; None where nothing usable is."""
    try:
        kept = json.loads(place.read_text())
        return load(Path(kept["path"]), kept["text"])
    except (OSError, ValueError, KeyError, ConfigError):
        return None


def place_in(data: Path) -> Path:
    """Where a platform keeps it in its data folder."""
    return data / "run" / "standing.json"


def _last(place: Path, load: Load, error: ConfigError) -> Settings:
    settings = last_usable(place, load)
    if settings is None:
        raise error
    log.error("the configuration has a mistake; what it said before stays in force: %s", error)
    return replace(settings, fault=str(error))


def _keep(place: Path, settings: Settings) -> None:
    if settings.path is None:
        return
    said = json.dumps({"path": str(settings.path), "text": settings.path.read_text(encoding="utf-8-sig")})
    if place.exists() and place.read_text() == said:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(said)
    draft.replace(place)
