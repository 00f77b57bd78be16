"""What stands on every page: the way around, the data's age, what is simulated."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.market import Series, utc
from pipelines.market import slug as safe
from reports.options import Model
from reports.shelf import KEY, STAMP
from reports.snapshot import Feed, Snapshot, legs

NAVIGATION = (
    ("index.html", "Overview"),
    ("symbols/index.html", "Symbols"),
    ("pairs/index.html", "Pairs"),
    ("anomalies/index.html", "Anomalies"),
    ("correlations/index.html", "Correlations"),
    ("quality/index.html", "Quality"),
    ("alerts/index.html", "Alerts"),
    ("digests/index.html", "Digests"),
    ("runs/index.html", "Runs"),
    ("backtests/index.html", "Backtests"),
    ("sql/index.html", "SQL"),
    ("methods.html", "Methods"),
)


@dataclass(frozen=True)
class Page:
    """One HTML file to be: where it lies, which template fills it, and with what.

    live: the page's numbers move each minute, so an open browser follows each render.
    data: [(word, path from the site's root)] of the same content as files.
    """

    path: str
    template: str
    title: str
    model: Model
    section: str = ""
    live: bool = True
    data: tuple[tuple[str, str], ...] = ()
    scripts: tuple[str, ...] = field(default=())

    @property
    def root(self) -> str:
        return "../" * self.path.count("/")


def context(page: Page, snap: Snapshot, version: str) -> Model:
    """Everything the frame of a page says; the page's own model stands under `m`."""
    return {
        "m": page.model,
        "page": page,
        "root": page.root,
        "navigation": [
            (page.root + path, label, path == (page.section or page.path)) for path, label in NAVIGATION
        ],
        "simulated": snap.options.simulated,
        "stamp": STAMP,
        "key": KEY,
        "version": version,
        "options": snap.options,
    }


def freshness(feeds: list[Feed]) -> list[dict[str, Any]]:
    """Per source, for the pulse: end of the newest minute and the hours, in UTC seconds."""
    return [
        {
            "source": feed.source,
            "data_to": _epoch(feed.data_to),
            "closed": feed.closed,
            "opens_at": _epoch(feed.opens_at),
        }
        for feed in feeds
    ]


def symbol_path(key: Series) -> str:
    return f"symbols/{key.slug}.html"


def pair_slug(fit: dict[str, Any]) -> str:
    """`binance-ETHUSDT~binance-BTCUSDT`: y first, x second."""
    y, x = legs(fit)
    return f"{y.slug}~{x.slug}"


def alert_path(alert_id: str) -> str:
    return f"alerts/{safe(alert_id)}.html"


def day_path(day: object) -> str:
    return f"anomalies/{day}.html"


def _epoch(at: datetime | None) -> int | None:
    return None if at is None else int(utc(at).timestamp())
