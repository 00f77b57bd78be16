"""Facts of the outbox into the message to send, by their kind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reports.digest import digest
from reports.notify.message import SIMULATED, Facts, Message, Site, cleaned, fill
from reports.notify.wording import Line, alert_line, of_many

_OCCASIONS = {"repeat": "Still firing: ", "escalation": "Not acknowledged: "}


def render(facts: Facts, site: Site) -> Message:
    """The message of `facts`; raises ValueError for a kind that is not known."""
    match facts.get("kind"):
        case "digest":
            return digest(facts, site)
        case "alert":
            return alert_message(facts, site)
    raise ValueError(f"no message is made of facts of kind {facts.get('kind')!r}; known: alert, digest")


def alert_message(facts: Facts, site: Site) -> Message:
    """One group of alerts, told at once: what fires, what is over, how many were held back meanwhile."""
    said, facts = facts, cleaned(facts)
    at = datetime.fromisoformat(facts["at"])
    lines = [alert_line(alert, site, at) for alert in facts["alerts"]]
    values: dict[str, Any] = {
        "subject": _subject(facts, lines),
        "simulated": SIMULATED if facts.get("simulated") else "",
        "at": f"{at.day} {at:%b %Y, %H:%M} UTC",
        "occasion": _OCCASIONS.get(facts["occasion"], "").removesuffix(": "),
        "held": _held(facts["suppressed"]),
        "alerts": lines,
        "first_alert": facts["alerts"][0]["id"] if facts["alerts"] else "",
        "links": {"site": site.link("index.html"), "alerts": site.link("alerts/index.html")},
    }
    return Message(
        subject=values["subject"],
        text=fill("alert.txt.j2", **values),
        html=fill("alert.html.j2", **values),
        facts=said,
        lines=tuple([line.sentence for line in lines] + ([values["held"]] if values["held"] else [])),
        link=lines[0].link if len(lines) == 1 else values["links"]["alerts"],
    )


def _subject(facts: Facts, lines: list[Line]) -> str:
    prefix = f"[{SIMULATED}] " if facts.get("simulated") else ""
    prefix += _OCCASIONS.get(facts["occasion"], "")
    if len(lines) == 1:
        return prefix + lines[0].sentence
    firing = [line.name for line in lines if line.tone != "resolved"]
    over = [line.name for line in lines if line.tone == "resolved"]
    parts = [f"{len(firing)} {lines[0].mark} alerts: {of_many(firing)}"] if firing else []
    parts += [f"{len(over)} resolved: {of_many(over)}"] if over else []
    return prefix + "; ".join(parts)


def _held(count: int) -> str:
    if not count:
        return ""
    were = "was" if count == 1 else "were"
    return f"{count} of these fired in the cooldown after the last message and {were} held back until now."
