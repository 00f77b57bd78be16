"""A stopped replica at noon in New York, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from pipelines.replica.server import Replica

NOON = datetime(2026, 7, 8, 16, 0, 30, tzinfo=UTC)  # a Wednesday, New York is at 12:00:30
NOON_MS = int(NOON.timestamp() * 1000)
MINUTE_MS = 60_000


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOON, speed=0) as running:
        yield running


@pytest.fixture
def client(replica: Replica) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=replica.url, timeout=10) as one:
        yield one
