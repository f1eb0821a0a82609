"""Sign and send one webhook; check where a subscriber's URL may lead.

Called by the worker and by `keyturn webhook test`. Private addresses are refused by default.
Source: the Standard Webhooks specification, https://www.standardwebhooks.com
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

import orjson

from shared.errors import ProviderError
from shared.providers.transport.http import Transport
from shared.providers.transport.signing import signed_headers
from shared.store.webhooks.deliveries import Webhook
from shared.validation import format_timestamp, is_host_name

TIMEOUT_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 86_400.0
MAX_TRANSPORTS = 500
MAX_URL_CHARACTERS = 500
# Not of the public Internet, whatever this Python's ipaddress knows: IANA's registries of special
# purposes, what is out of use, and the addresses of clouds' metadata. Only 2000::/3 is handed out.
# Source: https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry
NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10",  # with 100.100.100.200 (Alibaba Cloud)
        "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "168.63.129.16/32",  # Azure
        "192.0.0.0/24",  # with 192.0.0.192 (Oracle Cloud)
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "::/3", "4000::/2", "8000::/1",  # with fd00:ec2::254 (AWS)
        "2001::/23",  # with Teredo, 2001::/32
        "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
    )
)  # fmt: skip
# An IPv4 address in the last 32 bits, which a gateway or this machine would connect to.
MAPPED = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))  # RFC 6052

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one call."""

    status: int | None  # None: there was no answer
    reason: str
    retry_after_seconds: float = 0

    @property
    def is_taken(self) -> bool:
        """True for a 2xx."""
        return (
            self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES
        )

    @property
    def is_gone(self) -> bool:
        """True for 410: the subscriber wants no more webhooks."""
        return self.status == HTTPStatus.GONE


class Subscribers:
    """Calls to subscribers, from any number of threads; connections are kept alive."""

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns seconds since 1970."""
        self._may_reach = None if allow_private else is_public
        self._timeout_seconds, self._clock = timeout_seconds, clock
        self._transports: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def call(self, url: str, secret: str, *, webhook_id: str, body: bytes) -> Reply:
        """Send one signed POST. Redirects are not followed: they could lead anywhere."""
        parts = urlsplit(url)
        at = int(self._clock())
        headers = signed_headers((secret,), webhook_id, at, body)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        transport = self._transport(f"{parts.scheme}://{parts.netloc}")
        try:
            answer = transport.call("POST", target, headers=headers, body=body)
        except ProviderError as error:
            return Reply(None, error.reason)
        return Reply(answer.status, f"http_{answer.status}", _retry_after(answer.headers))

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for transport in self._transports.values():
                transport.close()

    def _transport(self, base_url: str) -> Transport:
        with self._lock:
            if base_url not in self._transports:
                if len(self._transports) >= MAX_TRANSPORTS:  # calls under way keep theirs
                    self._transports.clear()
                self._transports[base_url] = Transport(
                    base_url, timeout_seconds=self._timeout_seconds, may_reach=self._may_reach
                )
            return self._transports[base_url]


def build_body(webhook: Webhook) -> bytes:
    """Return the JSON body of a webhook; it contains no address and no code."""
    at = format_timestamp(webhook.at, precision="milliseconds")
    return orjson.dumps(
        {
            "type": webhook.event,
            "timestamp": at,
            "data": {
                "resetId": webhook.reset_id if webhook.status else None,  # None: without a code
                "userId": webhook.user_id,
                "orgId": webhook.org_id,
                "channel": webhook.channel or None,
                "status": webhook.status or None,
                "reason": webhook.reason,
                "at": at,
            },
        }
    )


def build_test_body(subscription_id: str, org_id: str, at: datetime) -> bytes:
    """Return the JSON body of `keyturn webhook test`."""
    data = {"subscriptionId": subscription_id, "orgId": org_id}
    timestamp = format_timestamp(at, precision="milliseconds")
    return orjson.dumps({"type": "webhook.test", "timestamp": timestamp, "data": data})


def read_url(text: str, *, allow_private: bool) -> str:
    """Return a subscriber's URL as it is stored.

    Raises:
        ValueError: nothing may be sent there, with the reason.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("must be a URL such as https://hooks.example.com/keyturn") from error
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"must be at most {MAX_URL_CHARACTERS} ASCII characters without blanks")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("must be a URL such as https://hooks.example.com/keyturn")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must hold neither a password nor a fragment")
    is_number = _is_address(parts.hostname)
    if not is_number and ("[" in parts.netloc or not is_host_name(parts.hostname)):
        raise ValueError(
            "must name a host that DNS can have, or an address in its usual spelling: any other "
            "number may be a private one"
        )
    if allow_private:
        return url
    if parts.scheme == "http":
        raise ValueError("must begin with https:// (see KEYTURN_WEBHOOK_ALLOW_PRIVATE)")
    is_here = parts.hostname == "localhost" or parts.hostname.endswith(".localhost")
    if is_here or (is_number and not is_public(parts.hostname)):
        raise ValueError("leads to a private address (see KEYTURN_WEBHOOK_ALLOW_PRIVATE)")
    return url


def _is_address(host: str) -> bool:
    try:
        return "%" not in host and ipaddress.ip_address(host) is not None
    except ValueError:
        return False


def _retry_after(headers: Message) -> float:
    text = headers.get("Retry-After", "").strip()
    seconds = float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0  # noqa: PLR2004
    return min(seconds, MAX_RETRY_AFTER_SECONDS)


def is_public(text: str) -> bool:
    """Return True for an address of the public Internet, False for text that is no address."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if any(address in network for network in MAPPED):
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return not any(address in network for network in NOT_PUBLIC)
