"""Secrets by reference: `env:NAME` or `file:PATH`, fetched when needed, never printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warehouse.errors import TapewatchError

_revealed: set[str] = set()
"""What this process has fetched: the log masks these values wherever they turn up."""
SHORTEST_MASKED = 6


def masked(text: str) -> str:
    """`text` with every secret this process has fetched replaced by stars."""
    for value in _revealed:
        text = text.replace(value, "***")
    return text


class SecretError(TapewatchError):
    """A secret that the configuration refers to is not there."""


@dataclass(frozen=True)
class Secret:
    """A value that is fetched when it is needed and never printed; empty where none was configured."""

    reference: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)
    base: Path = field(default=Path(), repr=False, compare=False)

    def reveal(self) -> str:
        """The secret itself; raises SecretError that names the variable or the file."""
        value = self._fetched()
        if len(value) >= SHORTEST_MASKED:
            _revealed.add(value)
        return value

    def _fetched(self) -> str:
        kind, _, where = self.reference.partition(":")
        if kind == "env":
            if not self.environ.get(where):
                raise SecretError(f"secret env:{where}: {where} is not set; set it, or put it into .env")
            return self.environ[where]
        if kind == "file" and not where.startswith("//"):
            return self._read(self.base / Path(where).expanduser())
        return self.reference

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(f"secret file:{path}: {error}; write the secret into that file") from None

    def __getstate__(self) -> dict[str, object]:
        """A copy that travels carries no environment along; it looks into that of its new process."""
        return {"reference": self.reference, "base": self.base}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, environ=os.environ)

    def __bool__(self) -> bool:
        return bool(self.reference)

    def __str__(self) -> str:
        """The reference where it is one, else stars."""
        is_reference = self.reference.startswith(("env:", "file:"))
        return self.reference if is_reference or not self.reference else "***"

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"
