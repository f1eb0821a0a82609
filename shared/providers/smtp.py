"""Send mails through an SMTP relay, one connection for each mail.

`smtplib` speaks the protocol over a connection whose every wait ends at the call's one deadline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.charset import Charset
from email.header import Header
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
    checked_address,
    clean_text,
    message_headers,
    one_line,
    sendable,
)
from shared.providers.transport.smtp_session import SmtpSession
from shared.providers.transport.sockets import Deadline, connect, tls_context
from shared.settings.types import LOOPBACK
from shared.validation import ascii_domain, is_host_name

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.settings import Settings

RELAY_PORT, SUBMISSION_PORT, TLS_PORT = 25, 587, 465
URL_HELP = (
    "KEYTURN_SMTP_URL must look like smtp://user:password@host:port, with ?starttls=required where "
    "needed, or smtps://…; write special characters of the password as %XX, ASCII only"
)
MAX_LINE_CHARACTERS = 76
MAX_PLAIN_CHARACTERS = 66  # fits into the first line of From and Subject
MAX_PIECE_BYTES = 39  # makes an encoded word of at most 64 characters, which fits there too
UTF_8 = Charset("utf-8")  # quoted-printable or base64, whichever is shorter
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
        may_reach: Callable[[str], bool] | None = None,
    ) -> None:
        """`tls` and `clock` (epoch seconds) are for tests; `may_reach` judges network addresses."""
        self._may_reach = may_reach
        self._relay = parse_relay(settings.smtp_url)
        self._own_name = settings.smtp_ehlo_name or _public_name(settings)
        self._tls = tls or tls_context()
        self._timeout_seconds = settings.provider_timeout_seconds
        self._clock = clock

    def send(self, message: Email) -> Receipt:
        """See Provider."""
        address, sender = checked_address(message), sendable(message.from_address)
        relay = self._relay
        connection = connect(
            relay.host,
            relay.port,
            deadline=Deadline(self._timeout_seconds),
            tls=self._tls if relay.is_tls else None,
            may_reach=self._may_reach,
        )
        session = SmtpSession(connection, relay.host, own_name=self._own_name)
        try:
            session.greet()
            is_tls = relay.is_tls or self._encrypt(session)
            self._log_in(session, is_tls=is_tls)
            session.set_envelope(sender, address)
            at = datetime.fromtimestamp(self._clock(), UTC)
            content = format_mime(message, recipient=address, at=at)
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
        host = ascii_domain(parts.hostname or "")
        port, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise SettingsError(URL_HELP) from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    is_valid = (
        parts.scheme in ("smtp", "smtps")
        and host
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
        host=host,
        port=port or default_port,
        user=user,
        password=password,
        is_tls=is_tls,
        needs_starttls=not is_tls and bool(options),
    )


def _public_name(settings: Settings) -> str:
    """Return the public URL's host for EHLO; empty if it is no whole name: an address, say."""
    host = urlsplit(settings.link_base).hostname or ""
    return host if "." in host and is_host_name(host) else ""


def format_mime(email: Email, *, recipient: str, at: datetime) -> bytes:
    """Return the mail as text and HTML alternatives, the logo beside the HTML, with CRLF line ends.

    `recipient` is the address of RCPT TO. Its head is written here, not by EmailMessage, whose
    encoded words are longer than RFC 2047 allows, and which folds a Message-ID.
    """
    fields = {
        "From": _mailbox(sendable(email.from_address), one_line(email.from_name)),
        "To": _mailbox(recipient),
        **({"Reply-To": _mailbox(sendable(email.reply_to))} if email.reply_to else {}),
        "Subject": _encode_subject(one_line(email.subject)),
        "Date": format_datetime(at),
        **message_headers(email),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    content = EmailMessage(policy=SMTP)
    content.set_content(clean_text(email.text), cte=PART_ENCODING)
    content.add_alternative(clean_text(email.html), subtype="html", cte=PART_ENCODING)
    if logo := email.logo:
        main, _, sub = logo.media_type.partition("/")
        content.get_payload(1).add_related(  # type: ignore[union-attr]
            logo.content, main, sub, cid=f"<{logo.content_id}>", filename=logo.file_name,
            disposition="inline",
        )  # fmt: skip
    return head.encode() + content.as_bytes()


def _mailbox(address: str, name: str = "") -> str:
    """Return `name <address>` as From and To have it."""
    local, _, domain = address.rpartition("@")
    plain = Address(name, username=local, domain=domain)
    if _is_plain(name) and len(str(plain)) <= MAX_PLAIN_CHARACTERS:
        return str(plain)
    return f"{_encode_words(name)}\r\n <{plain.addr_spec}>" if name else plain.addr_spec


def _encode_subject(text: str) -> str:
    """Return a subject: folded at blanks, or as encoded words."""
    if not _is_plain(text):
        return _encode_words(text)
    return Header(text, "us-ascii", MAX_LINE_CHARACTERS, "Subject").encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    """Return True for ASCII that no reader takes for encoded words, and that can be folded."""
    longest = max(map(len, text.split(" ")))
    return text.isascii() and "=?" not in text and longest <= MAX_PLAIN_CHARACTERS


def _encode_words(text: str) -> str:
    """Return a text as encoded words, one a line, cut between words where they fit.

    Source: RFC 2047, 2: at most 75 characters, and 76 for the line.
    """
    pieces = [""]
    for word in re.findall(" *[^ ]+ *", text):
        fits = len(word.encode()) <= MAX_PIECE_BYTES
        for part in [word] if fits else word:
            if len((pieces[-1] + part).encode()) > MAX_PIECE_BYTES:
                pieces.append("")
            pieces[-1] += part
    return "\r\n ".join(UTF_8.header_encode(piece) for piece in pieces)
