"""The little file server that shows the site on loopback: files only, fresh at every look."""

from __future__ import annotations

import errno
import logging
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from warehouse.errors import TapewatchError

log = logging.getLogger(__name__)
PORTS_TRIED = 20


class SiteHandler(SimpleHTTPRequestHandler):
    """GET and HEAD of files below one folder; an unchanged file is answered with 304."""

    server_version = "tapewatch"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30
    extensions_map = {  # noqa: RUF012 - as the base class has it
        "": "application/octet-stream",
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".csv": "text/csv; charset=utf-8",
        ".xml": "application/atom+xml; charset=utf-8",
        ".txt": "text/plain; charset=utf-8",
        ".eml": "message/rfc822",
        ".prom": "text/plain; version=0.0.4; charset=utf-8",
        ".parquet": "application/vnd.apache.parquet",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".ico": "image/x-icon",
        ".zip": "application/zip",
    }

    def send_head(self) -> IO[bytes] | None:  # type: ignore[override]
        """The file with its ETag; 304 where the reader has it, 404 for what is no file of the site."""
        if urlsplit(self.path).path.endswith("/"):
            split = urlsplit(self.path)
            self.path = split._replace(path=split.path + "index.html").geturl()
        path = Path(self.translate_path(self.path))
        if path.is_dir() and (path / "index.html").is_file():
            self._moved()
            return None
        try:
            handle = path.open("rb") if self._is_ours(path) else None
        except OSError:
            handle = None
        if handle is None:
            self.send_error(HTTPStatus.NOT_FOUND, "No such page")
            return None
        status = path.stat()
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if etag in self.headers.get("If-None-Match", ""):
            handle.close()
            self._begin(HTTPStatus.NOT_MODIFIED, path, etag)
            self.end_headers()
            return None
        self._begin(HTTPStatus.OK, path, etag)
        self.send_header("Content-Length", str(status.st_size))
        self.end_headers()
        return handle

    def _is_ours(self, path: Path) -> bool:
        """Whether the file lies below the site, links followed."""
        return path.resolve().is_relative_to(Path(self.directory).resolve())

    def _moved(self) -> None:
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self.send_header("Location", urlsplit(self.path).path + "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _begin(self, status: HTTPStatus, path: Path, etag: str) -> None:
        is_live = path.name in ("pulse.json", "latest.js", "latest.json")
        self.send_response(status)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("ETag", etag)
        self.send_header("Cache-Control", "no-store" if is_live else "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")

    def list_directory(self, path: object) -> None:
        self.send_error(HTTPStatus.NOT_FOUND, "No such page")

    def log_message(self, format: str, *args: object) -> None:
        log.debug("site: %s", format % args)


def open_server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server for `folder`, not yet serving, on `port` or the next free one (0 = any).

    Raises TapewatchError where none of the next ports is free or the host is not this machine's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handler = partial(SiteHandler, directory=str(folder))
    for candidate in range(port, port + PORTS_TRIED if port else 1):
        try:
            server = ThreadingHTTPServer((host, candidate), handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise TapewatchError(
                f"site: cannot listen on {host}:{candidate}: {error.strerror}; see [site]"
            ) from None
        server.daemon_threads = True
        return server
    last = port + PORTS_TRIED - 1
    raise TapewatchError(f"site: ports {port} to {last} on {host} are all taken; set [site] port or --port")


def address(server: ThreadingHTTPServer) -> str:
    """Where a browser finds the server."""
    host, port = server.server_address[:2]
    return f"http://{str(host) if host != '0.0.0.0' else '127.0.0.1'}:{port}/"
