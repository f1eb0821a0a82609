"""What no message may have in it, whoever carries it: line breaks in headers, two recipients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import UnsendableError

if TYPE_CHECKING:
    from shared.models import Copy, Email, Sms

MAX_ADDRESS_CHARACTERS = 320  # 64 + "@" + 255; source: RFC 5321 4.5.3.1


def one_line(text: str) -> str:
    """The text without line breaks and other control characters: it stands in a header."""
    if text.isprintable():
        return text.strip()
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def sound_text(text: str) -> str:
    """The text as UTF-8 can write it: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def checked_address(email: Email | Copy) -> str:
    """The address to write to.

    Raises:
        UnsendableError: it could mean more than one recipient, or smuggle in a header.
    """
    address = email.recipient.address
    is_sound = (
        address.isprintable()
        and 0 < address.rfind("@") < len(address) - 1 <= MAX_ADDRESS_CHARACTERS
        and not any(sign in address for sign in ' ,;<>"()')
    )
    if not is_sound:
        raise UnsendableError(
            "bad_address", "the address is not one plain address", suppression=None
        )
    return address


def checked_number(sms: Sms) -> str:
    """The number to write to; whether somebody has it, the provider knows better.

    Raises:
        UnsendableError: it is not even text that a number could be.
    """
    number = sms.recipient.address
    if not (number and number.isascii() and number.isprintable()):
        raise UnsendableError("bad_number", "the phone number is no number")
    return number


def own_headers(email: Email | Copy) -> dict[str, str]:
    """Our id, the Message-ID that is the same on every attempt, and that no person wrote this.

    Source of Auto-Submitted: RFC 3834 5; it keeps holiday replies away.
    """
    headers = {
        "Keyturn-Reset-Id": one_line(email.reset_id),
        "Message-ID": one_line(email.message_id),
        "Auto-Submitted": "auto-generated",
    }
    return {name: value for name, value in headers.items() if value}


def ascii_domain(address: str) -> str:
    """The address with its domain in the letters SMTP knows everywhere.

    Raises:
        UnsendableError: there is no such domain name.
    """
    name, _, domain = address.rpartition("@")
    try:
        return f"{name}@{domain.encode('idna').decode()}"
    except UnicodeError:
        # The cause holds the domain.
        raise UnsendableError("bad_address", "the address's domain is no name") from None
