"""What every source is: it asks for bars, hands over the venue's own bytes, and reads them into frames.

Errors a single call can raise, by what the caller can do about them:

    SourceError              the venue cannot be asked or said no; the message holds its own words
    ├── RateLimited          429 or 418: wait `retry_after_s`, the whole source is paused until then
    └── SourceBlocked        403 or 451: waiting does not help; use another host, source or place

`fetch` and `parse` take many requests at once and never raise for one of them: each that fails is a
`Failure` beside the others' bars. `reason` is one of

    timeout connection server_error      the venue did not answer properly; retried, worth another try
    rate_limited blocked circuit_open    the source is paused for all symbols; see `retry_after_s`
    rate_budget time_budget              not asked, to keep within the weight or the time allowed
    unknown_symbol refused               the venue answered that it will not serve this request
    unauthorized                         the key is missing, wrong or unknown to the venue
    not_json wrong_shape                 the answer is not the documented message; it is a reject too
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import polars as pl

from pipelines.market import utc

Clock = Callable[[], datetime]

REJECT_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "symbol": pl.String(),
    "ts": pl.Datetime("us"),
    "reason": pl.String(),
    "detail": pl.String(),
    "payload": pl.String(),
}
"""What could not be read, one row or reply a row: `payload` as received, `ts` null where it had none."""


class SourceError(Exception):
    """A venue could not be asked, or said no."""


class RateLimited(SourceError):  # noqa: N818
    """The venue asked for a pause of `retry_after_s` seconds for everything sent to it."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceBlocked(SourceError):  # noqa: N818
    """The venue does not serve this address or place."""


@dataclass(frozen=True)
class BarRequest:
    """One-minute bars of `symbol` with `since` <= ts < `until`; the symbol in any case, times in UTC."""

    symbol: str
    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", self.symbol.strip().upper())
        object.__setattr__(self, "since", utc(self.since))
        object.__setattr__(self, "until", utc(self.until))


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request received, before anyone reads it; error statuses too."""

    source: str
    symbol: str
    path: str
    params: Mapping[str, str]
    status: int
    body: bytes
    received_at: datetime
    """Aware UTC, by this machine's clock."""
    latency_ms: float
    """From sending the request to the last byte of the body."""
    server_time: datetime | None = None
    """The venue's own clock by the `Date` header, whole seconds."""
    retry_after_s: float | None = None
    since: datetime | None = None
    """Rows before it were asked for only because the venue needs it, and are not wanted."""
    until: datetime | None = None
    """Rows from it on came only because the venue sends more than was asked for, and are not wanted."""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are written as `\\xNN`."""
        return self.body.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that gave no bars; `detail` names source, symbol and the venue's own words."""

    symbol: str
    reason: str
    detail: str
    retry_after_s: float | None = None
    retryable: bool = True


class FetchResult(NamedTuple):
    """`failures` are the requests that received nothing; what an error reply means is said by `parse`."""

    replies: list[Reply]
    failures: list[Failure]


Quiet = Literal["shown", "nulled", "absent"]
"""How an answer tells a minute without a trade: by a row of volume 0, by a row of nulls, or by leaving it out."""
NO_MINUTES = pl.DataFrame(schema={"symbol": pl.String(), "ts": pl.Datetime("us")})


class Parsed(NamedTuple):
    """bars: BAR_SCHEMA, sorted by symbol, ts, one row each; rejects: REJECT_SCHEMA.

    silent: symbol, ts (naive UTC) of the minutes that were listed without any value, where quiet is `nulled`.
    """

    bars: pl.DataFrame
    rejects: pl.DataFrame
    failures: list[Failure]
    silent: pl.DataFrame = NO_MINUTES


@dataclass(frozen=True)
class SourceOptions:
    """How an adapter is set up; None means the venue's own default."""

    base_url: str | None = None
    connections: int | None = None
    """Requests under way at once, each on its own kept-alive connection."""
    timeout_s: float = 5.0
    """For one request, from connecting to the last byte."""
    total_s: float = 20.0
    """For one `fetch` of any number of requests, with all retries and waits."""
    attempts: int = 3
    weight_share: float = 0.8
    """Part of the venue's weight limit that is used at most."""
    weight_limit: int | None = None
    """Per minute; None is the venue's published one."""
    state_path: Path | None = None
    """Small JSON file through which a pause asked for by the venue outlives this process."""
    key: str = field(default="", repr=False)
    """The venue's API key, where it needs one."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Adapter-specific settings."""


class Source(Protocol):
    """One venue's dialect turned into our bars."""

    name: str
    calendar: str
    """Trading hours where the configuration names none: `24/7` or an exchange code such as `XNYS`."""
    quiet: Quiet
    """What a minute without a trade looks like; one that is absent from an answer is missing elsewhere."""

    def server_time(self) -> datetime:
        """The venue's clock, aware UTC; raises SourceError."""
        ...

    def plan(
        self, symbol: str, since: datetime, until: datetime, now: datetime | None = None
    ) -> list[BarRequest]:
        """[since, until) as requests the venue accepts, oldest first; `now` cuts off what it has no more."""
        ...

    def fetch(self, requests: Sequence[BarRequest]) -> FetchResult:
        """The venue's bytes for every request, concurrently, within `total_s`; never raises for a venue."""
        ...

    def parse(self, replies: Sequence[Reply], market_now: datetime) -> Parsed:
        """Bars of all replies in one pass; those not over by `market_now` have `is_closed` false."""
        ...

    def validate(self, symbols: Sequence[str]) -> dict[str, str]:
        """Symbols the venue does not serve, each with what is wrong; SourceError if not to be asked."""
        ...


class SourceFactory(Protocol):
    """What the entry point group `tapewatch.sources` holds: usually the adapter's class."""

    def __call__(self, options: SourceOptions) -> Source: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


def empty_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema=REJECT_SCHEMA)
