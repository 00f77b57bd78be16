"""Templates to bytes: one environment, compiled once a process, everything from outside escaped."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from reports.pages.shapes import spark
from reports.pages.shell import Page, context
from reports.snapshot import Snapshot
from reports.text import FILTERS

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
ASSETS = HERE / "assets"
LIBRARY_SHA256 = "c0992580867c4912cc9385b3c2728315bcc1a76c7f1087dca908430fccdf31d7"


def inline_json(value: Any) -> Markup:
    """JSON for a script element: no `<`, `>` or `&`, so that no text can close the element."""
    text = orjson.dumps(value).decode()
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


@cache
def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    env.filters.update(FILTERS, inline_json=inline_json, spark=spark)
    return env


def keep_compiled(folder: Path) -> None:
    """Keeps compiled templates below `folder` for the processes to come, which spend a sixth of their CPU on them.

    They lie in a folder named after everything that they are made from; those of other versions go.
    """
    place = folder / f"{version()}-{version_of('jinja2')}"
    if not place.exists():
        place.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other != place:
                shutil.rmtree(other, ignore_errors=True)
    environment().bytecode_cache = _Kept(str(place))


class _Kept(FileSystemBytecodeCache):
    """Compiled templates on disk; what cannot be kept, on a full disk or in a folder that is gone, is compiled again."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


def html(page: Page, snap: Snapshot) -> bytes:
    return environment().get_template(page.template).render(context(page, snap, version())).encode()


@cache
def assets() -> dict[str, bytes]:
    """Our own assets, and lightweight-charts out of the installed `lwcharts`: path -> content."""
    files = {f"assets/{path.name}": path.read_bytes() for path in sorted(ASSETS.iterdir()) if path.is_file()}
    files["assets/lightweight-charts.js"] = library()
    return files


@cache
def library() -> bytes:
    """lightweight-charts' JavaScript with its licence banner; found without importing the package (1.1 s of pandas)."""
    spec = importlib.util.find_spec("lwcharts")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "lightweight-charts is missing: package `lwcharts` is not installed; run `make setup`"
        )
    vendor = Path(spec.submodule_search_locations[0], "vendor")
    return (vendor / "lightweight-charts.standalone.production.js").read_bytes()


@cache
def version() -> str:
    """Changes with any template, asset or line of this room: then every page is written anew."""
    digest = blake2b(digest_size=5)
    for folder, pattern in ((TEMPLATES, "*.html"), (ASSETS, "*"), (HERE, "**/*.py")):
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()
