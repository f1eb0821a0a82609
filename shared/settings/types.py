"""Parse settings: each function turns text into a value, or raises ValueError with the remedy."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import tempfile
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from shared import validation
from shared.models import Queue

MIN_SECRET_CHARACTERS = 32
SIGNING_SECRET_BYTES = range(24, 65)  # source: the Standard Webhooks specification
PERMISSIONS = (
    *("user.read", "user.write", "user.delete", "org.read", "org.write"),
    *("system.read", "system.write"),
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TRUE = ("true", "1", "yes", "on")
_ADDRESS_LITERAL = re.compile(r"\[(IPv6:)?([0-9a-f:.]+)\]", re.IGNORECASE)  # RFC 5321, 4.1.3
FALSE = ("false", "0", "no", "off", "")
Network: TypeAlias = IPv4Network | IPv6Network


class BrokerKind(StrEnum):
    """What carries the hints."""

    REDIS = "redis"
    RABBITMQ = "rabbitmq"
    SQS = "sqs"
    NONE = "none"  # the sweepers deliver

    @property
    def has_events(self) -> bool:
        """Return True if it carries task events and remote control, which Flower needs."""
        return self in (BrokerKind.REDIS, BrokerKind.RABBITMQ)


_BROKERS = {
    **dict.fromkeys(("redis", "rediss", "unix", "redis+socket", "sentinel"), BrokerKind.REDIS),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), BrokerKind.RABBITMQ),
    "sqs": BrokerKind.SQS,
}


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


def networks(raw: str) -> tuple[Network, ...]:
    """Parse addresses and networks between commas."""
    try:
        return tuple(ip_network(word) for word in words(raw))
    except ValueError as error:
        raise ValueError(f"{error}; write addresses or networks, such as 10.0.0.0/8,::1") from error


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
    keys = secrets(raw)
    if not keys:
        raise ValueError("must hold at least one key; make one with `openssl rand -hex 32`")
    for key in keys:
        if len(key) < MIN_SECRET_CHARACTERS or not key.isprintable():
            raise ValueError(
                f"each key needs at least {MIN_SECRET_CHARACTERS} printable characters; "
                "make one with `openssl rand -hex 32`"
            )
    return keys


def broker_kind(text: str) -> BrokerKind:
    """Return the kind of a broker's URL; of several between semicolons they are one.

    Raises:
        ValueError: no kind of broker has such a URL.
    """
    schemes = {part.partition("://")[0].lower() for part in text.split(";")}
    kinds = {BrokerKind.NONE if s == "none" else _BROKERS.get(s) for s in schemes}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise ValueError(
            "must look like redis://host:6379/0, amqp://user:password@host:5672/vhost or sqs://, "
            "or be none; a Redis Cluster cannot be the broker"
        )
    return kind


def broker_url(raw: str) -> str:
    """Parse the broker's URL, or `none`; empty is the store's server."""
    found = raw.strip()
    if found and broker_kind(found) is BrokerKind.NONE:
        return BrokerKind.NONE.value
    return found


def sqs_prefix(raw: str) -> str:
    """Parse the beginning of the names of queues at SQS, which knows letters, digits, - and _."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,60}", raw.strip()):
        raise ValueError("must be at most 60 letters, digits, - and _")
    return raw.strip()


def sqs_queues(raw: str) -> tuple[tuple[str, str], ...]:
    """Parse `queue=URL` between commas: every queue at SQS, once they are not to be made."""
    pairs = (each.strip().partition("=") for each in raw.split(",") if each.strip())
    found = {name: url(place) for name, _, place in pairs}
    if found and set(found) != set(Queue):
        raise ValueError(f"must name the URL of each of {', '.join(Queue)}: urgent=https://…,…")
    return tuple(found.items())


def url(raw: str) -> str:
    """Parse an http or https URL without query and fragment; its host becomes ASCII."""
    parts = urlsplit(raw.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must look like https://reset.example.com")
    user, at, place = parts.netloc.rpartition("@")
    host, colon, port_text = place.partition(":")  # IPv6 is ASCII: its parts come back as they were
    netloc = f"{user}{at}{validation.ascii_domain(host)}{colon}{port_text}"
    return parts._replace(netloc=netloc).geturl().rstrip("/")


def origins(raw: str) -> tuple[str, ...]:
    """Parse origins between commas, as browsers write them; `*` is any, empty is none."""
    found = words(raw)
    for each in found:
        parts = urlsplit(each)
        is_origin = parts.scheme in ("http", "https") and each == f"{parts.scheme}://{parts.netloc}"
        if each != "*" and not (is_origin and parts.hostname and "@" not in parts.netloc):
            raise ValueError("must list origins such as https://shop.example.com, or be *")
    return found


def contact(raw: str) -> str:
    """Parse where a weakness is reported to: an e-mail address or an https URL; empty is none."""
    address = raw.strip()
    if not address or address.startswith("https://"):
        return url(address) if address else ""
    return f"mailto:{email(address.removeprefix('mailto:'))}"


def org(raw: str) -> str:
    """Parse the id of an organisation; empty is none."""
    return validation.identity(raw.strip()) if raw.strip() else ""


def webhook_secret(raw: str) -> str:
    """Parse a secret of Standard Webhooks; empty is none."""
    secret = raw.strip()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if secret and len(key) < SIGNING_SECRET_BYTES.start:
        raise ValueError(
            "must be base64 of at least 24 bytes; make one with `openssl rand -base64 32`"
        )
    return secret


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
    """Parse an e-mail address; its domain becomes ASCII."""
    return validation.ascii_address(validation.email(raw.strip()))


def ehlo_name(raw: str) -> str:
    """Parse a host's name, or an address literal as SMTP writes it; empty is none."""
    name = validation.ascii_domain(raw.strip())
    literal = _ADDRESS_LITERAL.fullmatch(name)
    try:
        if literal:
            (IPv6Address if literal[1] else IPv4Address)(literal[2])
    except ValueError:
        literal = None
    if name and not literal and not validation.is_host_name(name):
        raise ValueError("must be a name such as reset.example.com, or [192.0.2.1]")
    return name


def phone(raw: str) -> str:
    """Parse a sender: a phone number (E.164), a short code or a name; empty is none."""
    sender = raw.strip()
    if sender.startswith("+"):
        import phonenumbers  # noqa: PLC0415

        try:
            parsed = phonenumbers.parse(sender)
        except phonenumbers.NumberParseException as error:
            raise ValueError("must be a phone number such as +41791234567") from error
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return sender


def secrets(raw: str) -> tuple[str, ...]:
    """Parse secrets between commas."""
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def signing_secrets(raw: str) -> tuple[str, ...]:
    """Parse secrets of Standard Webhooks between commas."""
    found = secrets(raw)
    for each in found:
        prefix, _, key = each.partition("_")
        try:
            size = len(base64.b64decode(key, validate=True)) if prefix == "whsec" else 0
        except ValueError:
            size = 0
        if size not in SIGNING_SECRET_BYTES:
            raise ValueError(
                "must be whsec_ and 24 to 64 bytes in base64; make one with "
                '`echo "whsec_$(openssl rand -base64 32)"`'
            )
    return found


def webhook_public_keys(raw: str) -> tuple[str, ...]:
    """Parse SendGrid's verification keys, between commas or as PEM one after the other."""
    return tuple(filter(None, map(_webhook_public_key, re.split(r",|-----END[^,]*?-----", raw))))


def _webhook_public_key(raw: str) -> str:
    """Parse one verification key (base64), with or without PEM header lines."""
    key = "".join(re.sub(r"-----BEGIN.*?-----", "", raw).split())
    if not key:
        return key
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    try:
        parsed = load_der_public_key(base64.b64decode(key, validate=True))
    except ValueError as error:
        raise ValueError("must be the verification key of SendGrid's Event Webhook") from error
    if not isinstance(parsed, EllipticCurvePublicKey):
        raise ValueError("must be an elliptic curve key, as SendGrid makes them")  # noqa: TRY004
    return key


def countries(raw: str) -> tuple[str, ...]:
    """Parse two-letter regions between commas."""
    regions = tuple(word.upper() for word in words(raw))
    if not regions:
        return ()
    import phonenumbers  # noqa: PLC0415

    unknown = sorted(set(regions) - set(phonenumbers.SUPPORTED_REGIONS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no region; write two letters, such as CH,DE,AT")
    return regions


def region(raw: str) -> str:
    """Parse one two-letter region; empty is none."""
    found = countries(raw)
    if len(found) > 1:
        raise ValueError("must be one region, such as CH")
    return next(iter(found), "")


def forgot_hosts(raw: str) -> tuple[tuple[str, str], ...]:
    """Parse `HOST=organisation` between commas; `*` is every other host."""
    found: dict[str, str] = {}
    for part in filter(None, (entry.strip() for entry in raw.split(","))):
        host, equals, org_id = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError("must look like login.acme.example=acme,*=keyturn")
        host = host if host == "*" else validation.link_host(host)
        if host in found:
            raise ValueError(f"names {host} twice")
        found[host] = validation.identity(org_id)
    return tuple(found.items())


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
        named = frozenset(filter(None, (each.strip() for each in permissions.split("+"))))
        if not role.strip():
            raise ValueError("must name a role before each =")
        for unknown in sorted(named - set(PERMISSIONS)):
            near = validation.nearest(unknown, PERMISSIONS)
            raise ValueError(f"{unknown} is no permission; the nearest is {near}")
        pairs.append((role.strip(), named))
    if not any(permissions for _, permissions in pairs):
        raise ValueError(
            "gives no role a permission, so every call would be refused; name one, or unset it"
        )
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
