"""Mail through the SMTP server of the settings."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final, Literal
from uuid import UUID

from app.foundation.time import SHANGHAI
from app.settings import Settings

# Of each answer of the server, seconds.
TIMEOUT_S: Final = 20.0


class NotSent(Exception):
    """The server did not take a mail; it is tried again. In words that hold nothing secret."""


class Bounced(NotSent):
    """The server refuses the address for good (5xx, RFC 5321)."""


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Mailer:
    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    user: str | None
    password: str | None
    sender: str
    context: ssl.SSLContext

    @classmethod
    def of(cls, settings: Settings, context: ssl.SSLContext | None = None) -> Mailer | None:
        """The mailer of the settings; None: they name no server."""
        if not settings.smtp_host or not settings.mail_from:
            return None
        return cls(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            user=settings.smtp_user,
            password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
            sender=settings.mail_from,
            context=context or ssl.create_default_context(),
        )

    def send(self, mail_id: UUID, letter: Letter, now: datetime) -> None:
        """
        Raises:
            Bounced: the address is refused for good.
            NotSent: anything else.
        """
        message = self._message(mail_id, letter, now)
        try:
            with self._connect() as server:
                server.send_message(message, from_addr=self.sender, to_addrs=[letter.to])
        except smtplib.SMTPRecipientsRefused as refusal:
            code = max(code for code, _ in refusal.recipients.values())
            kind = Bounced if 500 <= code < 600 else NotSent
            raise kind(f"the server refused the address ({code})") from None
        except smtplib.SMTPResponseException as fault:
            raise NotSent(f"the server answered {fault.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as fault:
            raise NotSent(f"no mail could be handed over ({type(fault).__name__})") from None

    def _connect(self) -> smtplib.SMTP:
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=self.context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        try:
            if self.security == "starttls":
                server.starttls(context=self.context)
            if self.user and self.password is not None:
                server.login(self.user, self.password)
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, mail_id: UUID, letter: Letter, now: datetime) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender
        message["To"] = letter.to
        message["Subject"] = letter.subject
        message["Date"] = format_datetime(now.astimezone(SHANGHAI))
        # The same when it is sent again: mail programs show it once.
        message["Message-ID"] = f"<{mail_id}@{self.sender.partition('@')[2]}>"
        # RFC 3834: no holiday replies.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        return message
