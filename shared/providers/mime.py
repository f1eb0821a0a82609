"""A mail as SMTP carries it: text and HTML beside each other, every header one line."""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from shared.providers.mail import ascii_domain, own_headers
from shared.providers.soundness import one_line, sound_text

if TYPE_CHECKING:
    from datetime import datetime

    from shared.models import Email

# Folding at 78 would break a long Message-ID into an encoded word, which no reader knows again.
HEADERS = SMTP.clone(max_line_length=998)
HEADERS_UTF8 = HEADERS.clone(utf8=True)
PART_ENCODING = "quoted-printable"  # readable in a log of the wire, and never 8 bit


def spell_mime(email: Email, *, recipient: str, at: datetime, is_utf8: bool = False) -> bytes:
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
