"""Check addresses and texts of messages; build the headers of every mail."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from shared.errors import UnsendableError
from shared.validation import ascii_address

if TYPE_CHECKING:
    from shared.models import BulkRecipient, Email, Sms

MAX_ID_CHARACTERS = 200
MAX_ADDRESS_CHARACTERS = 320  # 64 + "@" + 255; source: RFC 5321 4.5.3.1
MAX_NAME_CHARACTERS = 60
JOINERS = "\u200c\u200d"  # invisible, yet part of how Persian and Indic names are written
# What mail programs turn into a link by themselves, and so would carry somebody's phishing.
_ADDRESS = re.compile(r"://|www\.|[^\W_]-?\.-?[^\W_]{2,}|\d\.\d+\.\d", re.IGNORECASE)
# What an organisation's operator does not call it; a domain may be its name: `Booking.com`.
_URL = re.compile(r"://|www\.|\S@\S", re.IGNORECASE)


def one_line(text: str) -> str:
    """Return the text without line breaks and other control characters, for a header."""
    if text.isprintable():
        return text.strip()
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def clean_text(text: str) -> str:
    """Return the text as UTF-8 can encode it: a lone surrogate becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def checked_address(email: Email | BulkRecipient) -> str:
    """Return the address to write to, its domain in ASCII: the same for every provider.

    Raises:
        UnsendableError: it could mean more than one recipient, or inject a header, or its domain
            cannot be encoded.
    """
    address = sendable(email.recipient.address)
    is_plain = (
        address.isprintable()
        and 0 < address.rfind("@") < len(address) - 1 <= MAX_ADDRESS_CHARACTERS
        and not any(sign in address for sign in ' ,;<>"()')
    )
    if not is_plain:
        raise UnsendableError(
            "bad_address", "the address is not one plain address", suppression=None
        )
    return address


def checked_number(sms: Sms) -> str:
    """Return the number to write to; whether it is in use, the provider knows better.

    Raises:
        UnsendableError: it is empty or not printable ASCII.
    """
    number = sms.recipient.address
    if not (number and number.isascii() and number.isprintable()):
        raise UnsendableError("bad_number", "the phone number is no number")
    return number


def message_headers(email: Email | BulkRecipient) -> dict[str, str]:
    """Return the headers every mail has; an address to unsubscribe at is none, on purpose.

    A person asked for the message, and gets none without asking. Sources: Auto-Submitted, which
    prevents out-of-office replies: RFC 3834 5. X-Auto-Response-Suppress, the same for Exchange:
    MS-OXCMAIL 2.2.3.2.14. Feedback-ID: https://support.google.com/mail/answer/6254652
    """
    headers = {
        "Keyturn-Reset-Id": one_line(email.reset_id),
        "Message-ID": one_line(email.message_id),
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "Feedback-ID": one_line(email.feedback_id),
    }
    return {name: value for name, value in headers.items() if value}


def sendable(address: str) -> str:
    """Return the address with its domain in ASCII.

    Raises:
        UnsendableError: the domain cannot be encoded.
    """
    try:
        return ascii_address(address)
    except ValueError:  # its text does not hold the domain
        raise UnsendableError("bad_address", "the address's domain is no name") from None


def message_id(value: object) -> str | None:
    """Return a provider's message id, or None if it is not printable or too long."""
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_ID_CHARACTERS:
        return value
    return None


def clean_name(raw: str, *, of_organisation: bool = False) -> str | None:
    """Return a name as one line of at most 60 printable characters; None if none can be used.

    A name that holds an address is not used at all; an organisation's may be a domain.
    """
    line = " ".join(raw.split())
    if not line.isprintable():
        line = "".join(sign for sign in line if sign.isprintable() or sign in JOINERS)
        line = line.strip(JOINERS + " ")
    if not line or _holds(_URL if of_organisation else _ADDRESS, line):
        return None
    return (
        line if len(line) <= MAX_NAME_CHARACTERS else line[: MAX_NAME_CHARACTERS - 1].rstrip() + "…"
    )


def _holds(address: re.Pattern[str], line: str) -> bool:
    """Return True if a part of the line looks like an address, also in full-width letters."""
    if not line.isascii():
        line = unicodedata.normalize("NFKC", line).replace("\u3002", ".")
        line = "".join(sign for sign in line if sign not in JOINERS)
    return address.search(line) is not None
