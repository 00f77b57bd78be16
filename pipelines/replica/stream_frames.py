"""What goes over a websocket: one message, and the dialects that make them."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Frame(NamedTuple):
    """One message; `symbol` as the tape names it, `trade_id` where it is an aggregated trade."""

    text: str
    symbol: str
    trade_id: int | None = None


class Session(Protocol):
    """One connection as its venue sees it. `now` is the venue's own clock in epoch seconds."""

    def hear(self, text: str) -> str | None:
        """The answer to a client's message; None where the venue does not answer."""
        ...

    def due(self, now: float) -> list[Frame]:
        """What has happened since the last call."""
        ...

    def goodbye(self) -> str | None:
        """What the venue says before it restarts; None where it says nothing."""
        ...


class Dialect(Protocol):
    """A venue's websocket side."""

    name: str

    def open(self, path: str, query: str, now: float) -> Session | None:
        """A session for a path of this venue; None for any other."""
        ...
