"""Speak one SMTP session for one mail; tell a mail surely not taken from one in doubt."""

from __future__ import annotations

import re
import smtplib
import socket
from typing import TYPE_CHECKING, cast

from shared.errors import (
    DoubtfulProviderError,
    ProviderError,
    RouteUnfitError,
    TransientProviderError,
)
from shared.models import Outcome
from shared.providers.failures import Failure

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.providers.transport.sockets import Connection

_TRANSIENT, _ACCOUNT, _PERMANENT = Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.PERMANENT

# (step, first digit or whole code) → meaning; the whole code counts first.
# Source: RFC 5321 4.2.3 and 4.3.2, RFC 4954 6.
_BUSY = Failure(_TRANSIENT, "the relay asks us to come again")
_NO_LOGIN = Failure(_ACCOUNT, "the relay does not let us in; check KEYTURN_SMTP_URL")
_NO_SENDER = Failure(_ACCOUNT, "the relay does not take KEYTURN_EMAIL_FROM as the sender")
_REFUSED = Failure(_PERMANENT, "the relay refused the mail")
# The relay does not accept our mail; some say so with the code of a bad recipient.
_NO_RELAY = Failure(
    _ACCOUNT, "the relay does not relay for us; check the login in KEYTURN_SMTP_URL"
)
_NO_ENTRY = Failure(
    _ACCOUNT, "the relay refuses our host or sender; check KEYTURN_SMTP_EHLO_NAME and …_EMAIL_FROM"
)
_TOO_LARGE = Failure(_PERMANENT, "the mail is too large for the relay", is_one_route=True)
_CANNOT = Failure(_PERMANENT, "the relay cannot carry such a mail", is_one_route=True)
REPLIES = {
    ("greeting", 5): Failure(_ACCOUNT, "the relay does not talk to us"),
    ("ehlo", 5): Failure(
        _ACCOUNT, "the relay does not take our host's name; set KEYTURN_SMTP_EHLO_NAME"
    ),
    ("starttls", 5): Failure(_ACCOUNT, "the relay refused TLS although it offered it"),
    ("auth", 5): _NO_LOGIN,
    ("mail", 552): _TOO_LARGE,
    ("mail", 555): _CANNOT,
    ("mail", 5): _NO_SENDER,
    ("rcpt", 530): _NO_LOGIN,
    ("rcpt", 535): _NO_LOGIN,
    ("rcpt", 555): _CANNOT,
    ("rcpt", 5): Failure(_PERMANENT, "the relay refused the recipient"),
    ("data", 552): _TOO_LARGE,
    ("data", 5): _REFUSED,
    ("end", 552): _TOO_LARGE,
    ("end", 5): Failure(_PERMANENT, "the relay refused the mail after reading it"),
}
# The enhanced code says that there is no such mailbox. Source: RFC 3463 3.2, RFC 7505 (5.1.10).
UNKNOWN_USER = Failure(_PERMANENT, "there is nobody at that address", suppression="bounce")
# A full or busy mailbox, or greylisting: no fault of the relay.
BUSY_MAILBOX = Failure(_TRANSIENT, "the recipient's mailbox takes nothing now", is_one_route=True)
# (steps, reply classes, words, meaning): counts before REPLIES, for codes alone say too little.
WORDS = (
    ("rcpt", "45", rb"5\.1\.(1|6|10)(?!\S)", UNKNOWN_USER),
    ("rcpt", "4", rb"4\.[12]\.\d{1,3}(?!\S)|.*gr[ae]y-?list", BUSY_MAILBOX),
    ("rcpt", "5", rb".*relay(ing)? (access )?(denied|not permitted|prohibited)", _NO_RELAY),
    ("rcpt", "5", rb".*(unable|not permitted) to relay", _NO_RELAY),
    # Postfix says these at RCPT only (smtpd_delay_reject).
    ("rcpt", "5", rb".*(helo command|client host|sender address) rejected", _NO_ENTRY),
    # What the relay lacks for any recipient: size, parameters (5.3), content, SMTPUTF8 (5.6).
    # Source: RFC 3463 3.4 and 3.7, RFC 6531 3.5
    ("mail rcpt data end", "5", rb"5\.3\.4(?!\S)", _TOO_LARGE),
    ("mail rcpt data end", "5", rb"5\.(3\.3|6\.\d{1,3})(?!\S)", _CANNOT),
    ("data end", "5", rb"5\.2\.\d{1,3}(?!\S)", _REFUSED),
)  # fmt: skip

QUEUED_AS = re.compile(rb"queued as ([A-Za-z0-9._-]{1,100})")
GO_AHEAD = 354
QUIT_SECONDS = 1.0


class SmtpSession:
    """One SMTP session; each step raises ProviderError."""

    def __init__(self, connection: Connection, host: str, *, own_name: str = "") -> None:
        """`own_name` is for EHLO; empty: this machine's name, or its address."""
        self._connection = connection
        self._host = host
        self._client = smtplib.SMTP(local_hostname=own_name or _own_name(connection.sock))
        self._client.sock = cast("socket.socket", connection)  # it calls makefile, sendall, close

    def supports(self, extension: str) -> bool:
        """Return True if the relay announced this extension."""
        return bool(self._client.has_extn(extension))

    def greet(self) -> None:
        """Wait for the greeting, then send EHLO."""
        self._step("greeting", self._client.getreply)
        self._hello()

    def _hello(self) -> None:
        self._step("ehlo", self._client.ehlo)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Start TLS and forget what the relay announced before, unencrypted."""
        self._step("starttls", lambda: self._client.docmd("STARTTLS"))
        try:
            self._connection.start_tls(context, self._host)
        except OSError as error:
            raise TransientProviderError(
                "connect_tls", "no verified TLS with the relay; nothing was sent"
            ) from error
        self._client.file = None
        self._client.esmtp_features = {}
        self._hello()

    def log_in(self, user: str, password: str) -> None:
        """Log in by a mechanism both sides support."""
        try:
            self._step("auth", lambda: self._client.login(user, password))
        except smtplib.SMTPAuthenticationError as error:
            code = error.smtp_code
        except smtplib.SMTPException:
            code = 504  # no mechanism in common
        else:
            return
        raise _failure("auth", code, b"")

    def set_envelope(self, sender: str, recipient: str) -> None:
        """Send MAIL FROM and RCPT TO, with SMTPUTF8 where an address needs it."""
        is_utf8 = not (sender + recipient).isascii()
        if is_utf8 and not self.supports("smtputf8"):
            raise RouteUnfitError("smtp_no_utf8", "the relay takes ASCII addresses only")
        if is_utf8:
            self._client.command_encoding = "utf-8"
        options = ["SMTPUTF8"] if is_utf8 else []
        self._step("mail", lambda: self._client.mail(sender, options))
        self._step("rcpt", lambda: self._client.rcpt(recipient))

    def send_data(self, content: bytes) -> str | None:
        """Send the mail; return the relay's queue id, if it gives one.

        From the final dot until the reply is read, the mail is in doubt.
        """
        limit = self._client.esmtp_features.get("size", "")
        if limit.isdecimal() and 0 < int(limit) < len(content):
            raise _TOO_LARGE.error("smtp_too_large")
        self._step("data", lambda: self._client.docmd("DATA"), expected=GO_AHEAD // 100)
        dotted = re.sub(rb"(?m)^\.", b"..", content)
        ending = b".\r\n" if dotted.endswith(b"\r\n") else b"\r\n.\r\n"
        try:
            self._connection.sendall(dotted + ending)
        except OSError as error:
            self._client.close()  # a QUIT would be read as a part of the mail
            raise _cut(error) from error
        try:
            code, text = self._client.getreply()
        except smtplib.SMTPException as error:
            raise DoubtfulProviderError(
                "answer_timeout" if _is_late(error) else "answer_cut",
                "the mail was written in full and the relay did not answer",
            ) from error
        if code // 100 != 2:  # noqa: PLR2004
            raise _failure("end", code, text)
        queued_as = QUEUED_AS.search(text)
        return queued_as[1].decode() if queued_as else None

    def close(self) -> None:
        """Send QUIT if still connected, and close; never raises."""
        self._connection.deadline = self._connection.deadline.capped(QUIT_SECONDS)
        try:
            if self._client.sock is not None:
                self._client.docmd("QUIT")
        except smtplib.SMTPException:
            return  # the mail's outcome is known already
        finally:
            self._client.close()
            self._connection.close()

    def _step(
        self, step: str, command: Callable[[], tuple[int, bytes]], *, expected: int = 2
    ) -> None:
        """Run one command before the mail is complete: if it fails, nothing was taken."""
        try:
            code, text = command()
        except (smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException) as error:
            if isinstance(error, smtplib.SMTPAuthenticationError):
                raise
            raise _cut(error) from None
        if code // 100 != expected:
            raise _failure(step, code, text)


def _failure(step: str, code: int, text: bytes) -> ProviderError:
    """Return the error of a reply; its text is searched for known words, never repeated."""
    reason = f"smtp_{code}" if code > 0 else "smtp_garbage"
    reply_class = code // 100
    for steps, classes, words, failure in WORDS:
        is_such = step in steps.split() and str(reply_class) in classes
        if is_such and re.match(words, text, re.IGNORECASE | re.DOTALL):
            return failure.error(reason)
    row = REPLIES.get((step, code)) or REPLIES.get((step, reply_class))
    if row is None and step == "end" and reply_class != 4:  # noqa: PLR2004
        row = Failure(Outcome.DOUBT, "the relay's answer says neither yes nor no")
    return (row or _BUSY).error(reason)


def _cut(error: Exception) -> TransientProviderError:
    return TransientProviderError(
        "write_timeout" if _is_late(error) else "write_cut",
        "the connection was lost before the mail was complete, so it was not taken",
    )


def _is_late(error: Exception) -> bool:
    """Return True if the deadline was the cause; smtplib hides it in the context."""
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


def _own_name(sock: socket.socket) -> str:
    """Return our EHLO name; smtplib would ask the name server, without a timeout."""
    name = socket.gethostname()
    if "." in name:
        return name
    address = str(sock.getsockname()[0])
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
