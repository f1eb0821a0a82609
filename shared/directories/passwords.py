"""Password hashes: never more than two at a time in one process; argon2id for our own."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Protocol

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import DirectoryUnavailableError
from shared.passwords.policy import normalise_password

# argon2id at OWASP's first choice: 19 MiB, 2 passes, 1 lane; some 20 ms of one core.
# Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
MEMORY_KIB = 19_456
PASSES = 2
HASHES_AT_ONCE = 2  # hashing releases the GIL: without a bound it would use every core
MAX_PLACES = 8  # threads that hash or wait for it; one more is refused at once
WAIT_SECONDS = 2.0
BUSY = "Too many passwords are being checked; nothing was done, try again"


class Hasher(Protocol):
    """Hashes and compares passwords."""

    def hash(self, password: str) -> str:
        """Return a new hash, with its salt and parameters."""

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Return True if the hash was made of this password; without one, False as slowly."""


class BoundedHasher(ABC):
    """A Hasher of few threads; a subclass says how one hash is made and compared."""

    def __init__(self, *, places: int = MAX_PLACES) -> None:
        """`places` bounds the threads that hash or wait for it."""
        self._places, self._slots = BoundedSemaphore(places), BoundedSemaphore(HASHES_AT_ONCE)

    @abstractmethod
    def _make(self, password: str) -> str:
        """Return a new hash."""

    @abstractmethod
    def _compare(self, password_hash: str | None, password: str) -> bool:
        """Return True if the hash was made of this password; without one, False as slowly."""

    def hash(self, password: str) -> str:
        """Return a new hash of the normal form.

        Raises:
            DirectoryUnavailableError: too many others are being made.
        """
        with self._slot():
            return self._make(normalise_password(password))

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Return True if the hash was made of this password.

        Former hashes were made of what was typed. So a password whose normal form differs from what
        was typed, or from its decomposed form, costs a second comparison; ASCII never does.

        Raises:
            DirectoryUnavailableError: as `hash`.
        """
        composed, apart = normalise_password(password), unicodedata.normalize("NFD", password)
        spellings = dict.fromkeys((composed, apart if password == composed else password))
        for each in spellings:
            with self._slot():
                if self._compare(password_hash, each):
                    return True
        return False

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Wait for one of the few slots; the threads that wait are bounded too."""
        if not self._places.acquire(blocking=False):
            raise DirectoryUnavailableError(BUSY)
        try:
            if not self._slots.acquire(timeout=WAIT_SECONDS):
                raise DirectoryUnavailableError(BUSY)
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._places.release()


class Argon2Hasher(BoundedHasher):
    """The Hasher of the built-in directory."""

    def __init__(
        self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES, places: int = MAX_PLACES
    ) -> None:
        """Tests pass smaller values."""
        super().__init__(places=places)
        self._argon2 = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=1, type=Type.ID
        )
        # A hash of no password: comparing with it costs the same.
        self._decoy = f"$argon2id$v=19$m={memory_kib},t={passes},p=1${'A' * 22}${'A' * 43}"

    def _make(self, password: str) -> str:
        return self._argon2.hash(password)

    def _compare(self, password_hash: str | None, password: str) -> bool:
        try:
            return self._argon2.verify(password_hash or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return False
