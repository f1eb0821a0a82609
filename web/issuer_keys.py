"""The signing keys of the identity provider: fetched, kept, fetched again when they change.

What is held goes on while the provider is away. Whoever sends invented key ids makes us ask at
most once in a few seconds, and keeps nobody waiting whose key is held.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import structlog

from shared.errors import IssuerUnavailableError, ProviderError
from shared.providers.http import Transport
from shared.setting_values import LOOPBACK
from web.signing_keys import SigningKey, read_keys

log = structlog.get_logger()

FETCH_SECONDS = 5.0  # one request in whole; three of them for connecting
MAX_DOCUMENT_BYTES = 256 * 1024
PAUSE_SECONDS = 5.0  # between two fetches, whatever anybody asks for
FRESH_SECONDS = 300.0  # how late a withdrawn key may be noticed
STALE_SECONDS = 24 * 3600.0  # how long keys are believed whose issuer does not answer
WAIT_SECONDS = 1.0  # for a fetch that another thread makes

Fetch: TypeAlias = Callable[[str], bytes]


class IssuerKeys:
    """Keys by their id. Safe for threads: what is held is replaced as a whole."""

    def __init__(
        self,
        issuer: str,
        *,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch` gives the body of a 200, tests pass their own; `clock` never goes back."""
        self._issuer = issuer
        self._fetch = fetch or fetch_document
        self._clock = clock
        self._fetching = threading.Lock()
        self._keys: Mapping[str | None, tuple[SigningKey, ...]] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def find(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """The keys that have this id; with None the only key, when there is but one.

        Raises:
            IssuerUnavailableError: no keys are held and none can be had.
        """
        age = self._clock() - self._fetched_at
        if age >= STALE_SECONDS:
            self._keys = {}
        found = self._held(key_id)
        if not found:
            self._refresh()
            found = self._held(key_id)
        elif age >= FRESH_SECONDS and self._may_fetch():
            threading.Thread(target=self._refresh, name="issuer-keys", daemon=True).start()
        if not found and not self._keys:
            raise IssuerUnavailableError
        return found

    def _held(self, key_id: str | None) -> tuple[SigningKey, ...]:
        keys = self._keys
        if key_id is not None:
            return keys.get(key_id, ())
        every = tuple(key for held in keys.values() for key in held)
        return every if len(every) == 1 else ()

    def _may_fetch(self) -> bool:
        """False while somebody fetches, and for a moment after."""
        is_rested = self._clock() - self._tried_at >= PAUSE_SECONDS
        return is_rested and not self._fetching.locked()

    def _refresh(self) -> None:
        """Fetch the keys, unless that was done a moment ago; others wait for it, but briefly."""
        if not self._fetching.acquire(timeout=WAIT_SECONDS):
            return
        try:
            if self._clock() - self._tried_at >= PAUSE_SECONDS:
                self._try_to_load()
        finally:
            self._fetching.release()

    def _try_to_load(self) -> None:
        try:
            self._keys = self._load()
            self._fetched_at = self._clock()
        except (ProviderError, ValueError) as error:
            log.warning("issuer.unavailable", why=str(error), keys=len(self._keys))
        finally:
            self._tried_at = self._clock()

    def _load(self) -> Mapping[str | None, tuple[SigningKey, ...]]:
        """The issuer's keys, by the document in which it describes itself.

        Raises:
            ProviderError, ValueError: they cannot be had, or are no such documents.
        """
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        description = _read_object(self._fetch(place))
        if description.get("issuer") != self._issuer:
            raise ValueError("the document describes another issuer")
        keys_url = description.get("jwks_uri")
        if not isinstance(keys_url, str):
            raise ValueError("the document names no keys")  # noqa: TRY004
        _check_place(keys_url, issuer=self._issuer)
        return read_keys(_read_object(self._fetch(keys_url)))


def _check_place(url: str, *, issuer: str) -> None:
    """Whether keys may come from there: encrypted, or on loopback from an issuer on loopback.

    Raises:
        ValueError: they may not.
    """
    parts = urlsplit(url)
    may_be_plain = urlsplit(issuer).scheme == "http" and parts.hostname in LOOPBACK
    is_sound = url.isascii() and url.isprintable() and not set(" @\\#") & set(url)
    if (
        not is_sound
        or not parts.hostname
        or not (parts.scheme == "https" or (parts.scheme == "http" and may_be_plain))
    ):
        raise ValueError("keys must come from an https address")


def fetch_document(url: str) -> bytes:
    """The body of a 200; follows no redirect.

    Raises:
        ProviderError: there was no answer in time. ValueError: it is no whole, sound 200.
    """
    parts = urlsplit(url)
    transport = Transport(f"{parts.scheme}://{parts.netloc}", timeout_seconds=FETCH_SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        answer = transport.call("GET", target, headers={"Accept": "application/json"})
    finally:
        transport.close()
    if answer.status != 200 or not answer.is_complete:  # noqa: PLR2004
        raise ValueError(f"the answer was {answer.status}")
    if len(answer.body) > MAX_DOCUMENT_BYTES:
        raise ValueError("the document is too large")
    return answer.body


def _read_object(document: bytes) -> dict[str, Any]:
    try:
        found = json.loads(document)
    except RecursionError as error:
        raise ValueError("the document is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("the document is no JSON object")  # noqa: TRY004 - no programmer's mistake
    return found
