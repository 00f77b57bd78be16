"""The site's folder: files replaced whole, only when they changed, and a manifest of what lies there.

A reader sees the old file or the new one, never half of one: bytes go to a temporary name in the same
folder and are renamed. What is already there with the same content is left alone, so that a mirror,
a cache or a browser sees only what changed.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import duckdb
import orjson

from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
KEY = "\x02key\x03"
STAMP = "\x02stamp\x03"


class UnmadeError(TapewatchError):
    """Parts of the site that could not be made; the others were."""


class Shelf:
    """A site folder opened for one render; `close()` writes the manifest.

    `state` survives between renders in the manifest: what a render must remember to stay cheap.
    """

    def __init__(self, folder: Path, stamp: str = "") -> None:
        self.folder = folder
        self.stamp = stamp.encode()
        self.written: list[str] = []
        self.unchanged = 0
        self.unmade: dict[str, str] = {}
        """What could not be made -> why; it stays as it was."""
        kept = _read_json(folder / MANIFEST)
        self.files: dict[str, str] = kept.get("files", {})
        self.keys: dict[str, list[Any]] = kept.get("keys", {})
        self.state: dict[str, Any] = kept.get("state", {})

    def __contains__(self, path: str) -> bool:
        return self._size(path) is not None

    def key(self, path: str) -> str:
        """A short hash of what a page says, without the stamp of when it was written."""
        return str(self.keys[path][0])[:12] if path in self.keys else ""

    def put(self, path: str, body: bytes) -> bool:
        """Writes the file unless it says the same already; True if it was written.

        In `body` the marker KEY becomes the page's own key and STAMP the time of writing; neither counts
        as a change.
        """
        digest = blake2b(body, digest_size=16).hexdigest()
        known = self.keys.get(path)
        if known and known[0] == digest and self._size(path) == known[1]:
            self.unchanged += 1
            return False
        body = body.replace(KEY.encode(), digest[:12].encode()).replace(STAMP.encode(), self.stamp)
        _replace(self.folder / path, body)
        self.files[path] = sha256(body).hexdigest()
        self.keys[path] = [digest, len(body)]
        self.written.append(path)
        return True

    @contextmanager
    def going_on(self, part: str) -> Iterator[None]:
        """One part of the site: where it cannot be made the others are, and `refuse` tells in the end.

        What the disk or the warehouse raises is raised: every other part would meet it too.
        """
        try:
            yield
        except (OSError, duckdb.Error):
            raise
        except Exception as error:
            log.exception("%s could not be made", part)
            self.unmade[part] = f"{type(error).__name__}: {error}"

    def refuse(self) -> None:
        """Raises UnmadeError where some part could not be made."""
        if self.unmade:
            parts = "; ".join(f"{part}: {why}" for part, why in list(self.unmade.items())[:5])
            more = f" and {len(self.unmade) - 5} more" if len(self.unmade) > 5 else ""
            raise UnmadeError(
                f"parts of the site stay as they were, the rest is new: {parts}{more}; please report it, with the log"
            )

    def adopt(self, folder: str) -> list[os.DirEntry[str]]:
        """Takes files that others wrote below the site into the manifest; gives them newest name first."""
        found = self.folder / folder
        entries = (
            [e for e in os.scandir(found) if e.is_file() and not e.name.startswith(".")]
            if found.is_dir()
            else []
        )
        for entry in entries:
            path, seen = f"{folder}/{entry.name}", entry.stat()
            mine = len(self.keys.get(path, ())) == 2
            if not mine and self.keys.get(path) != ["adopted", seen.st_size, seen.st_mtime_ns]:
                self.files[path] = sha256(Path(entry.path).read_bytes()).hexdigest()
                self.keys[path] = ["adopted", seen.st_size, seen.st_mtime_ns]
        return sorted(entries, key=lambda e: e.name, reverse=True)

    def drop(self, paths: Iterable[str]) -> int:
        """Removes files whose subject is gone."""
        gone = list(paths)
        for path in gone:
            with suppress(FileNotFoundError):
                os.unlink(self.folder / path)
            self.files.pop(path, None)
            self.keys.pop(path, None)
        return len(gone)

    def sweep(self) -> None:
        """Removes temporary files that a killed render left."""
        for leftover in self.folder.rglob(".*.tmp"):
            with suppress(FileNotFoundError):
                leftover.unlink()

    def close(self, last: Iterable[tuple[str, bytes]] = ()) -> None:
        """Writes the manifest, then the files that tell readers of the new render (the pulse)."""
        last = list(last)
        for path, body in last:
            self.files[path] = sha256(body).hexdigest()
        catalogue = {
            "algorithm": "sha256",
            "files": self.files,
            "keys": self.keys,
            "state": self.state,
        }
        _replace(self.folder / MANIFEST, orjson.dumps(catalogue))
        for path, body in last:
            _replace(self.folder / path, body)
            self.written.append(path)

    def _size(self, path: str) -> int | None:
        try:
            return os.stat(self.folder / path).st_size
        except OSError:
            return None


@contextmanager
def one_render_at_a_time(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; a second render waits, and a killed one leaves nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, body: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(body)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(body)
    os.replace(temporary, path)


def _read_json(path: Path) -> dict[str, Any]:
    """The manifest, or nothing where there is none or it cannot be read (the site is then written anew)."""
    try:
        kept = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return kept if isinstance(kept, dict) else {}
