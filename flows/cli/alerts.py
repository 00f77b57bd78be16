"""`tapewatch alerts list|ack|resend`: alerts, acknowledgements, messages."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Literal

from flows import orders
from flows.cli.call import Injected
from flows.cli.lake import Connection, close_to, context_of, rows
from flows.cli.tables import print_json, show
from flows.context import reading, writing
from pipelines.market import naive
from warehouse import outbox
from warehouse.connect import transaction
from warehouse.errors import TapewatchError, UsageError
from warehouse.stage import literal

State = Literal["pending", "firing", "resolved", "all"]
COLUMNS = (
    "id", "state", "severity", "rule", "subject", "interval", "value", "threshold", "fired_at", "resolved_at", "acked_at",
)  # fmt: skip


def list_(*, state: State = "all", days: int = 7, limit: int = 50, call: Injected) -> None:
    """Alerts, the newest first.

    Example: tapewatch alerts list --state firing

    Parameters
    ----------
    state
        pending, firing, resolved, or all.
    days
        How far to look back; what is still open is shown whatever its age.
    limit
        How many at most.
    """
    if days < 1 or limit < 1:
        raise UsageError("--days and --limit: write 1 or more")
    since = literal(naive(datetime.now(UTC)) - timedelta(days=days))
    of_state = f"state = {literal(state)} AND " if state != "all" else ""
    with reading(context_of(call)) as con:
        found = rows(
            con,
            "SELECT id, rule, fingerprint, source, symbol, pair, interval, state, severity, value, threshold, started_at, "
            "fired_at, resolved_at, acked_at, coalesce(pair, source || ':' || symbol, source) AS subject FROM alerts "
            f"WHERE {of_state}(state <> 'resolved' OR recorded_at >= {since}) "
            f"ORDER BY started_at DESC, id LIMIT {limit}",
        )
    show(call, found, COLUMNS)


def ack(id: str, /, *, note: str = "", call: Injected) -> None:
    """Acknowledge an alert: no repeats, no escalation.

    Example: tapewatch alerts ack 4f0c2d11 --note "looking at it"

    Parameters
    ----------
    id
        Id of the alert, or its beginning.
    note
        A word for the others.
    """
    context = context_of(call)
    with reading(context) as con:
        whole = known_id(con, "alerts", id)
        before = rows(con, f"SELECT rule, state, acked_at FROM alerts WHERE id = {literal(whole)}")[0]
    if before["acked_at"] is not None:
        print(
            f"{whole} ({before['rule']}): acknowledged already at {before['acked_at']:%Y-%m-%d %H:%M:%S} UTC"
        )
        return
    with writing(context) as con:
        orders.acknowledge(con, context, whole, getpass.getuser(), note)
    print(f"{whole} ({before['rule']}, {before['state']}): acknowledged")


def resend(id: str, /, *, call: Injected) -> None:
    """Send a message again, under its id and with all its tries; the next minute sends it.

    Example: tapewatch alerts resend 7f3a90c1

    Parameters
    ----------
    id
        Id of the message, or its beginning.
    """
    context = context_of(call)
    with reading(context) as con:
        whole = known_id(con, "deliveries", id)
        before = rows(con, f"SELECT channel, state, attempts FROM deliveries WHERE id = {literal(whole)}")[0]
    with writing(context) as con, transaction(con, context.location):
        outbox.resend(con, whole, datetime.now(UTC))
    if call.json:
        print_json({"id": whole, **before, "state": "queued"})
    else:
        print(
            f"{whole} to {before['channel']} ({before['state']} after {before['attempts']} tries): queued again"
        )


def known_id(con: Connection, view: str, given: str) -> str:
    """The one id of the view that begins with `given`; TapewatchError says how to list them, or which there are."""
    found = [
        row["id"]
        for row in rows(
            con, f"SELECT DISTINCT id FROM {view} WHERE starts_with(id, {literal(given)}) ORDER BY id LIMIT 6"
        )
    ]
    if given in found:
        return given
    if len(found) == 1:
        return str(found[0])
    if found:
        raise TapewatchError(f"{given}: several {view} begin so: {', '.join(found)}; write more of it")
    ids = [row["id"] for row in rows(con, f"SELECT id FROM {view} LIMIT 1000")]
    lists = {"alerts": "tapewatch alerts list"}
    how = lists.get(view, f'tapewatch sql "SELECT * FROM {view} ORDER BY created_at DESC LIMIT 20"')
    raise TapewatchError(f"{given}: no such row in {view}{close_to(given, ids)}; `{how}` lists them")
