"""What every route uses: the services, the caller's credentials, JSON responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import takewhile
from typing import Any, TypeAlias

import orjson
from flask import Request, Response, current_app, request

from shared.settings import Settings
from shared.settings.types import Network
from web.auth import Credentials, count_change_in_force
from web.problems import Problem
from web.services import WebServices

Address: TypeAlias = IPv4Address | IPv6Address

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
COUNTED_AS_RESETS = ("api_admin.resend_reset",)  # endpoints
CACHED_SOURCES = 4096
MAX_FORWARDED_CHARACTERS = 500  # of X-Forwarded-For, from its right end: a dozen proxies
BODY_ERROR = "keyturn.body_error"  # in the environ: why there is no body (web/server/asgi.py)


@dataclass(frozen=True, slots=True)
class ClientSource:
    """Where a request comes from, as far as it is believed."""

    address: Address | None  # None: a socket without addresses

    @property
    def counted(self) -> str:
        """Return what budgets are counted by: an IPv4 address, the /64 of an IPv6 one."""
        return _network(self.address, 32, 64)

    @property
    def cut(self) -> str:
        """Return the network to show and log: a /24, or the /48 of an IPv6 address."""
        return _network(self.address, 24, 48)

    def shown(self, how: str) -> str | None:
        """Return it as KEYTURN_LOG_ADDRESSES asks: `cut`, `whole`, or not at all (`none`)."""
        return {"cut": self.cut, "whole": str(self.address or "unknown")}.get(how)


class ListWantedError(Exception):
    """The caller may send a list: have it arrive, then run the application again."""

    STATUS = 100


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The headers that a use case needs."""

    credentials: Credentials
    idempotency_key: str | None


def limit_headers(settings: Settings, problem: Problem | None = None) -> dict[str, str]:
    """Return RateLimit-Policy, the windows of resets; with RateLimit for a limit that was reached.

    Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
    """
    windows = (
        ("organisation", settings.org_limit_per_minute, 60),
        ("caller", settings.caller_limit_per_minute, 60),
        ("cooldown", 1, int(settings.user_cooldown_seconds)),
        ("user_hour", settings.user_limit_per_hour, 3600),
        ("user_day", settings.user_limit_per_day, 86400),
    )
    policy = ", ".join(f'"{name}";q={most};w={window}' for name, most, window in windows
                       if most and window)  # fmt: skip
    reached = problem and problem.limit and f'"{problem.limit}";r=0;t={problem.retry_after_seconds}'
    headers = {"RateLimit-Policy": policy, "RateLimit": reached}
    return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True, slots=True)
class CallResponse:
    """The response message in protobuf's JSON, and the reset that was recorded, now or before."""

    body: dict[str, Any]
    reset_id: str | None = None
    is_repeat: bool = False  # an earlier call with the same Idempotency-Key recorded it

    def headers(self, settings: Settings) -> dict[str, str]:
        """Return what a caller learns beside the message."""
        named = {"Keyturn-Reset-Id": self.reset_id} if self.reset_id else {}
        repeat = {"Idempotent-Replayed": "true"} if self.is_repeat else {}
        return limit_headers(settings) | named | repeat


def current_services() -> WebServices:
    """Return the services of this application."""
    services: WebServices = current_app.extensions["keyturn"]
    return services


def client_source(of: Request | None = None) -> ClientSource:
    """Return the source of a request, by default Flask's current one."""
    of = of or request
    forwarded = of.headers.get("X-Forwarded-For", "")
    trusted = current_services().settings.trusted_proxies
    return find_source(of.remote_addr or "", forwarded, trusted)


def find_source(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> ClientSource:
    """Return the nearest address that is no trusted proxy: the peer, or one X-Forwarded-For names.

    The header is read from its right end, where proxies add; what stands before the first address
    that is not trusted is the client's own claim, which may be long and is not kept.
    """
    return _read_source(peer, forwarded[-MAX_FORWARDED_CHARACTERS:] if trusted else "", trusted)


@lru_cache(CACHED_SOURCES)
def _read_source(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> ClientSource:
    named = map(_parse_address, (peer, *reversed(forwarded.split(","))))
    readable = list(takewhile(lambda address: address is not None, named))
    outside = (each for each in readable if not any(each in network for network in trusted))
    return ClientSource(next(outside, readable[-1] if readable else None))


@lru_cache(CACHED_SOURCES)
def _network(address: Address | None, ipv4_bits: int, ipv6_bits: int) -> str:
    if address is None:
        return "unknown"
    bits = ipv4_bits if isinstance(address, IPv4Address) else ipv6_bits
    # By its number, for an IPv6 address may have a zone.
    return str(ip_network((type(address)(int(address)), bits), strict=False))


def _parse_address(text: str) -> Address | None:
    """Return an address, with or without a port; an IPv4 one where it is written as IPv6."""
    has_port = "[" in text or text.count(":") == 1
    bare = text.strip().lstrip("[").partition("]" if "]" in text else ":")[0] if has_port else text
    try:
        found = ip_address(bare.strip())
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def credentials() -> Credentials:
    """Return the credentials in the request's headers."""
    return Credentials(
        request.headers.get("Authorization"), request.headers.get("x-zitadel-orgid") or None
    )


def count_changes() -> None:
    """Count a request that may change something; before every one of Keyturn's own API.

    Raises:
        CallerError: the token, its organisation header, or too many requests.
    """
    if isinstance(request.environ.get(BODY_ERROR), ListWantedError):
        return  # the request is counted once its list has arrived
    if request.method not in SAFE_METHODS and request.endpoint not in COUNTED_AS_RESETS:
        count_change_in_force(current_services(), credentials())


def request_context() -> RequestContext:
    """Return the headers that a use case needs."""
    return RequestContext(credentials(), request.headers.get("Idempotency-Key"))


def respond(response: CallResponse) -> Response:
    """Return the response of one of ZITADEL's calls, with its headers."""
    headers = response.headers(current_services().settings)
    return json_response(response.body, headers=headers)


def json_response(body: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(body), mimetype="application/json", headers=headers)
