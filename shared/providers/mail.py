"""What every mail of ours has in its head, whoever carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import UnsendableError
from shared.providers.soundness import one_line

if TYPE_CHECKING:
    from shared.circulars import Copy
    from shared.models import Email


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
