"""Mail over SMTP: plain text and HTML in one message, with the headers that automatic mail should have."""

from __future__ import annotations

import hashlib
import ipaddress
import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from reports.notify.channel import ChannelConfig, ChannelError, Dead, Envelope, Outcome, Retry, Sent
from reports.notify.message import Message

TIMEOUT_S = 20


@dataclass(frozen=True)
class Email:
    """host, port, security (starttls, ssl, none), username, password, from, to (one address or a list).

    Without `security` it is ssl on port 465, none on a loopback host, else starttls.
    """

    config: ChannelConfig

    def send(self, envelope: Envelope, message: Message) -> Outcome:
        mail = compose(self.config, envelope, message)
        try:
            server = self._connected()
            try:
                refused = server.send_message(mail)
            finally:
                # The mail is in or not by now; a quarrel at the goodbye must not send it again.
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
        except smtplib.SMTPRecipientsRefused as error:
            return _by_codes(error.recipients)
        except smtplib.SMTPResponseException as error:
            said = f"SMTP {error.smtp_code}: {_text(error.smtp_error)}"
            return Dead(said) if error.smtp_code >= 500 else Retry(said)
        except ssl.SSLCertVerificationError as error:
            return Dead(f"the mail server's certificate was not accepted: {error.verify_message}")
        except (smtplib.SMTPException, OSError) as error:
            return Retry(f"{type(error).__name__}: {error}")
        # Some had it: sending again would double those, so the others are given up.
        return Dead(f"refused for {', '.join(sorted(refused))}, sent to the others") if refused else Sent()

    def _connected(self) -> smtplib.SMTP:
        """A connection that is secured and logged in as configured; closed again where that fails."""
        host, port = self.config.need("host"), int(self.config.get("port", "587"))
        security = self.config.get("security") or _usual_security(host, port)
        username = self.config.get("username")
        if security not in ("starttls", "ssl", "none"):
            raise ChannelError(
                f"channel {self.config.name}: security = {security!r}; write starttls, ssl or none"
            )
        if username and security == "none" and not _is_loopback(host):
            raise ChannelError(
                f"channel {self.config.name}: will not send the password in clear; set tls = starttls"
            )
        context = ssl.create_default_context()
        if security == "ssl":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
        try:
            if security == "starttls":
                server.starttls(context=context)
            if username:
                server.login(username, self.config.need("password"))
        except BaseException:
            server.close()
            raise
        return server


def compose(config: ChannelConfig, envelope: Envelope, message: Message) -> EmailMessage:
    """The mail: Message-ID and Date stay the same over retries, so that a mail client shows a double once."""
    sender = config.need("from")
    recipients = config.many("to")
    if not recipients:
        raise ChannelError(
            f"channel {config.name} (email): to is not set; write an address or a list of them"
        )
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    thread = hashlib.blake2b(envelope.group_key.encode(), digest_size=8).hexdigest()
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(envelope.created_at)
    mail["Message-ID"] = f"<{envelope.id}@{domain}>"
    mail["References"] = f"<{thread}.group@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["List-Id"] = f"Tapewatch {message.facts.get('kind', 'message')}s <tapewatch.{domain}>"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    # A subject that is folded beside an encoded word arrives with a space more; the longest line that SMTP allows is not.
    mail.policy = mail.policy.clone(max_line_length=998)
    return mail


def _by_codes(refused: dict[str, tuple[int, bytes]]) -> Outcome:
    """Nobody was accepted: come again if one of them only said `later`."""
    said = "; ".join(f"{address}: {code} {_text(text)}" for address, (code, text) in sorted(refused.items()))
    return Dead(said) if all(code >= 500 for code, _ in refused.values()) else Retry(said)


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _usual_security(host: str, port: int) -> str:
    return "ssl" if port == 465 else "none" if _is_loopback(host) else "starttls"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
