"""KEYTURN_SMTP_URL, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from shared.errors import SettingsError
from shared.setting_values import LOOPBACK

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
