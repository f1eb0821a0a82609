"""Hands mails to an SMTP relay; one connection for each mail.

`smtplib` speaks; the line under it ends every wait at the call's one deadline.
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
    one_line,
    own_headers,
    sound_text,
)
from shared.providers.smtp_session import Conversation
from shared.providers.sockets import Deadline, dial, tls_context
from shared.settings.types import LOOPBACK

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.models import Email
    from shared.settings import Settings

RELAY_PORT, SUBMISSION_PORT, TLS_PORT = 25, 587, 465
SHAPE = (
    "KEYTURN_SMTP_URL must look like smtp://user:password@host:port, with ?starttls=required where "
    "needed, or smtps://…; write special characters of the password as %XX, ASCII only"
)


@dataclass(frozen=True, slots=True)
class Relay:
    """Where the relay is and how to get in."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    is_tls: bool  # from the first byte
    needs_starttls: bool

    @property
    def is_loopback(self) -> bool:
        """True when nobody between us and the relay can listen."""
        return self.host in LOOPBACK or self.host.startswith("127.")


def parse_relay(url: str) -> Relay:
    """The relay of a URL.

    Raises:
        SettingsError: the URL is none of the two shapes; it is not repeated, for it has a password.
    """
    try:
        parts = urlsplit(url)
        port, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise SettingsError(SHAPE) from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    is_sound = (
        parts.scheme in ("smtp", "smtps")
        and parts.hostname
        and parts.path in ("", "/")
        and options in ({}, {"starttls": "required"})
        and (user + password).isascii()
        and bool(user) == bool(password)
    )
    if not is_sound:
        raise SettingsError(SHAPE)
    is_tls = parts.scheme == "smtps"
    usual_port = TLS_PORT if is_tls else SUBMISSION_PORT if user else RELAY_PORT
    return Relay(
        host=parts.hostname or "",
        port=port or usual_port,
        user=user,
        password=password,
        is_tls=is_tls,
        needs_starttls=not is_tls and bool(options),
    )


# Folding at 78 would break a long Message-ID into an encoded word, which no reader knows again.
HEADERS = SMTP.clone(max_line_length=998)
HEADERS_UTF8 = HEADERS.clone(utf8=True)
PART_ENCODING = "quoted-printable"  # readable in a log of the wire, and never 8 bit


def format_mime(email: Email, *, recipient: str, at: datetime, is_utf8: bool = False) -> bytes:
    """The mail with CRLF line ends.

    `recipient` is the address as the server was told it; `is_utf8` when it agreed to SMTPUTF8.
    """
    message = EmailMessage(policy=SMTP)
    name, _, domain = ascii_domain(email.from_address).rpartition("@")
    message["From"] = Address(one_line(email.from_name), username=name, domain=domain)
    name, _, domain = recipient.rpartition("@")
    message["To"] = Address(username=name, domain=domain)
    message["Subject"] = one_line(email.subject)
    message["Date"] = format_datetime(at)
    for header, value in own_headers(email).items():
        message[header] = value
    message.set_content(sound_text(email.text), cte=PART_ENCODING)
    message.add_alternative(sound_text(email.html), subtype="html", cte=PART_ENCODING)
    return message.as_bytes(policy=HEADERS_UTF8 if is_utf8 else HEADERS)


class Smtp:
    """One SMTP relay; a connection for each mail."""

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
        line = dial(
            relay.host,
            relay.port,
            deadline=Deadline(self._timeout_seconds),
            tls=self._tls if relay.is_tls else None,
        )
        conversation = Conversation(line, relay.host)
        try:
            conversation.greet()
            is_tls = relay.is_tls or self._encrypt(conversation)
            self._log_in(conversation, is_tls=is_tls)
            is_utf8 = conversation.address(sender, address)
            at = datetime.fromtimestamp(self._clock(), UTC)
            content = format_mime(message, recipient=address, at=at, is_utf8=is_utf8)
            queued_as = conversation.hand_over(content)
        finally:
            conversation.close()
        return Receipt(queued_as)

    def close(self) -> None:
        """Nothing is held open."""

    def _encrypt(self, conversation: Conversation) -> bool:
        """STARTTLS when it is offered."""
        if conversation.offers("starttls"):
            conversation.start_tls(self._tls)
            return True
        if self._relay.needs_starttls:
            raise AccountProviderError("smtp_no_tls", "the relay does not offer STARTTLS")
        return False

    def _log_in(self, conversation: Conversation, *, is_tls: bool) -> None:
        if not self._relay.user:
            return
        if not is_tls and not self._relay.is_loopback:
            raise AccountProviderError(
                "smtp_no_tls", "the relay offers no TLS, and the password is not told without"
            )
        conversation.log_in(self._relay.user, self._relay.password)
