"""Parse settings: each function turns text into a value, or raises ValueError with the remedy."""

from __future__ import annotations

import base64
import hashlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import phonenumbers
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from shared import validation

MIN_SECRET_CHARACTERS = 32
PERMISSIONS = ("user.read", "user.write", "system.read", "system.write")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off", "")


def text(raw: str) -> str:
    """Strip blanks at both ends."""
    return raw.strip()


def line(raw: str) -> str:
    """Parse one line of printable characters, for a mail header."""
    if not raw.isprintable():
        raise ValueError("must be one line of printable characters")
    return raw.strip()


def path(raw: str) -> Path:
    """Parse a path; `~` is the home directory."""
    if not raw.strip():
        raise ValueError("must name a directory")
    return Path(raw.strip()).expanduser()


def number(raw: str) -> float:
    """Parse a finite number, 0 or more."""
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError("must be a number, 0 or more")
    return value


def positive_number(raw: str) -> float:
    """Parse a number above 0."""
    if (value := number(raw)) <= 0:
        raise ValueError("must be a number above 0")
    return value


def count(raw: str) -> int:
    """Parse a whole number, 0 or more."""
    if not raw.strip().isdecimal():
        raise ValueError("must be a whole number, 0 or more")
    return int(raw)


def positive(raw: str) -> int:
    """Parse a whole number above 0."""
    if (value := count(raw)) < 1:
        raise ValueError("must be a whole number above 0")
    return value


def password_length(raw: str) -> int:
    """Parse a least length of passwords."""
    if (value := positive(raw)) > validation.MAX_PASSWORD_CHARACTERS:
        raise ValueError(f"must be at most {validation.MAX_PASSWORD_CHARACTERS}")
    return value


def port(raw: str) -> int:
    """Parse a TCP port."""
    value = count(raw)
    if not 1 <= value <= 65535:  # noqa: PLR2004
        raise ValueError("must be a port, 1 to 65535")
    return value


def boolean(raw: str) -> bool:
    """Parse true or false."""
    if raw.strip().lower() in TRUE:
        return True
    if raw.strip().lower() in FALSE:
        return False
    raise ValueError("must be true or false")


def words(raw: str) -> tuple[str, ...]:
    """Parse words between commas, in lower case."""
    return tuple(word.strip().lower() for word in raw.split(",") if word.strip())


def hosts(raw: str) -> tuple[str, ...]:
    """Parse hosts between commas, each with or without a port."""
    return tuple(validation.link_host(word) for word in words(raw))


def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of ordered lists of known names."""

    def parse(raw: str) -> tuple[str, ...]:
        chosen = words(raw)
        unknown = [name for name in chosen if name not in known]
        if unknown or len(set(chosen)) < len(chosen):
            raise ValueError(f"must list each of {', '.join(known)} at most once, and nothing else")
        return chosen

    return parse


def one_of(*known: str) -> Callable[[str], str]:
    """Return a parser of one known word."""

    def parse(raw: str) -> str:
        if raw.strip().lower() not in known:
            raise ValueError(f"must be {' or '.join(known)}")
        return raw.strip().lower()

    return parse


def numbers(raw: str) -> tuple[float, ...]:
    """Parse numbers between commas."""
    return tuple(number(part) for part in raw.split(",") if part.strip())


def secret_keys(raw: str) -> tuple[str, ...]:
    """Parse signing keys between commas."""
    keys = tuple(part.strip() for part in raw.split(",") if part.strip())
    if not keys:
        raise ValueError("must hold at least one key; make one with `openssl rand -hex 32`")
    for key in keys:
        if len(key) < MIN_SECRET_CHARACTERS or not key.isprintable():
            raise ValueError(
                f"each key needs at least {MIN_SECRET_CHARACTERS} printable characters; "
                "make one with `openssl rand -hex 32`"
            )
    return keys


def url(raw: str) -> str:
    """Parse an http or https URL without query and fragment."""
    parts = urlsplit(raw.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must look like https://reset.example.com")
    return raw.strip().rstrip("/")


def provider_url(raw: str) -> str:
    """Parse scheme, host and port of a provider; http only on loopback, as calls carry a secret."""
    base = url(raw)
    parts = urlsplit(base)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must begin with https:// (http is for loopback only)")
    if parts.path not in ("", "/"):
        raise ValueError("must be the base alone: scheme, host and port")
    return base


def https_url(raw: str) -> str:
    """Parse an https URL, kept to the letter as issuers are compared; http only on loopback."""
    name = raw.strip()
    parts = urlsplit(url(name))
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must begin with https:// (http is for loopback only)")
    if "@" in parts.netloc or not name.isascii() or not name.isprintable() or " " in name:
        raise ValueError("must be an address without a user and without blanks")
    return name


def email(raw: str) -> str:
    """Parse an e-mail address."""
    return validation.email(raw.strip())


def phone(raw: str) -> str:
    """Parse a sender: a phone number (E.164), a short code or a name; empty is none."""
    sender = raw.strip()
    if sender.startswith("+"):
        try:
            parsed = phonenumbers.parse(sender)
        except phonenumbers.NumberParseException as error:
            raise ValueError("must be a phone number such as +41791234567") from error
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return sender


def webhook_public_key(raw: str) -> str:
    """Parse SendGrid's verification key (base64), with or without PEM header lines."""
    lines = [line.strip() for line in raw.splitlines() if not line.startswith("-----")]
    key = "".join(lines)
    try:
        parsed = load_der_public_key(base64.b64decode(key, validate=True)) if key else None
    except ValueError as error:
        raise ValueError("must be the verification key of SendGrid's Event Webhook") from error
    if parsed is not None and not isinstance(parsed, EllipticCurvePublicKey):
        raise ValueError("must be an elliptic curve key, as SendGrid makes them")
    return key


def countries(raw: str) -> tuple[str, ...]:
    """Parse two-letter regions between commas."""
    regions = tuple(word.upper() for word in words(raw))
    unknown = sorted(set(regions) - set(phonenumbers.SUPPORTED_REGIONS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no region; write two letters, such as CH,DE,AT")
    return regions


def prices(raw: str) -> tuple[tuple[str, float], ...]:
    """Parse `REGION=price` between commas; `*` is every other region."""
    found: dict[str, float] = {}
    for part in filter(None, (entry.strip() for entry in raw.split(","))):
        region, _, price = part.partition("=")
        region = region.strip().upper()
        if region != "*":
            countries(region)
        if region in found:
            raise ValueError(f"names {region} twice")
        try:
            found[region] = number(price)
        except ValueError:
            raise ValueError("must look like CH=0.07,DE=0.08,*=0.10") from None
    return tuple(found.items())


def role_permissions(raw: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Parse `ROLE=permission+permission` between commas."""
    pairs: list[tuple[str, frozenset[str]]] = []
    for part in filter(None, (entry.strip() for entry in raw.split(","))):
        role, equals, permissions = part.partition("=")
        if not equals:
            raise ValueError("must look like ORG_OWNER=user.read+user.write,ORG_OWNER_VIEWER=…")
        held = frozenset(filter(None, permissions.strip().split("+")))
        for unknown in sorted(held - set(PERMISSIONS)):
            near = validation.nearest(unknown, PERMISSIONS)
            raise ValueError(f"{unknown} is no permission; the nearest is {near}")
        pairs.append((role.strip(), held))
    return tuple(pairs)


def time_zone(raw: str) -> str:
    """Parse the name of a time zone."""
    try:
        return ZoneInfo(raw.strip()).key
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("must be a time zone such as Europe/Zurich") from error


def short_socket_path(long_path: Path) -> Path:
    """Return a shorter path for a unix socket, unique to the given one."""
    name = hashlib.sha256(str(long_path).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"keyturn-{name}" / "valkey.sock"
