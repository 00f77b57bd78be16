"""The little file server: right types, fresh answers, nothing but the site's own files."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from flows.site_server import address, open_server
from warehouse.errors import TapewatchError

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "api").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>now</h1>")
    (folder / "api" / "pulse.json").write_text("{}")
    (folder / "metrics.prom").write_text("up 1\n")
    (tmp_path / "secret.txt").write_text("no")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def port(site: Path) -> Iterator[int]:
    with open_server(site, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def get(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_pages_and_data_have_their_types(port: int) -> None:
    status, headers, body = get(port, "/?refresh=1")
    assert (status, headers["content-type"], body) == (200, "text/html; charset=utf-8", b"<h1>now</h1>")
    assert headers["cache-control"] == "no-cache"
    assert get(port, "/api/pulse.json")[1]["cache-control"] == "no-store"
    assert get(port, "/metrics.prom")[1]["content-type"].startswith("text/plain; version=0.0.4")
    assert get(port, "/index.html", "HEAD")[1]["content-length"] == "12"


def test_an_unchanged_page_is_not_sent_again(port: int, site: Path) -> None:
    tag = get(port, "/")[1]["etag"]
    assert get(port, "/", **{"If-None-Match": tag})[0] == 304
    (site / "index.html").write_text("<h1>a minute later</h1>")
    assert get(port, "/", **{"If-None-Match": tag})[::2] == (200, b"<h1>a minute later</h1>")


@pytest.mark.parametrize(
    "path", ["/absent.html", "/../secret.txt", "/%2e%2e/secret.txt", "/out.txt", "/api/"]
)
def test_what_is_no_page_of_the_site_is_not_found(port: int, path: str) -> None:
    status, _, body = get(port, path)
    assert status == 404
    assert b"secret" not in body


def test_nobody_can_write(port: int) -> None:
    assert get(port, "/index.html", "POST")[0] == 501


def test_a_taken_port_is_left_for_the_next(site: Path) -> None:
    with open_server(site, "127.0.0.1", 0) as first:
        taken = first.server_address[1]
        with open_server(site, "127.0.0.1", taken) as second:
            assert second.server_address[1] > taken
            assert address(second) == f"http://127.0.0.1:{second.server_address[1]}/"


def test_a_foreign_host_is_told(site: Path) -> None:
    with pytest.raises(TapewatchError, match=r"cannot listen on 203\.0\.113\.1:8787"):
        open_server(site, "203.0.113.1", 8787)
