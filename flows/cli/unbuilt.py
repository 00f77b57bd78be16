"""What is announced and not there yet says so, and never pretends."""

from __future__ import annotations

from typing import NoReturn

from warehouse.errors import TapewatchError


def not_built(what: str) -> NoReturn:
    """Raises TapewatchError that names the missing piece."""
    raise TapewatchError(f"{what}: not built yet in this version; nothing was done")
