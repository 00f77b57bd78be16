"""`python -m tests.bench.trade_server COUNT RATE`: a websocket that sends COUNT aggregated trades to each client.

RATE is trades a second, 0 as fast as the client takes them. Each trade's `E` is when it was sent, in epoch us.
"""

from __future__ import annotations

import asyncio
import sys
import time

from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import OP_TEXT, Frame

from flows.processes import die_with_parent

BLOB = 500
BACKLOG_BYTES = 4 << 20
TURN_S = 0.005


def blob(first: int, count: int) -> bytes:
    """The frames of some trades, as they go over the wire."""
    now = time.time_ns() // 1000
    return b"".join(
        Frame(
            OP_TEXT,
            b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":%d,"s":"BTCUSDT","a":%d,"p":"64231.%04d0000",'
            b'"q":"0.00%03d000","f":%d,"l":%d,"T":%d,"m":%b,"M":true}}'
            % (now, a, a % 10_000, a % 999 + 1, a, a, 1_767_225_600_000 + a // 10, b"true" if a % 2 else b"false"),
        ).serialize(mask=False)
        for a in range(first, first + count)
    )  # fmt: skip


async def main(count: int, rate: int) -> None:
    ready = [blob(first, min(BLOB, count - first)) for first in range(0, count, BLOB)] if not rate else []

    async def flood(socket: ServerConnection) -> None:
        for one in ready:
            socket.transport.write(one)
            while socket.transport.get_write_buffer_size() > BACKLOG_BYTES:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
        await socket.wait_closed()

    async def pace(socket: ServerConnection) -> None:
        began, sent = time.monotonic(), 0
        while sent < count:
            due = min(int((time.monotonic() - began) * rate), count)
            if due > sent:
                socket.transport.write(blob(sent, due - sent))
                sent = due
            await asyncio.sleep(TURN_S)
        await socket.wait_closed()

    async with serve(pace if rate else flood, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
