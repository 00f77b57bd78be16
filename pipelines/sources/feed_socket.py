"""A websocket that hands over whole messages in batches: at 100,000 a second one coroutine step each is too much.

Everything else (TLS, proxies, handshake, answering pings, closing) is the library's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Response

MOST_BYTES = 1 << 20
"""A longer message ends the connection before it is read; trades have some 200 bytes."""
Land = Callable[[int, Sequence[bytes]], object]
"""Takes the epoch microseconds at which the first frame of a batch was received, and the frames."""


@dataclass(frozen=True)
class Batching:
    """How long messages wait for company, and how many bytes of them at most."""

    linger_s: float = 0.01
    most_bytes: int = 256 << 10


class FeedSocket(ClientConnection):
    """A client connection whose messages go to `land`, batch by batch."""

    land: Land
    batching = Batching()
    farewell: bytes | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.frames_heard = 0
        self.bytes_heard = 0
        self.heard_at = time.monotonic()
        self.first_heard = asyncio.Event()
        self.says_farewell = False
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._batch_us = 0
        self._parts: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def process_event(self, event: Frame | Response) -> None:  # type: ignore[override]
        """Data frames are ours, all others the library's."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if self._parts or not event.fin:
            self._parts.append(bytes(event.data))
            if not event.fin:
                return
            data, self._parts = b"".join(self._parts), []
        else:
            data = bytes(event.data)
        if not self._batch:
            self._batch_us = time.time_ns() // 1000
            self._timer = self.loop.call_later(self.batching.linger_s, self.flush)
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= self.batching.most_bytes:
            self.flush()

    def flush(self) -> None:
        """What has been received goes to be landed."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        self.frames_heard += len(batch)
        self.bytes_heard += self._batch_bytes
        self._batch_bytes = 0
        self.heard_at = time.monotonic()
        self.first_heard.set()
        if self.farewell and any(self.farewell in frame for frame in batch):
            self.says_farewell = True
        self.land(self._batch_us, batch)

    def connection_lost(self, exc: Exception | None) -> None:
        self.flush()
        super().connection_lost(exc)


async def dial(
    address: str, land: Land, batching: Batching, farewell: bytes | None, timeout_s: float = 10.0
) -> FeedSocket:
    """An open connection whose messages are landed from now on.

    Raises what `websockets` raises: InvalidStatus with the venue's answer, OSError, TimeoutError.
    """

    def make(*args: Any, **kwargs: Any) -> FeedSocket:
        made = FeedSocket(*args, **kwargs)
        made.land, made.batching, made.farewell = land, batching, farewell
        return made

    connection = await connect(
        address,
        create_connection=cast(type[ClientConnection], make),
        compression=None,
        max_size=MOST_BYTES,
        ping_interval=None,
        open_timeout=timeout_s,
        close_timeout=1,
    )
    assert isinstance(connection, FeedSocket)
    return connection
