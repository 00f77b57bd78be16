"""Fixtures every room's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TAPEWATCH_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded market data at {folder}; set TAPEWATCH_SHARED")
    return folder
