"""`tapewatch collect`, `start`, `stop`: the streams, and whether anything is collected at all."""

from __future__ import annotations

import asyncio
import getpass

from flows.chosen import streams_of
from flows.cli.call import Injected
from flows.collect import serve
from flows.collection import status_of, wish
from flows.in_force import settings_in_force
from warehouse.errors import TapewatchError


def collect(*, call: Injected) -> None:
    """Follow the configured streams and land what they say, until Ctrl-C; `tapewatch up` does so by itself.

    Example: tapewatch collect
    """
    settings = settings_in_force(call.settings)
    followed = streams_of(settings)
    if not followed:
        raise TapewatchError("no source streams: write `stream = true` below a [[source]] such as binance")
    for stream, symbols in followed:
        print(f"{stream.name}: {', '.join(symbols)}", flush=True)
    asyncio.run(serve(settings))


def start(*, call: Injected) -> None:
    """Collect again: streams are followed and minutes fetched; what was missed meanwhile is fetched too.

    Example: tapewatch start
    """
    data = settings_in_force(call.settings).data_dir
    print(wish(data, True, _who()).words)
    if status_of(data)["state"] == "absent":
        print(
            "no collector runs: `tapewatch up` starts the platform, `tapewatch collect` the collector alone"
        )


def stop(*, reason: str = "", call: Injected) -> None:
    """Collect nothing until `tapewatch start`: no streams, no fetches. Pages, digests and SQL go on.

    Example: tapewatch stop --reason "venue maintenance"

    Parameters
    ----------
    reason
        Shown wherever the stop is.
    """
    print(wish(settings_in_force(call.settings).data_dir, False, _who(), reason).words)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "the command line"
