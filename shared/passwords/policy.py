"""Length and composition of passwords, as the installation or an organisation wants them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from shared.errors import (
    PasswordMissingError,
    PasswordPolicyError,
    PasswordTooLongError,
)
from shared.models import Organisation
from shared.settings import Settings
from shared.validation import MAX_PASSWORD_CHARACTERS

# From this length on nothing is required of a password's composition.
# Source: NIST SP 800-63B-4, 3.1.1.2: length is what counts.
PASSPHRASE_CHARACTERS = 15


def normalise_password(password: str) -> str:
    """Return the form in which a password is counted, hashed and compared: NFC.

    Keyboards write the same letter composed or not, so one password arrives in two spellings.
    """
    return unicodedata.normalize("NFC", password)


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """What a new password needs."""

    min_characters: int
    needs: tuple[str, ...]  # of PASSWORD_NEEDS; from 15 characters on none of them

    def check(self, password: str) -> None:
        """Raise an error if a password is against the policy.

        Raises:
            PasswordMissingError, PasswordTooLongError, PasswordPolicyError: the first broken rule.
        """
        if not password:
            raise PasswordMissingError
        password = normalise_password(password)
        if len(password) > MAX_PASSWORD_CHARACTERS:
            raise PasswordTooLongError
        if len(password) < self.min_characters:
            raise PasswordPolicyError("length", policy=self)
        if len(password) >= PASSPHRASE_CHARACTERS:
            return
        kinds = {
            "lower": any(char.islower() for char in password),
            "upper": any(char.isupper() for char in password),
            "number": any(char.isdigit() for char in password),
            "symbol": any(not char.isalnum() and not char.isspace() for char in password),
        }
        for kind, is_present in kinds.items():
            if kind in self.needs and not is_present:
                raise PasswordPolicyError(kind, policy=self)


def policy_of(settings: Settings, organisation: Organisation | None) -> PasswordPolicy:
    """Return the policy of an organisation; the installation's in all that it does not say."""
    own_min = organisation.password_min_characters if organisation else None
    own_needs = organisation.password_needs if organisation else None
    return PasswordPolicy(
        own_min or settings.password_min_characters,
        settings.password_needs if own_needs is None else own_needs,
    )
