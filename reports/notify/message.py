"""A message ready to be sent, and the templates it is rendered with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

SIMULATED = "SIMULATED DATA"

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """One message in every form a channel may want; `facts` is what it was rendered from (JSON-ready).

    text: plain, good by itself.  html: a whole document, CSS inline, no request to anywhere.
    lines: the gist for chats, one fact a line, without the subject.
    link: address of the page, if there is a site.
    """

    subject: str
    text: str
    html: str
    facts: Facts
    lines: tuple[str, ...] = field(default=())
    link: str | None = None

    @property
    def json(self) -> dict[str, Any]:
        return {"subject": self.subject, "text": self.text, "link": self.link, "facts": dict(self.facts)}


@dataclass(frozen=True)
class Site:
    """Where the pages are, seen from the message: an address, `../` from a page of the site, or nowhere."""

    base: str | None = None

    def link(self, path: str) -> str | None:
        if self.base is None:
            return None
        return self.base + path if self.base.endswith("/") else f"{self.base}/{path}"


_CONTROL = re.compile(r"[\r\n\t\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


def cleaned(value: Any) -> Any:
    """Facts with every text on one line and without control characters: they cannot forge a header."""
    if isinstance(value, str):
        return _CONTROL.sub(" ", value)
    if isinstance(value, Mapping):
        return {name: cleaned(part) for name, part in value.items()}
    return [cleaned(part) for part in value] if isinstance(value, list | tuple) else value


def fill(template: str, **values: Any) -> str:
    """The template `name.html.j2` (escaped) or `name.txt.j2` with its values."""
    page = (_HTML if template.endswith(".html.j2") else _TEXT).get_template(template)
    return page.render(values)


_LOADER = PackageLoader("reports", "templates/mail")
_TIDY: dict[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
_TEXT = Environment(loader=_LOADER, autoescape=False, **_TIDY)
_HTML = Environment(loader=_LOADER, autoescape=True, **_TIDY)
