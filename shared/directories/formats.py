"""Password hashes as applications keep them: Django, Devise, Laravel, and argon2id as it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import argon2
import structlog
from argon2.exceptions import InvalidHashError, VerificationError

from shared.directories.passwords import MAX_PLACES, BoundedHasher
from shared.errors import PasswordPolicyError, StoreUnavailableError

log = structlog.get_logger()

PASSES, MEMORY_KIB = 4, 65_536  # argon2id as PHP and argon2-cffi have it by default
_NO_ARGON2 = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${'A' * 22}${'A' * 43}"


@dataclass(frozen=True, slots=True)
class Format:
    """One that is written."""

    default_cost: int  # iterations, or bcrypt's logarithm
    costs: range  # those a directory's file may name; empty: none
    characters: int  # of the longest hash
    decoy: str  # a hash of no password, with a place for the cost


# Source: django/contrib/auth/hashers.py (6.0), Devise's `stretches`, Laravel's config/hashing.php
FORMATS = {
    "pbkdf2_sha256": Format(
        1_200_000, range(1, 10_000_000), 89, f"pbkdf2_sha256${{}}$none${'A' * 43}="
    ),
    "django_argon2": Format(0, range(0), 103, f"argon2{_NO_ARGON2}"),
    "bcrypt_2a": Format(12, range(4, 17), 60, f"$2a${{:02}}${'.' * 53}"),
    "bcrypt_2y": Format(12, range(4, 17), 60, f"$2y${{:02}}${'.' * 53}"),
    "argon2id": Format(0, range(0), 97, _NO_ARGON2),
}
BCRYPT_BYTES = 72  # what Ruby and PHP take of a password, and of a pepper behind it
# Bounds on the costs too: a row must not hold a place for hours.
_PBKDF2 = re.compile(r"pbkdf2_sha256\$([1-9][0-9]{0,6})\$([^$]+)\$([A-Za-z0-9+/]{43}=)")
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(r"(?:argon2)?(\$argon2id\$v=19\$m=[0-9]{1,6},t=[0-9]{1,2},p=[0-9]{1,2}\$\S+)")


def is_known(password_hash: str) -> bool:
    """Return True for a hash of a format that can be compared with."""
    return any(form.fullmatch(password_hash) for form in (_PBKDF2, _BCRYPT, _ARGON2))


class ApplicationHasher(BoundedHasher):
    """Writes one format and reads all of them; an unknown one is a wrong password."""

    def __init__(
        self,
        form: str,
        *,
        cost: int = 0,
        pepper: str = "",
        places: int = MAX_PLACES,
        count_unknown: Callable[[], None] = lambda: None,
    ) -> None:
        """`form` and `cost`: see FORMATS; `pepper` is Devise's, appended for bcrypt.

        `count_unknown` is called for each comparison with a hash of an unknown format.
        """
        super().__init__(places=places)
        self._form, self._cost, self._pepper = form, cost or FORMATS[form].default_cost, pepper
        self._count_unknown = count_unknown
        # A hash of no password. Users who do not exist cost what the user compared last did.
        self._decoy = FORMATS[form].decoy.format(self._cost)

    def _make(self, password: str) -> str:
        if "\0" in password:  # neither Django, Ruby nor PHP takes it
            raise PasswordPolicyError("application")
        if self._form == "pbkdf2_sha256":
            return _pbkdf2(password, self._cost, secrets.token_hex(11))
        if self._form.startswith("bcrypt"):
            return self._bcrypt(password)
        made = argon2.PasswordHasher(PASSES, MEMORY_KIB, 1).hash(password)
        return f"argon2{made}" if self._form == "django_argon2" else made

    def _bcrypt(self, password: str) -> str:
        import bcrypt  # noqa: PLC0415 - of the extra `sql`

        made = bcrypt.hashpw(self._peppered(password), bcrypt.gensalt(self._cost)).decode()
        return f"${self._form.removeprefix('bcrypt_')}{made[3:]}"

    def _peppered(self, password: str) -> bytes:
        return f"{password}{self._pepper}".encode()[:BCRYPT_BYTES]

    def _compare(self, password_hash: str | None, password: str) -> bool:
        known = password_hash if password_hash and is_known(password_hash) else None
        if password_hash and not known and not password_hash.startswith("!"):  # Django's "none"
            log.warning("password.hash_unknown")
            try:
                self._count_unknown()
            except StoreUnavailableError:
                log.warning("store.unavailable", during="counting")
        self._decoy = known or self._decoy
        return self._verify(self._decoy, password) and known is not None

    def _verify(self, known: str, password: str) -> bool:
        if match := _PBKDF2.fullmatch(known):
            made = _pbkdf2(password, int(match[1]), match[2])
            return hmac.compare_digest(made.encode(), known.encode())
        if match := _ARGON2.fullmatch(known):
            try:
                return argon2.PasswordHasher().verify(match[1], password)
            except (VerificationError, InvalidHashError):
                return False
        import bcrypt  # noqa: PLC0415

        peppered = self._peppered(password)
        return b"\0" not in peppered and bcrypt.checkpw(peppered, f"$2b{known[3:]}".encode())


def _pbkdf2(password: str, iterations: int, salt: str) -> str:
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), iterations)
    return f"pbkdf2_sha256${iterations}${salt}${base64.b64encode(made).decode()}"
