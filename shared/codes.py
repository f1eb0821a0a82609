"""Derive and compare codes: web and worker compute the same one from the reset's id."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass

from shared.errors import UnknownKeyError

# 32 characters without look-alikes (no 0 O 1 I): each carries 5 bits.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_CHARACTERS = 8  # 40 bits: enough where tries are counted
LINK_CHARACTERS = 20  # 100 bits, and as many as SetPassword's field takes
GROUP_CHARACTERS = 4
_CHARACTER_OF_BYTE = (ALPHABET * 8).encode()  # by its last five bits


@dataclass(frozen=True, slots=True)
class Code:
    """What opens a reset, as it is compared: upper case, no hyphens; str and repr are masked."""

    characters: str  # what a person types
    link_secret: str  # what links carry, and callers get who ask for the code

    @property
    def formatted(self) -> str:
        """Return the typed code in groups: `ABCD-EFGH`."""
        step = GROUP_CHARACTERS
        return "-".join(self.characters[i : i + step] for i in range(0, len(self.characters), step))

    def matches(self, typed: str) -> bool:
        """Return True if this code was typed or its link used; ignore case, hyphens and blanks.

        The comparison takes constant time for texts of one length.
        """
        given = normalise_code(typed)
        own = self.link_secret if len(given) == LINK_CHARACTERS else self.characters
        return hmac.compare_digest(own.encode(), given.encode())

    def __str__(self) -> str:
        return "Code(***)"

    __repr__ = __str__


def normalise_code(typed: str) -> str:
    """Return a code as codes are compared; full-width letters are letters."""
    folded = unicodedata.normalize("NFKC", typed).upper()
    return "".join(char for char in folded if char.isalnum())


def is_link_secret(typed: str) -> bool:
    """Return True for a text as long as a link's secret, right or wrong."""
    return len(normalise_code(typed)) == LINK_CHARACTERS


def key_id(key: str) -> str:
    """Return the id of a signing key, which is not secret."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


class CodeBook:
    """Derives the code of any reset from KEYTURN_SECRET_KEYS."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        """The first of `keys` signs, all verify."""
        self._keys = {key_id(key): key.encode() for key in reversed(keys)}
        self.signing_key_id = key_id(keys[0])

    def code(self, reset_id: str, signing_key_id: str) -> Code:
        """Return the code of a reset: the same for every attempt, derived, never stored.

        Raises:
            UnknownKeyError: the settings no longer contain the record's key.

        Source: docs/decisions/0002-derived-codes.md
        """
        try:
            key = self._keys[signing_key_id]
        except KeyError as error:
            raise UnknownKeyError(f"KEYTURN_SECRET_KEYS lacks the key {signing_key_id}") from error
        typed = hmac.digest(key, b"keyturn code\0" + reset_id.encode(), "sha256")
        link = hmac.digest(key, b"keyturn link\0" + reset_id.encode(), "sha256")
        return Code(
            typed[:CODE_CHARACTERS].translate(_CHARACTER_OF_BYTE).decode(),
            link[:LINK_CHARACTERS].translate(_CHARACTER_OF_BYTE).decode(),
        )

    def is_link_secret_of(self, reset_id: str, typed: str) -> bool:
        """Return True for the secret of a reset's link, by any of our keys; it is not looked up."""
        codes = [self.code(reset_id, each) for each in self._keys]
        return is_link_secret(typed) and any(code.matches(typed) for code in codes)

    def sign(self, purpose: str, text: str) -> str:
        """Sign `text` with the current key; return the signature in hex."""
        return self._signature(self._keys[self.signing_key_id], purpose, text)

    def verifies(self, purpose: str, text: str, signature: str) -> bool:
        """Return True if one of our keys made this signature for this purpose."""
        signatures = [self._signature(key, purpose, text).encode() for key in self._keys.values()]
        matches = [hmac.compare_digest(each, signature.encode()) for each in signatures]
        return any(matches)

    @staticmethod
    def _signature(key: bytes, purpose: str, text: str) -> str:
        message = f"keyturn {purpose}\0{text}".encode()
        return hmac.new(key, message, hashlib.sha256).hexdigest()
