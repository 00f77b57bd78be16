"""A filled lake, the site rendered from it, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest

from reports.options import RuleInForce, SiteOptions
from reports.site import publish
from tests.lakes import copied
from tests.once import made_once
from tests.site import market
from warehouse.connect import Location, connect

CHROMIUM = next(
    (path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None
)
RULES = (RuleInForce("price-from-mean", "abs(dev_20_pct) > 5", "1m to 1h", "critical"), RuleInForce("volume", "volume_ratio > 3", "15m", "medium"))  # fmt: skip


def options(**changes: Any) -> SiteOptions:
    """A render at the market's own time; `later=timedelta` moves both clocks."""
    later = changes.pop("later", timedelta(0))
    usual: dict[str, Any] = {
        "now": market.NOW + later,
        "simulated": True,
        "run_id": "calm-otter",
        "rules": RULES,
    }
    return SiteOptions(**{**usual, "prefect_url": "http://127.0.0.1:4200", **changes})


def made(folder: Path, **market_of: Any) -> None:
    """`folder/lake`, closed, and `folder/site`, rendered from it, with a digest that was sent."""
    con, location = market.open_lake(folder / "lake")
    market.fill(con, location, **market_of)
    (folder / "site" / "digests").mkdir(parents=True)
    (folder / "site" / "digests" / "2026-11-20T1500Z.html").write_text(
        "<!doctype html><title>Digest</title><p>as sent</p>"
    )
    publish(con, folder / "site", options(), "full")
    con.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on loopback, as `python -m http.server` gives it; yields the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def three_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "three-days", partial(made, days=3))


@pytest.fixture(scope="session")
def one_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "one-day", partial(made, days=1, with_pairs=False))


@pytest.fixture(scope="session")
def lake(
    three_days: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Location]]:
    """The synthetic market; read-only by convention: tests that write take `own_lake`."""
    location = copied(three_days / "lake", tmp_path_factory.mktemp("market") / "lake")
    con = connect(location)
    yield con, location
    con.close()


@pytest.fixture(scope="session")
def site(three_days: Path) -> Path:
    """The whole site, rendered once; not to be changed."""
    return three_days / "site"


@pytest.fixture
def site_copy(site: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(site, tmp_path / "site"))


@pytest.fixture
def own_site(one_day: Path, tmp_path: Path) -> Path:
    """The whole site of `own_lake`, which a test may change."""
    return Path(shutil.copytree(one_day / "site", tmp_path / "site"))


@pytest.fixture
def own_lake(one_day: Path, tmp_path: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Location]]:
    """A smaller lake that a test may change."""
    location = copied(one_day / "lake", tmp_path / "lake")
    con = connect(location)
    yield con, location
    con.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser; skipped where there is none unless TAPEWATCH_REQUIRE_BROWSER=1.

    No longer than a module: while playwright's loop lives in this thread, no other test can run one of its own.
    """
    if CHROMIUM is None:
        reason = "no Chromium at /usr/bin/chromium: apt-get install chromium"
        if os.environ.get("TAPEWATCH_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    api = pytest.importorskip("playwright.sync_api")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page of a site folder in a browser whose clock stands at the render; notes what it must not do."""
    contexts = []

    def open_page(
        folder: Path, path: str, *, width: int = 1440, scheme: str = "dark", later_s: float = 4, **more: Any
    ) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("console", lambda m: page.faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else page.faults.append(r.url),
        )
        page.clock.install(time=market.NOW.timestamp() + later_s)
        page.goto(f"file://{folder / path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
