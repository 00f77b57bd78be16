"""Fixtures every room's tests use."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from warehouse import connect

gc.disable()  # while the tests are imported; what is imported stays

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

MEMORY, ROOM = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    # The product waits for the disk at every commit; the tests' folders lie in memory, where that takes no time.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

connect.THREADS = "SET threads = 1"  # a test's rows are few, and its threads would wait for each other only

REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST = (
    "flows/test_platform.py", "flows/test_recorded_platform.py", "chaos/test_chaos.py", "cli/test_platform.py",
    "test_derive_incremental.py", "test_ingest.py", "flows/test_heal.py", "site/test_publish.py", "test_windows.py",
    "test_history.py", "site/test_browser.py", "test_bad_input.py", "warehouse/test_transactions.py",
    "test_recorded_market.py", "flows/test_pairs.py", "recent/test_past.py",
)  # fmt: skip
"""They begin first: a file that begins last and takes a minute would keep the other workers waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {str(Path(__file__).parent / name): rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TAPEWATCH_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded market data at {folder}; set TAPEWATCH_SHARED")
    return folder
