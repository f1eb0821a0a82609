"""Parse ids, addresses, languages and times; each function raises ValueError with the remedy.

No error repeats what was given: it may be an address.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

import idna

_EPOCH = datetime.fromtimestamp(0, tz=UTC)
ID_CHARACTERS = 200
MAX_PASSWORD_CHARACTERS = 200
MIN_PASSWORD_CHARACTERS = 12  # of a login for operators

_PHONE_CHARACTERS = re.compile(r"\+[0-9 ()./-]+")
MAX_PORT = 65535
MAX_IDENTIFIER_CHARACTERS = 254  # RFC 5321: the longest address
MAX_NUMBER_DIGITS = 20  # E.164 has 15, with 00 before them 17; more is neither number nor name
# What telephones and address books put around what is copied.
_AROUND = " \u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_SPELLED_PHONE = re.compile(r"[+\d ()./\u2010\u2013-]+")  # hyphen and dash too
_HOST = re.compile(
    r"((?=.{1,253}(:|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?"
)
# Letters, digits, hyphens; the last label is no number: 127.1 and 0x7f000001 would be addresses.
# Source: RFC 1123, 2.1; https://url.spec.whatwg.org/#ends-in-a-number-checker
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(
    rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?!(?:[0-9]+|0x[0-9a-f]*)\Z){_LABEL}",
    re.IGNORECASE | re.ASCII,
)
_LANGUAGE = re.compile(
    r"(?P<language>[a-z]{2,3})(-(?P<script>[a-z]{4}))?(-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)",
    re.IGNORECASE,
)
# RFC 3339, 5.6: the grammar of `date-time`, and the blank that people write for its T
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:)([0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def identity(text: str) -> str:
    """Check the id of a user or an organisation; return it."""
    if not 1 <= len(text) <= ID_CHARACTERS or not text.isprintable() or "/" in text:
        raise ValueError("must be 1 to 200 printable characters without a slash")
    return text


def email(text: str) -> str:
    """Normalise an e-mail address with a full domain; no DNS query is made."""
    import email_validator  # noqa: PLC0415 - 40 ms, which few processes need at their start

    # Names such as `company.test` and `company.local` pass: closed networks and tests use them, and
    # the provider finds out whether a domain can receive. The library documents this way.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    try:
        return email_validator.validate_email(text, check_deliverability=False).normalized
    except email_validator.EmailNotValidError:
        raise ValueError("must be an e-mail address such as ada@example.com") from None


def ascii_domain(domain: str) -> str:
    """Return a domain in ASCII: its A-labels by IDNA 2008; a domain in ASCII stays as it is.

    UTS 46 prepares it, without the transitional mapping: `straße.example` is another domain than
    `strasse.example`, to which Python's own codec leads. Source: docs/decisions/0023-addresses.md
    """
    try:
        return domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        raise ValueError("has a domain that is no name") from None


def is_host_name(text: str) -> bool:
    """Return True for a name that DNS can have, and that no reader takes for a number."""
    foreign = [label for label in text.lower().split(".") if label.startswith("xn--")]
    try:
        return _HOST_NAME.fullmatch(text) is not None and all(map(idna.ulabel, foreign))
    except idna.IDNAError:
        return False


def ascii_address(address: str) -> str:
    """Return an e-mail address with its domain in ASCII."""
    name, _, domain = address.rpartition("@")
    return f"{name}@{ascii_domain(domain).removesuffix('.')}"


def address_key(address: str) -> str:
    """Return an address for comparison: NFC, lower case, and one form for both of a domain.

    That form is Unicode, as `email` gives it: stored digests were made of it.
    """
    name, at, domain = address.rpartition("@")
    is_foreign = not domain.isascii() or "xn--" in domain.lower()
    known = _unicode_domain(domain) if at and is_foreign else domain
    return unicodedata.normalize("NFC", f"{name}{at}{known.removesuffix('.')}").lower()


def _unicode_domain(domain: str) -> str:
    try:
        return idna.decode(idna.encode(domain, uts46=True))
    except UnicodeError:
        return domain


def phone(text: str) -> str:
    """Normalise a phone number to E.164."""
    import phonenumbers  # noqa: PLC0415

    problem = "must be a phone number with its country, such as +41791234567"
    if not _PHONE_CHARACTERS.fullmatch(text):
        raise ValueError(problem)
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException as error:
        raise ValueError(problem) from error
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # A number that reads as another one once it is written down could reach a stranger.
    if not phonenumbers.is_possible_number(number) or phonenumbers.parse(found) != number:
        raise ValueError(problem)
    return found


def language(text: str) -> str:
    """Normalise a BCP 47 tag: `de-CH`, `zh-Hant-TW`."""
    match = _LANGUAGE.fullmatch(text)
    if match is None:
        raise ValueError("must be a language tag such as de or pt-BR")
    parts = [match["language"].lower()]
    parts += [match["script"].title()] if match["script"] else []
    parts += [match["region"].upper()] if match["region"] else []
    return "-".join(parts) + match["variants"].lower()


def link_host(text: str) -> str:
    """Normalise a host that links may lead to, with or without a port."""
    host = text.strip().lower()
    match = _HOST.fullmatch(host)
    if not match or not 0 < int((match["port"] or ":1")[1:]) <= MAX_PORT:
        raise ValueError("must be a host such as app.example.com, without https:// and path")
    return host


def comparable(address: str) -> str:
    """Normalise a typed address for comparison: case and the form of a number do not matter."""
    text = address.strip()
    try:
        return address_key(email(text)) if "@" in text else phone(text)
    except ValueError:
        return address_key(text)


def identifiers(text: str, region: str | None = None) -> tuple[str, ...]:
    """Return the ways to read an e-mail address, phone number or user name that a person typed.

    The likeliest is first. `region`: of a number without its country.
    """
    import phonenumbers  # noqa: PLC0415

    plain, given = (unicodedata.normalize(f, text).strip(_AROUND) for f in ("NFKC", "NFC"))
    if not 1 <= len(plain) <= MAX_IDENTIFIER_CHARACTERS or not plain.isprintable():
        raise ValueError(
            f"must be an e-mail address, a phone number or a user name, of 1 to "
            f"{MAX_IDENTIFIER_CHARACTERS} printable characters"
        )
    number = None
    if _SPELLED_PHONE.fullmatch(plain):
        if sum(map(str.isdecimal, plain)) > MAX_NUMBER_DIGITS:
            raise ValueError(f"must have at most {MAX_NUMBER_DIGITS} digits as a phone number")
        with suppress(ValueError, phonenumbers.NumberParseException):
            with_plus = f"+{plain[2:]}" if plain.startswith("00") else plain
            parsed = phonenumbers.parse(with_plus, region)
            number = phone(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    return tuple(dict.fromkeys(filter(None, (number, plain, given if given.isprintable() else ""))))


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that is most like a given one; one that holds it comes first."""
    name = name[:ID_CHARACTERS]
    longer = [each for each in known if name.lower() in each.lower()]
    return get_close_matches(name, longer or known, n=1, cutoff=0.0)[0]


def parse_timestamp(text: str) -> datetime:
    """Parse an RFC 3339 timestamp, in UTC, cut to microseconds.

    A leap second (`:60`) counts as the last microsecond before it: Python's clocks have none.
    """
    problem = "must be a moment such as 2026-11-23T12:00:00Z, with its time zone"
    if not (match := _TIMESTAMP.fullmatch(text)):
        raise ValueError(problem)
    day, minute, second, fraction, zone = match.groups(default="")
    if second == "60":
        second, fraction = "59", ".999999"
    normalised = f"{day}T{minute}{second}{fraction}{zone.upper()}"
    try:
        return datetime.fromisoformat(normalised).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(problem) from None


def moment(ms: str | float) -> datetime:
    """Convert milliseconds since 1970, as in the store's records, to a datetime."""
    return datetime.fromtimestamp(float(ms) / 1000, tz=UTC)


def moment_from_us(us: str | int) -> datetime:
    """Convert microseconds since 1970 to a datetime, exactly."""
    return _EPOCH + timedelta(0, 0, int(us))


def format_timestamp(moment: datetime | None, *, precision: str = "microseconds") -> str | None:
    """Format a time as RFC 3339 in UTC: `2026-11-23T12:00:00.123456Z`; None for None."""
    return (
        moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
        if moment
        else None
    )


def logins(raw: str) -> tuple[str, ...]:
    """Parse `user:password` pairs between commas."""
    pairs = tuple(part.strip() for part in raw.split(",") if part.strip())
    for pair in pairs:
        user, _, password = pair.partition(":")
        is_plain = pair.isprintable() and pair.isascii()  # Flower compares no others
        if not user or len(password) < MIN_PASSWORD_CHARACTERS or not is_plain:
            raise ValueError(
                f"must look like operator:password, in ASCII, with at least "
                f"{MIN_PASSWORD_CHARACTERS} characters behind the colon"
            )
    return pairs
