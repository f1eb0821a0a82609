"""Build links with a code: the default one, the short one, and from a caller's url template.

A template is a URL with `{{.UserID}}`, `{{.Code}}` and `{{.OrgID}}` in it, in the spelling of
Go's text/template; anything else between double braces is refused when the call is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared.errors import UrlNotAllowedError, UrlTemplateError, UrlTemplateFieldError
from shared.settings.types import LOOPBACK

if TYPE_CHECKING:
    from shared.codes import Code

FIELDS = ("UserID", "Code", "OrgID")
# RFC 3986: characters that are not encoded in a template.
_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=-._~%"
_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"[ \t\r\n]*\.([^\W\d]\w*(?:\.[^\W\d]\w*)*)[ \t\r\n]*")

DEFAULT_PORTS = {"http": 80, "https": 443}
# Only ASCII letters, digits and . - _ in the host: no user information, no escapes, no field.
# International names are written in their xn-- form.
_HOST = r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
_ORIGIN = re.compile(rf"(?P<scheme>https?)://{_HOST}(?=[/?#]|\Z)", re.ASCII | re.IGNORECASE)
_HOST_ENTRY = re.compile(_HOST, re.ASCII | re.IGNORECASE)


def default_link(
    base: str, *, user_id: str, code: Code, org_id: str, language: str | None = None
) -> str:
    """Return the link of a mail: Keyturn's own page.

    The language stands in the link because the page looks nothing up before its form comes back.
    """
    user, org = _quote(user_id), _quote(org_id)
    lang = f"&lang={_quote(language)}" if language else ""
    return f"{base}/ui/password/reset?userID={user}&code={code.link_secret}&orgID={org}{lang}"


def _quote(text: str) -> str:
    """Percent-encode; `quote` takes ten times as long for ids that need no encoding."""
    return text if text.isascii() and text.isalnum() else quote(text, safe="")


def short_link(base: str, *, reset_id: str, code: Code) -> str:
    """Return the link of an SMS: the same meaning in few characters."""
    return f"{base}/r/{reset_id}/{code.link_secret}"


def check_template(template: str) -> None:
    """Raise an error unless links can be made of a caller's template.

    Raises:
        UrlTemplateError: it does not parse, or has another action or an unprintable character.
        UrlTemplateFieldError: it asks for a field we do not have.
    """
    _split_template(template)


def expand_template(template: str, *, user_id: str, code: Code, org_id: str) -> str:
    """Return the link of a caller's template; values are percent-encoded and never parsed.

    Raises:
        UrlTemplateError, UrlTemplateFieldError: as `check_template`.
    """
    values = {"UserID": user_id, "Code": code.link_secret, "OrgID": org_id}
    pieces = _split_template(template)
    pieces[::2] = [quote(text, safe=_URL_CHARACTERS) for text in pieces[::2]]
    pieces[1::2] = [quote(values[field], safe="") for field in pieces[1::2]]
    return "".join(pieces)


def _split_template(template: str) -> list[str]:
    """Return text, field, text, field, …, text."""
    pieces = _ACTION.split(template)
    if any("{{" in text or not text.isprintable() for text in pieces[::2]):
        raise UrlTemplateError
    pieces[1::2] = [_parse_field(action) for action in pieces[1::2]]
    return pieces


def _parse_field(action: str) -> str:
    field = _FIELD.fullmatch(action)
    if field is None:
        raise UrlTemplateError
    if field[1] not in FIELDS:
        raise UrlTemplateFieldError
    return field[1]


def check_link_host(template: str, allowed_hosts: Iterable[str], *, base: str) -> None:
    """Raise unless a template leads to the public URL (`base`) or to an allowed host.

    An entry is `host` (any port) or `host:port`. Another port of the public host may be another
    person's: it must be listed with the port, unless the host is this machine.

    Raises:
        UrlNotAllowedError: it does not, or by http:// where the public URL is https://, or URL
            parsers could disagree on where it leads.
    """
    match = _ORIGIN.match(template)
    if match is None or "\\" in template:
        raise UrlNotAllowedError
    scheme, host, port = _read_origin(match)
    own_match = _ORIGIN.match(base)
    own_scheme, own_host, own_port = _read_origin(own_match) if own_match else ("", "", 0)
    allowed = {parsed for entry in allowed_hosts if (parsed := _parse_host_entry(entry))}
    if host == own_host:
        is_loopback = own_scheme == "http" and host in LOOPBACK
        is_allowed = port == own_port or is_loopback or (host, port) in allowed
    else:
        is_allowed = (host, None) in allowed or (host, port) in allowed
    if not is_allowed or (scheme, own_scheme) == ("http", "https"):
        raise UrlNotAllowedError


def _read_origin(match: re.Match[str]) -> tuple[str, str, int]:
    """Return scheme, host and port."""
    scheme = match["scheme"].lower()
    return scheme, _normalise_host(match["host"]), int(match["port"] or DEFAULT_PORTS[scheme])


def _parse_host_entry(entry: str) -> tuple[str, int | None] | None:
    """Return host and port of an allow-list entry, or None if it is malformed."""
    is_bare_ipv6 = entry.count(":") > 1 and not entry.startswith("[")
    match = _HOST_ENTRY.fullmatch(f"[{entry}]" if is_bare_ipv6 else entry)
    if match is None:
        return None
    return _normalise_host(match["host"]), int(match["port"]) if match["port"] else None


def _normalise_host(host: str) -> str:
    """Return the host in lower case, IPv6 in its shortest form."""
    if not host.startswith("["):
        return host.lower()
    try:
        return IPv6Address(host[1:-1]).compressed
    except AddressValueError:
        return host
