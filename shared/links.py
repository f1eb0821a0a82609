"""The addresses that carry a code: the default link, the short one, and a caller's own template.

A template is an address with `{{.UserID}}`, `{{.Code}}` and `{{.OrgID}}` in it, in the spelling of
Go's text/template; anything else between double braces is refused when the call is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from shared.errors import UrlNotAllowedError, UrlTemplateError, UrlTemplateFieldError

if TYPE_CHECKING:
    from shared.codes import Code

FIELDS = ("UserID", "Code", "OrgID")
# RFC 3986: what may stand in an address as it is; every other sign of a template is encoded.
_URL_SIGNS = ":/?#[]@!$&'()*+,;=-._~%"
_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"[ \t\r\n]*\.([^\W\d]\w*(?:\.[^\W\d]\w*)*)[ \t\r\n]*")


def default_link(
    base: str, *, user_id: str, code: Code, org_id: str, language: str | None = None
) -> str:
    """The link of a mail: Keyturn's own page.

    The language stands in the link because the page looks nothing up before its form comes back.
    """
    user, org = _quote(user_id), _quote(org_id)
    lang = f"&lang={_quote(language)}" if language else ""
    return f"{base}/ui/password/reset?userID={user}&code={code.signs}&orgID={org}{lang}"


def _quote(text: str) -> str:
    """The text percent-encoded; most ids need none of it, and ten times the time to learn so."""
    return text if text.isascii() and text.isalnum() else quote(text, safe="")


def short_link(base: str, *, reset_id: str, code: Code) -> str:
    """The link of an SMS: of the same meaning, in few signs."""
    return f"{base}/r/{reset_id}/{code.signs}"


def check_template(template: str) -> None:
    """Give nothing when links can be made of a caller's template.

    Raises:
        UrlTemplateError: it does not parse, holds another action or an unprintable sign.
        UrlTemplateFieldError: it asks for a field we do not have.
    """
    _take_apart(template)


def expand_template(template: str, *, user_id: str, code: Code, org_id: str) -> str:
    """A caller's template as a link; values are percent-encoded and never read again.

    Raises:
        UrlTemplateError, UrlTemplateFieldError: as `check_template`.
    """
    values = {"UserID": user_id, "Code": code.signs, "OrgID": org_id}
    pieces = _take_apart(template)
    pieces[::2] = [quote(words, safe=_URL_SIGNS) for words in pieces[::2]]
    pieces[1::2] = [quote(values[field], safe="") for field in pieces[1::2]]
    return "".join(pieces)


def _take_apart(template: str) -> list[str]:
    """Words, field, words, field, …, words."""
    pieces = _ACTION.split(template)
    if any("{{" in words or not words.isprintable() for words in pieces[::2]):
        raise UrlTemplateError
    pieces[1::2] = [_field_of(action) for action in pieces[1::2]]
    return pieces


def _field_of(action: str) -> str:
    field = _FIELD.fullmatch(action)
    if field is None:
        raise UrlTemplateError
    if field[1] not in FIELDS:
        raise UrlTemplateFieldError
    return field[1]


DEFAULT_PORTS = {"http": 80, "https": 443}

# Nothing but letters, digits and . - _ in the host: no user information, no escapes, no field, no
# sign that is a letter elsewhere. International names are written in their xn-- form.
_HOST = r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
_TEMPLATE = re.compile(rf"(?P<scheme>https?)://{_HOST}(?=[/?#]|\Z)", re.ASCII | re.IGNORECASE)
_ENTRY = re.compile(_HOST, re.ASCII | re.IGNORECASE)

_Place: TypeAlias = tuple[str, int | None]


def check_link_host(template: str, allowed_hosts: Iterable[str]) -> None:
    """Give nothing when a template leads to an allowed host (`host`: any port, or `host:port`).

    Raises:
        UrlNotAllowedError: it does not, or readers could differ on where it leads.
    """
    match = _TEMPLATE.match(template)
    if match is None or "\\" in template:
        raise UrlNotAllowedError
    host = _comparable(match["host"])
    port = int(match["port"] or DEFAULT_PORTS[match["scheme"].lower()])
    places = {place for entry in allowed_hosts if (place := _place(entry))}
    if (host, None) not in places and (host, port) not in places:
        raise UrlNotAllowedError


def _place(entry: str) -> _Place | None:
    """An entry of an allow-list as host and port; None when it is none."""
    is_bare_ipv6 = entry.count(":") > 1 and not entry.startswith("[")
    match = _ENTRY.fullmatch(f"[{entry}]" if is_bare_ipv6 else entry)
    if match is None:
        return None
    return _comparable(match["host"]), int(match["port"]) if match["port"] else None


def _comparable(host: str) -> str:
    """A host as it is compared: lower case, IPv6 in its shortest spelling."""
    if not host.startswith("["):
        return host.lower()
    try:
        return IPv6Address(host[1:-1]).compressed
    except AddressValueError:
        return host
