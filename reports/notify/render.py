"""Facts of the outbox into the message to send, by their kind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pipelines.alerts.rules import SEVERITIES
from reports.digest import digest
from reports.notify.message import SIMULATED, Facts, Message, Site, cleaned, fill
from reports.notify.wording import Line, alert_line, clock, of_many
from reports.text import duration

LATE = timedelta(minutes=3)
"""A message that lay in the outbox for longer says so."""
MOST_COMMANDS = 5
"""Alerts of one message whose commands stand below it."""
_OCCASIONS = {"repeat": "Still firing: ", "escalation": "Not acknowledged: "}


def render(facts: Facts, site: Site, waited: timedelta = timedelta(), refused: bool = False) -> Message:
    """The message of `facts` that `waited` in the outbox, `refused` by its channel before or not; raises ValueError for a kind that is not known."""
    match facts.get("kind"):
        case "digest":
            return digest(facts, site)
        case "alert":
            return alert_message(facts, site, waited, refused)
    raise ValueError(f"no message is made of facts of kind {facts.get('kind')!r}; known: alert, digest")


def alert_message(
    facts: Facts, site: Site, waited: timedelta = timedelta(), refused: bool = False
) -> Message:
    """One group of alerts, told at once: what fires, what is over, how many were held back meanwhile.

    waited: how long it lay in the outbox; one that had to wait says so, for it may be over by then. refused: whether
    the channel has failed with it before.
    """
    said, facts = facts, cleaned(facts)
    at = datetime.fromisoformat(facts["at"])
    told = sorted(facts["alerts"], key=_gravest_first)
    lines = [alert_line(alert, site, at) for alert in told]
    apart = [line for line, alert in zip(lines, told, strict=True) if not alert.get("same_as")]
    values: dict[str, Any] = {
        "subject": _subject(facts, apart),
        "simulated": SIMULATED if facts.get("simulated") else "",
        "at": f"{at.day} {at:%b %Y, %H:%M} UTC",
        "occasion": _OCCASIONS.get(facts["occasion"], "").removesuffix(": "),
        "held": _held(facts["suppressed"]),
        "late": _late(at, waited, refused),
        "alerts": lines,
        "commands": lines[:MOST_COMMANDS],
        "uncommanded": len(lines[MOST_COMMANDS:]),
        "links": {"site": site.link("index.html"), "alerts": site.link("alerts/index.html")},
    }
    return Message(
        subject=values["subject"],
        text=fill("alert.txt.j2", **values),
        html=fill("alert.html.j2", **values),
        facts=said,
        lines=(
            *(line.sentence for line in apart),
            *(text for text in (values["held"], values["late"]) if text),
        ),
        link=apart[0].link if len(apart) == 1 else values["links"]["alerts"],
    )


def _subject(facts: Facts, lines: list[Line]) -> str:
    prefix = f"[{SIMULATED}] " if facts.get("simulated") else ""
    prefix += _OCCASIONS.get(facts["occasion"], "")
    if len(lines) == 1:
        return prefix + lines[0].sentence
    firing = [line.name for line in lines if line.tone != "resolved"]
    over = [line.name for line in lines if line.tone == "resolved"]
    parts = [f"{_how_many(lines)}: {of_many(firing)}"] if firing else []
    parts += [f"{len(over)} resolved: {of_many(over)}"] if over else []
    return prefix + "; ".join(parts)


def _how_many(lines: list[Line]) -> str:
    """`2 HIGH alerts`, `3 alerts up to CRITICAL`: the lines begin with the gravest that fires."""
    marks = [line.mark for line in lines if line.tone != "resolved"]
    noun = "alert" if len(marks) == 1 else "alerts"
    return (
        f"{len(marks)} {marks[0]} {noun}" if len(set(marks)) == 1 else f"{len(marks)} {noun} up to {marks[0]}"
    )


def _gravest_first(alert: Facts) -> tuple[bool, int]:
    return alert["state"] == "resolved", SEVERITIES.index(alert["severity"])


def _late(at: datetime, waited: timedelta, refused: bool) -> str:
    """That a message had to wait, so that nobody takes what it says for how it stands."""
    if waited < LATE:
        return ""
    took = duration(waited.total_seconds())
    why = "the channel could not be reached before" if refused else "nothing was sent meanwhile"
    return f"Sent {took} late: this is how it stood at {clock(at)} UTC; {why}."


def _held(count: int) -> str:
    if not count:
        return ""
    were = "was" if count == 1 else "were"
    return f"{count} of these fired in the cooldown after the last message and {were} held back until now."
