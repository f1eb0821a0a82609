"""Where a caller's url template may lead: an address is read one way by us and by every browser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import TypeAlias

from shared.errors import UrlNotAllowedError

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
