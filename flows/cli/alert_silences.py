"""`tapewatch alerts silence|silences|unsilence`: what is kept quiet, until when, and why."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated

from cyclopts import Parameter

from flows import orders
from flows.alerting import rules_of
from flows.cli.call import Injected
from flows.cli.lake import Connection, Row, context_of
from flows.cli.series import every_series, stranger
from flows.cli.tables import print_json, show
from flows.context import Context, reading, writing
from flows.times import deadline
from pipelines.alerts.history import read_orders
from pipelines.alerts.silences import Silence
from warehouse.errors import UsageError

SHOWN = ("id", "match", "state", "until", "reason", "author", "since")


def silence(
    match: str,
    /,
    *,
    reason: str,
    for_: Annotated[str, Parameter(name="--for")] = "1h",
    until: str = "",
    call: Injected,
) -> None:
    """Keep matching alerts quiet for a while, with a reason everybody sees; they still show on the site.

    Example: tapewatch alerts silence "binance:BTC*" --for 2h --reason "exchange maintenance"

    Parameters
    ----------
    match
        A rule, a symbol, source:symbol, a pair or a source, with globs; RULE@SUBJECT for both; or an alert's id,
        which means its rule on its subject.
    reason
        Why.
    for_
        How long, such as 30m, 2h or 1d.
    until
        A time, in place of --for.
    """
    if not match.strip():
        raise UsageError('MATCH: say what is to be quiet, such as "binance:BTC*", or * for everything')
    if not reason.strip():
        raise UsageError("--reason: say why, everybody sees it")
    ends = deadline(until or for_, "--until" if until else "--for", datetime.now(UTC))
    if ends is None:
        raise UsageError(
            "--for: a silence has an end; to be rid of a rule for good, see `tapewatch alerts rm`"
        )
    context = context_of(call)
    with writing(context) as con:
        made = orders.silence(con, context, match, reason, ends, getpass.getuser())
        fault = _unheard(con, context, made.match)
    if call.json:
        print_json(_row(made, datetime.now(UTC)))
    else:
        print(f"{made.id}: {made.match} is quiet until {made.ends_at:%Y-%m-%d %H:%M} UTC ({made.reason})")
        print(f"end it with: tapewatch alerts unsilence {made.id}")
        if fault:
            print(f"{fault}, nor a rule: check its spelling", file=sys.stderr)


def silences(*, call: Injected) -> None:
    """Silences that were set and not taken back, those in force first.

    Example: tapewatch alerts silences --json
    """
    context = context_of(call)
    now = datetime.now(UTC)
    found: tuple[Silence, ...] = ()
    if context.location.exists:
        with reading(context) as con:
            found = read_orders(con).silences
    found = tuple(sorted(found, key=lambda one: one.ends_at, reverse=True))
    show(call, [_row(one, now) for one in found], SHOWN)


def unsilence(id: str, /, *, call: Injected) -> None:
    """End a silence before its time.

    Example: tapewatch alerts unsilence 4f0c2d11

    Parameters
    ----------
    id
        Id of the silence, or its beginning.
    """
    context = context_of(call)
    with writing(context) as con:
        ended = orders.unsilence(con, context, id)
    print(f"{ended.id}: {ended.match} speaks again")


def _unheard(con: Connection, context: Context, match: str) -> str:
    """What is odd about a silence that fits no rule, source, series or pair that there is."""
    wanted, both, subject = match.partition("@")
    rules = [rule.name for rule in rules_of(context, read_orders(con))]
    if not both and any(fnmatchcase(name.lower(), wanted.lower()) for name in rules):
        return ""
    return stranger(subject if both else wanted, map(str, every_series(con, context)))


def _row(one: Silence, now: datetime) -> Row:
    return {
        "id": one.id,
        "match": one.match,
        "state": "in force" if one.is_in_force(now) else "over",
        "until": one.ends_at,
        "reason": one.reason,
        "author": one.author,
        "since": one.starts_at,
    }
