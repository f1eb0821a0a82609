"""Password hashes: argon2id, never more than two at a time in one process."""

from __future__ import annotations

import unicodedata
from threading import BoundedSemaphore
from typing import Protocol

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from shared.passwords.policy import normalise_password

# argon2id at OWASP's first choice: 19 MiB, 2 passes, 1 lane; some 20 ms of one core.
# Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
MEMORY_KIB = 19_456
PASSES = 2
HASHES_AT_ONCE = 2  # hashing releases the GIL: without a bound it would use every core


class Hasher(Protocol):
    """Hashes and compares passwords."""

    def hash(self, password: str) -> str:
        """Return a new hash, with its salt and parameters."""

    def matches(self, password_hash: str, password: str) -> bool:
        """Return True if the hash was made of this password."""


class Argon2Hasher:
    """The Hasher of the built-in directory."""

    def __init__(self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        """Tests pass smaller values."""
        self._argon2 = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=1, type=Type.ID
        )
        self._slots = BoundedSemaphore(HASHES_AT_ONCE)

    def hash(self, password: str) -> str:
        """Return a new hash of the normal form; waits while two others are being made."""
        with self._slots:
            return self._argon2.hash(normalise_password(password))

    def matches(self, password_hash: str, password: str) -> bool:
        """Return True if the hash was made of this password; waits like `hash`.

        Former hashes were made of what was typed. So a password whose normal form differs from what
        was typed, or from its decomposed form, costs a second comparison; ASCII never does.
        """
        composed, apart = normalise_password(password), unicodedata.normalize("NFD", password)
        spellings = dict.fromkeys((composed, apart if password == composed else password))
        return any(self._verify(password_hash, each) for each in spellings)

    def _verify(self, password_hash: str, password: str) -> bool:
        with self._slots:
            try:
                return self._argon2.verify(password_hash, password)
            except (VerificationError, InvalidHashError):
                return False
