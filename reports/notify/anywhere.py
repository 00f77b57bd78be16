"""Every other service, by Apprise's addresses. Only this module imports Apprise, which is slow to load."""

from __future__ import annotations

from dataclasses import dataclass

import apprise

from reports.notify.channel import ChannelConfig, Dead, Envelope, Outcome, Retry, Sent
from reports.notify.message import Message


@dataclass(frozen=True)
class Anywhere:
    """url or urls as Apprise writes them. It tells no reason, so every failure comes again."""

    config: ChannelConfig

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        service = apprise.Apprise()
        for place, url in enumerate(self.config.many("urls") or [self.config.need("url")], start=1):
            if not service.add(url):
                return Dead(f"address {place} is not one that Apprise knows")
        link = [message.link] if message.link else []
        body = "\n".join([*message.lines, *link]) or message.text
        accepted = service.notify(body=body, title=message.subject, body_format=apprise.NotifyFormat.TEXT)
        return Sent() if accepted else Retry("Apprise could not deliver it; its log says more")
