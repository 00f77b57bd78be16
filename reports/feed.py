"""Alerts as an Atom feed: one entry when one fires, updated when it resolves."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from reports.options import SiteOptions
from reports.pages.abnormal import evidence
from reports.pages.alerts import told
from reports.pages.shell import alert_path
from reports.snapshot import Snapshot
from reports.text import full_time, iso

MOST_ENTRIES = 50


def atom(snap: Snapshot) -> bytes:
    """The newest alerts that fired; ids and addresses stay the same for an alert's whole life."""
    rows = [row for row in snap.alerts.iter_rows(named=True) if row["fired_at"]][:MOST_ENTRIES]
    updated = max((row["resolved_at"] or row["fired_at"] for row in rows), default=None)
    entries = "".join(_entry(row) for row in rows)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<title>{_title(snap.options)}</title><id>urn:tapewatch:alerts</id>"
        f"<updated>{iso(updated) or '1970-01-01T00:00:00Z'}</updated><author><name>Tapewatch</name></author>"
        '<link rel="self" href="feed.xml"/><link rel="alternate" href="index.html"/>'
        f"{entries}</feed>\n"
    ).encode()


def _title(options: SiteOptions) -> str:
    return "Tapewatch alerts" + (" (SIMULATED DATA)" if options.simulated else "")


def _entry(row: dict[str, Any]) -> str:
    line = told(row, evidence(row), row["fired_at"])
    title = f"{row['severity']}: {line.name} {line.what}" + (" (resolved)" if row["resolved_at"] else "")
    against = f" ({line.against})" if line.against else ""
    said = f"{line.name} {line.what}: {line.how}{against}; rule {row['rule']}, fired {full_time(row['fired_at'])}"
    href = quoteattr(alert_path(row["id"]).removeprefix("alerts/"))
    return (
        f"<entry><id>urn:tapewatch:alert:{escape(row['id'])}</id><title>{escape(title)}</title>"
        f'<link rel="alternate" href={href}/><published>{iso(row["fired_at"])}</published>'
        f"<updated>{iso(row['resolved_at'] or row['fired_at'])}</updated>"
        f"<category term={quoteattr(row['severity'] or '')}/><summary>{escape(said)}</summary></entry>"
    )
