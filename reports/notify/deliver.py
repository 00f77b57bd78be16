"""Drains the outbox: claims, renders, sends, records; at least once, with the same id at every try.

A failed try comes again after 5 s x 2^n with jitter, at most an hour, or when the other side said; after 8
tries or 24 hours the message is dead and waits for `tapewatch alerts resend`. Secrets stay out of errors and
logs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import jinja2

from reports.notify.channel import ChannelError, Dead, Envelope, Outcome, Retry, Sent, redacted
from reports.notify.channels import Sender
from reports.notify.render import render
from warehouse.connect import Location, transaction
from warehouse.outbox import LEASE, Change, Entry, claim, due, record

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 3600.0
TRIES = 8
LIFETIME = timedelta(hours=24)

Clock = Callable[[], datetime]
_WIRE_LOGS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "apprise")


@dataclass
class Drained:
    """What became of the messages of one drain."""

    sent: int = 0
    retried: int = 0
    dead: int = 0


def drain(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    senders: Mapping[str, Sender],
    clock: Clock,
    jitter: Callable[[], float],
    run_id: str | None = None,
    batch: int = 10,
) -> Drained:
    """Sends everything that is due at the clock's time when it starts; what fails waits for a later drain.

    clock: aware UTC, the wall's.  jitter: a number in [0, 1), such as `random.random`.
    """
    drained, until = Drained(), clock()
    while entries := _claim(con, location, until, clock, batch, run_id):
        changes: list[Change] = []
        try:
            with _quiet_wires(secrets_of(senders)):
                for entry in entries:
                    outcome = attempt(entry, senders, clock())
                    changes.append(after(entry, outcome, clock(), jitter()))
                    _count(drained, changes[-1])
        finally:
            # Also when the drain is stopped midway: what was sent must not be sent again.
            with transaction(con, location):
                record(con, changes, clock(), run_id)
    if drained.sent or drained.retried or drained.dead:
        logger.info("outbox sent=%d retried=%d dead=%d", drained.sent, drained.retried, drained.dead)
    return drained


def attempt(entry: Entry, senders: Mapping[str, Sender], now: datetime) -> Outcome:
    """One try; its reason is free of every channel's secrets."""
    sender = senders.get(entry.channel)
    if sender is None:
        return Dead(f"no channel is called {entry.channel}; configured are {', '.join(sorted(senders))}")
    try:
        message = render(
            entry.facts, sender.site, now - entry.created_at, refused=entry.last_error is not None
        )
    except (KeyError, TypeError, ValueError, jinja2.TemplateError) as error:
        return Dead(f"the message cannot be rendered: {type(error).__name__}: {error}")
    outcome: Outcome
    try:
        outcome = sender.channel.send(Envelope(entry.id, entry.created_at, now, entry.group_key), message)
    except ChannelError as error:
        outcome = Retry(str(error))
    except Exception as error:  # noqa: BLE001 - one channel's fault must not keep the others' messages
        outcome = Retry(f"{type(error).__name__}: {error}")
    return _without_secrets(outcome, secrets_of([sender]))


def after(entry: Entry, outcome: Outcome, now: datetime, jitter: float) -> Change:
    """What to record of a try that ended with `outcome`; `entry.attempts` counts it already."""
    if isinstance(outcome, Sent):
        return Change(entry, "sent")
    if isinstance(outcome, Dead):
        return Change(entry, "dead", outcome.reason)
    asked = backoff_s(entry.attempts, jitter) if outcome.after is None else max(1.0, outcome.after)
    wait = timedelta(seconds=asked)
    if entry.attempts >= TRIES:
        return Change(entry, "dead", f"gave up after {entry.attempts} tries: {outcome.reason}")
    if now + wait - entry.queued_at > LIFETIME:
        return Change(entry, "dead", f"gave up after 24 h and {entry.attempts} tries: {outcome.reason}")
    return Change(entry, "queued", outcome.reason, now + wait)


def backoff_s(attempts: int, jitter: float) -> float:
    """5 s, 10 s, 20 s, ... after the 1st, 2nd, 3rd try, up to a quarter longer, an hour at most."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (attempts - 1) * (1 + jitter / 4))


def secrets_of(senders: Iterable[Sender] | Mapping[str, Sender]) -> list[str]:
    """Every secret value that the channels know now."""
    known = senders.values() if isinstance(senders, Mapping) else senders
    return [secret for sender in known for secret in sender.channel.config.secrets()]


def _claim(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    until: datetime,
    clock: Clock,
    batch: int,
    run_id: str | None,
) -> list[Entry]:
    """The next batch of what was due at `until`; looked for before the writer's lock is taken."""
    if not due(con, until, limit=1):
        return []
    with transaction(con, location):
        return claim(con, until, lease=clock() - until + LEASE, limit=batch, run_id=run_id)


def _count(drained: Drained, change: Change) -> None:
    drained.sent += change.state == "sent"
    drained.retried += change.state == "queued"
    drained.dead += change.state == "dead"
    if change.state != "sent":
        entry = change.entry
        logger.warning("%s to %s: %s (%s)", entry.id, entry.channel, change.state, change.last_error)


def _without_secrets(outcome: Outcome, secrets: list[str]) -> Outcome:
    match outcome:
        case Retry(reason=reason, after=seconds):
            return Retry(redacted(reason, secrets)[:500], seconds)
        case Dead(reason=reason):
            return Dead(redacted(reason, secrets)[:500])
    return outcome


@contextmanager
def _quiet_wires(secrets: list[str]) -> Iterator[None]:
    """While it lasts, the wire's libraries log without the secrets: httpx logs each address it posts to."""
    veil = _Veil(secrets)
    loggers = [logging.getLogger(name) for name in _WIRE_LOGS]
    for each in loggers:
        each.addFilter(veil)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(veil)


class _Veil(logging.Filter):
    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self.secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage(), self.secrets), ()
        return True
