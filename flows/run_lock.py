"""One platform a data folder: a lock that the kernel frees when its holder is gone."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from warehouse.errors import TapewatchError


class RunLock:
    """Held while a platform runs; TapewatchError names the process that holds it already."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> RunLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self.handle, 20).decode() or "?"
            os.close(self.handle)
            raise TapewatchError(
                f"a platform is running already on {self.path.parent.parent} (process {holder.strip()}); "
                "stop it with `tapewatch down`"
            ) from None
        os.ftruncate(self.handle, 0)
        os.write(self.handle, str(os.getpid()).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self.handle, 0)
        os.close(self.handle)


def holder_of(path: Path) -> int | None:
    """The process that holds the lock, None if nobody does."""
    if not path.exists():
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.read(handle, 20).decode().strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(handle)
    return None
