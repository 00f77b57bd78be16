"""What has to survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: str | Path) -> None:
    """Returns when a file's bytes, or a folder's names, are on the disk; raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
