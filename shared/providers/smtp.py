"""Send mails through an SMTP relay, one connection for each mail.

`smtplib` speaks the protocol over a connection whose every wait ends at the call's one deadline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from time import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from shared.errors import AccountProviderError, SettingsError
from shared.models import Channel, Email, Receipt
from shared.providers.message_checks import (
    ascii_domain,
    checked_address,
    clean_text,
    message_headers,
    one_line,
)
from shared.providers.transport.smtp_session import SmtpSession
from shared.providers.transport.sockets import Deadline, connect, tls_context
from shared.settings.types import LOOPBACK

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.settings import Settings

RELAY_PORT, SUBMISSION_PORT, TLS_PORT = 25, 587, 465
URL_HELP = (
    "KEYTURN_SMTP_URL must look like smtp://user:password@host:port, with ?starttls=required where "
    "needed, or smtps://…; write special characters of the password as %XX, ASCII only"
)
# Folding at 78 would turn a long Message-ID into an encoded word, which breaks threading.
POLICY = SMTP.clone(max_line_length=998)
POLICY_UTF8 = POLICY.clone(utf8=True)
PART_ENCODING = "quoted-printable"  # never 8 bit, and readable in a packet dump


class Smtp:
    """One SMTP relay; one connection for each mail."""

    name = "smtp"
    channel = Channel.EMAIL

    def __init__(
        self,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`tls` and `clock` (epoch seconds) are for tests."""
        self._relay = parse_relay(settings.smtp_url)
        self._tls = tls or tls_context()
        self._timeout_seconds = settings.provider_timeout_seconds
        self._clock = clock

    def send(self, message: Email) -> Receipt:
        """See Provider."""
        address = ascii_domain(checked_address(message))
        sender = ascii_domain(message.from_address)
        relay = self._relay
        connection = connect(
            relay.host,
            relay.port,
            deadline=Deadline(self._timeout_seconds),
            tls=self._tls if relay.is_tls else None,
        )
        session = SmtpSession(connection, relay.host)
        try:
            session.greet()
            is_tls = relay.is_tls or self._encrypt(session)
            self._log_in(session, is_tls=is_tls)
            is_utf8 = session.set_envelope(sender, address)
            at = datetime.fromtimestamp(self._clock(), UTC)
            content = format_mime(message, recipient=address, at=at, is_utf8=is_utf8)
            queued_as = session.send_data(content)
        finally:
            session.close()
        return Receipt(queued_as)

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _encrypt(self, session: SmtpSession) -> bool:
        """Start TLS if the relay offers it; return whether it does."""
        if session.supports("starttls"):
            session.start_tls(self._tls)
            return True
        if self._relay.needs_starttls:
            raise AccountProviderError("smtp_no_tls", "the relay does not offer STARTTLS")
        return False

    def _log_in(self, session: SmtpSession, *, is_tls: bool) -> None:
        if not self._relay.user:
            return
        if not is_tls and not self._relay.is_loopback:
            raise AccountProviderError(
                "smtp_no_tls", "the relay offers no TLS, and the password is not sent without"
            )
        session.log_in(self._relay.user, self._relay.password)


@dataclass(frozen=True, slots=True)
class Relay:
    """The relay of KEYTURN_SMTP_URL."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    is_tls: bool  # from the first byte
    needs_starttls: bool

    @property
    def is_loopback(self) -> bool:
        """True when the relay is on this machine, so that no network carries the password."""
        return self.host in LOOPBACK or self.host.startswith("127.")


def parse_relay(url: str) -> Relay:
    """Parse KEYTURN_SMTP_URL.

    Raises:
        SettingsError: the URL is malformed; the text does not repeat it, for it has a password.
    """
    try:
        parts = urlsplit(url)
        port, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise SettingsError(URL_HELP) from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    is_valid = (
        parts.scheme in ("smtp", "smtps")
        and parts.hostname
        and parts.path in ("", "/")
        and options in ({}, {"starttls": "required"})
        and (user + password).isascii()
        and bool(user) == bool(password)
    )
    if not is_valid:
        raise SettingsError(URL_HELP)
    is_tls = parts.scheme == "smtps"
    default_port = TLS_PORT if is_tls else SUBMISSION_PORT if user else RELAY_PORT
    return Relay(
        host=parts.hostname or "",
        port=port or default_port,
        user=user,
        password=password,
        is_tls=is_tls,
        needs_starttls=not is_tls and bool(options),
    )


def format_mime(email: Email, *, recipient: str, at: datetime, is_utf8: bool = False) -> bytes:
    """Return the mail as text and HTML alternatives, with CRLF line ends.

    `recipient` is the address of RCPT TO; `is_utf8` when the server agreed to SMTPUTF8.
    """
    message = EmailMessage(policy=SMTP)
    name, _, domain = ascii_domain(email.from_address).rpartition("@")
    message["From"] = Address(one_line(email.from_name), username=name, domain=domain)
    name, _, domain = recipient.rpartition("@")
    message["To"] = Address(username=name, domain=domain)
    message["Subject"] = one_line(email.subject)
    message["Date"] = format_datetime(at)
    for header, value in message_headers(email).items():
        message[header] = value
    message.set_content(clean_text(email.text), cte=PART_ENCODING)
    message.add_alternative(clean_text(email.html), subtype="html", cte=PART_ENCODING)
    return message.as_bytes(policy=POLICY_UTF8 if is_utf8 else POLICY)
