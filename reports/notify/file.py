"""The digest as a page of the site: always on, needs nobody."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reports.digest import stamp
from reports.notify.channel import ChannelConfig, Dead, Envelope, Outcome, Retry, Sent
from reports.notify.message import Message


@dataclass(frozen=True)
class File:
    """Writes `digests/<UTC stamp>.html` under the site's folder; a reader never sees half of it."""

    config: ChannelConfig
    site_dir: Path

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        if message.facts.get("kind") != "digest":
            return Dead("only digests become pages")
        page = self.site_dir / "digests" / f"{stamp(datetime.fromisoformat(message.facts['until']))}.html"
        draft = page.with_name(f".{page.name}.{os.getpid()}.tmp")
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as handle:
                handle.write(message.html)
                handle.flush()
                os.fsync(handle.fileno())
            draft.replace(page)
        except OSError as error:
            return Retry(f"{page}: {error.strerror}")
        return Sent()
