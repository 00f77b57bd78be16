"""`tapewatch alerts`: rules, alerts, silences, messages."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built

Severity = Literal["critical", "high", "medium", "info"]
State = Literal["pending", "firing", "resolved", "all"]


def rules(*, call: Injected) -> None:
    """Every rule in force: built in, from the file, and made by `alerts add`.

    Example: tapewatch alerts rules --json
    """
    del call
    not_built("alerts rules")


def add(
    name: str,
    when: str,
    /,
    *,
    on: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    interval: str = "1m",
    severity: Severity = "medium",
    for_: Annotated[int, Parameter(name="--for")] = 1,
    clear: str = "",
    expires: str = "7d",
    call: Injected,
) -> None:
    """Add a rule; it ends after seven days unless --expires says otherwise.

    Example: tapewatch alerts add btc-volume "volume_ratio > 3" --on "binance:BTC*" --severity high

    Parameters
    ----------
    name
        Its name, used by rm and preview.
    when
        A comparison of columns: "abs(zscore) > 2", "rsi_14 > 70 or rsi_14 < 30".
    on
        Symbols or pairs, with globs; else everything.
    interval
        Width of the bars it is judged on.
    severity
        critical, high, medium or info.
    for_
        Closed bars in a row before it fires.
    clear
        The condition that ends it; else the opposite of `when` with a tenth of slack.
    expires
        A duration such as 7d, a time, or never.
    """
    del call, name, when, on, interval, severity, for_, clear, expires
    not_built("alerts add")


def rm(name: str, /, *, call: Injected) -> None:
    """Remove a rule made by `alerts add`; one of the file is removed there.

    Example: tapewatch alerts rm btc-volume
    """
    del call, name
    not_built("alerts rm")


def list_(*, state: State = "all", days: int = 7, limit: int = 50, call: Injected) -> None:
    """Alerts, the newest first.

    Example: tapewatch alerts list --state firing

    Parameters
    ----------
    state
        pending, firing, resolved, or all.
    days
        How far to look back.
    limit
        How many at most.
    """
    del call, state, days, limit
    not_built("alerts list")


def ack(id: str, /, *, note: str = "", call: Injected) -> None:
    """Acknowledge an alert: no repeats, no escalation.

    Example: tapewatch alerts ack 4f0c2d11 --note "looking at it"

    Parameters
    ----------
    id
        Id of the alert.
    note
        A word for the others.
    """
    del call, id, note
    not_built("alerts ack")


def silence(matcher: str, /, *, reason: str, until: str = "1h", call: Injected) -> None:
    """Keep matching alerts quiet until a time, with a reason everybody sees.

    Example: tapewatch alerts silence "binance:BTC*" --until 2h --reason "exchange maintenance"

    Parameters
    ----------
    matcher
        A rule's name, a symbol or a pair, with globs.
    reason
        Why.
    until
        A duration such as 2h, or a time.
    """
    del call, matcher, reason, until
    not_built("alerts silence")


def resend(id: str, /, *, call: Injected) -> None:
    """Send a dead message again.

    Example: tapewatch alerts resend 7
    """
    del call, id
    not_built("alerts resend")


def preview(rule: str, /, *, days: int = 7, when: str = "", call: Injected) -> None:
    """When a rule would have fired on stored history, by the same evaluator.

    Example: tapewatch alerts preview btc-volume --days 30

    Parameters
    ----------
    rule
        A rule's name, or a name for the condition given by --when.
    days
        How far to look back.
    when
        A condition to try before it becomes a rule.
    """
    del call, rule, days, when
    not_built("alerts preview")
