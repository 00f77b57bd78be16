"""Whether trades and bars are wanted, and how the collector is: small files that every process reads.

`run/collection.json` is the wish (start, stop, by whom), `run/collector.json` what the collector says of itself
each second. No file: collecting is wanted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines import segments

SILENT = timedelta(seconds=10)
"""A collector that has not noted its state for so long hangs or is gone."""


@dataclass(frozen=True)
class Wish:
    """Whether to collect; `by` and `reason` say who wanted it so."""

    collect: bool = True
    by: str = ""
    reason: str = ""
    at: str = ""

    @property
    def words(self) -> str:
        told = f" by {self.by}" if self.by else ""
        why = f": {self.reason}" if self.reason else ""
        return f"collection was {'started' if self.collect else 'stopped'}{told} at {self.at}{why}"


def streams_folder(data_dir: Path) -> Path:
    """Where segments lie."""
    return data_dir / "streams"


def wish_of(data_dir: Path) -> Wish:
    """The wish in force; one that cannot be read counts as none."""
    noted = _read(_wish_path(data_dir))
    try:
        return Wish(**noted)
    except TypeError:
        return Wish()


def wish(data_dir: Path, collect: bool, by: str, reason: str = "") -> Wish:
    """From now on collecting is wanted or not; collector and minute follow within a second and a minute."""
    made = Wish(collect, by, reason, datetime.now(UTC).isoformat(timespec="seconds"))
    write(_wish_path(data_dir), asdict(made))
    return made


def status_of(data_dir: Path) -> dict[str, Any]:
    """state (running, stopped, absent), the wish in words, and what the collector noted of each source."""
    wanted, noted = wish_of(data_dir), _read(state_path(data_dir))
    seen = datetime.fromisoformat(noted["seen_at"]) if "seen_at" in noted else None
    alive = segments.is_owned(streams_folder(data_dir))
    hangs = alive and seen is not None and datetime.now(UTC) - seen > SILENT
    state = "stopped" if not wanted.collect else "silent" if hangs else "running" if alive else "absent"
    return {
        "state": state,
        "wanted": wanted.collect,
        "reason": wanted.words if wanted.by else None,
        "pid": noted.get("pid") if alive else None,
        "seen_at": noted.get("seen_at"),
        "sources": noted.get("sources", {}) if alive else {},
    }


def state_path(data_dir: Path) -> Path:
    return data_dir / "run" / "collector.json"


def write(path: Path, value: dict[str, Any]) -> None:
    """A reader sees the old or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1))
    draft.replace(path)


def _wish_path(data_dir: Path) -> Path:
    return data_dir / "run" / "collection.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return noted
