"""Look a password up among leaked ones by the first five digits of its SHA-1, and no more."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import structlog

from shared.errors import ProviderError, StoreUnavailableError
from shared.passwords.policy import normalise_password
from shared.providers.transport.http import Transport
from shared.store.admin.statistics import CounterStore

log = structlog.get_logger()

TIMEOUT_SECONDS = 2.0
PREFIX_CHARACTERS = 5
OK = 200
# Padding makes all answers of one length, so that an onlooker does not learn the prefix from it.
# Source: https://haveibeenpwned.com/API/v3#PwnedPasswordsPadding
HEADERS = {"Add-Padding": "true", "User-Agent": "keyturn", "Accept": "text/plain"}


class LeakedPasswords:
    """A service with the range call of haveibeenpwned; without an answer nothing has leaked."""

    def __init__(self, url: str, counters: CounterStore) -> None:
        """`url` is what the five digits are appended to, such as https://host/range/."""
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self._transport = Transport(
            f"{parts.scheme}://{parts.netloc}", timeout_seconds=TIMEOUT_SECONDS
        )
        self._counters = counters

    def holds(self, password: str) -> bool:
        """Return True if the password is known to have leaked; False also without an answer."""
        digest = hashlib.sha1(
            normalise_password(password).encode(), usedforsecurity=False
        ).hexdigest()
        prefix, rest = digest[:PREFIX_CHARACTERS].upper(), digest[PREFIX_CHARACTERS:].upper()
        try:
            found = self._counts(prefix).get(rest, 0) > 0
            outcome = "leaked" if found else "unknown"
        except (ProviderError, ValueError) as error:
            log.warning("passwords.unasked", why=type(error).__name__)
            found, outcome = False, "failed"
        try:
            self._counters.add(f"lp:{outcome}")
        except StoreUnavailableError:
            log.warning("store.unavailable", during="counting")
        return found

    def _counts(self, prefix: str) -> dict[str, int]:
        """Return how often each password of a range has leaked; padding has a count of 0."""
        answer = self._transport.call("GET", f"{self._path}/{prefix}", headers=HEADERS)
        if answer.status != OK or not answer.is_complete:
            raise ValueError(f"the range service answered {answer.status}")
        lines = answer.body.decode("ascii").split()
        pairs = (line.partition(":") for line in lines)
        return {rest.upper(): int(count.replace(",", "")) for rest, _, count in pairs}
