"""The rooms keep apart: who may import what, and which names we own."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capabilities import REPOSITORY

ROOMS = ("flows", "pipelines", "warehouse", "reports")
ONLY_IN = {
    "prefect": ("flows/",),
    "duckdb": ("flows/", "pipelines/", "reports/", "warehouse/"),
    "httpx": ("pipelines/sources/", "pipelines/replica/", "reports/notify/"),
    "websockets": ("pipelines/sources/", "pipelines/replica/", "reports/notify/"),
    "statsmodels": ("pipelines/analytics/",),
    "great_expectations": ("pipelines/quality/expectations.py",),
    "jinja2": ("reports/",),
    "exchange_calendars": ("pipelines/sessions.py",),
}

STRANGE = ("/root/", "/work/", r"index-url +[a-z]+:", r"https?://[^ ]*/simple")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_in_its_rooms(library: str):
    files = [path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")]
    strangers = [
        str(path.relative_to(REPOSITORY))
        for path in files
        if library in _imports(path) and not str(path.relative_to(REPOSITORY)).startswith(ONLY_IN[library])
    ]
    assert strangers == []


def test_only_the_warehouse_opens_connections():
    openers = [
        str(path.relative_to(REPOSITORY))
        for room in ("flows", "pipelines", "reports")
        for path in (REPOSITORY / room).rglob("*.py")
        if "duckdb.connect(" in path.read_text()
    ]
    assert openers == []


def test_no_import_stands_inside_a_function():
    found = []
    for room in ROOMS:
        for path in (REPOSITORY / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
                    found += [f"{path.relative_to(REPOSITORY)}:{n.lineno}" for n in inner]
    assert found == []


def test_the_minute_never_loads_what_is_heavy():
    heavy = {"statsmodels", "great_expectations", "exchange_calendars", "pandas", "scipy"}
    code = (
        "import sys; sys.modules['pandas'] = None; import flows.minute; "
        f"print({heavy!r} & {{name for name, module in sys.modules.items() if module is not None}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_nobody_else_installs_our_four_names():
    owners = importlib.metadata.packages_distributions()
    assert {room: set(owners.get(room, ["tapewatch"])) for room in ROOMS} == {
        room: {"tapewatch"} for room in ROOMS
    }


def test_no_commit_names_a_machine_or_a_package_index():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    offending = []
    for name in tracked.split():
        path = REPOSITORY / name
        if path.suffix not in (".png",) and path.is_file() and name != "tests/test_houses.py":
            text = path.read_text(errors="replace")
            offending += [name for word in STRANGE if re.search(word, text)]
    assert "uv.lock" not in tracked.split()
    assert offending == []


def test_the_lock_pins_every_package_with_hashes_and_names_no_address():
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(pinned) > 100
    assert all("==" in line for line in pinned)
    assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)
    assert [line for line in lines if "://" in line] == []
