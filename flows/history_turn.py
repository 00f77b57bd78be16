"""Whose turn it is to derive history: one at a time, and nobody else while its loader lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.context import Context


@contextmanager
def history_turn(context: Context) -> Iterator[None]:
    """Held while history is loaded and derived, by any number of loaders at once; freed by the kernel at a kill."""
    handle = _open(context)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def is_history_turn_taken(context: Context) -> bool:
    """Whether somebody loads or derives history just now."""
    handle = _open(context)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _open(context: Context) -> int:
    path: Path = context.settings.data_dir / "run" / "history.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
