"""Check a password that a user chooses."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from shared.errors import PasswordPolicyError
from shared.models import Organisation, User
from shared.passwords.guessing import is_guessable
from shared.passwords.policy import normalise_password, policy_of
from shared.settings import Settings
from shared.wiring import Services

PHONE_SUFFIX_DIGITS = range(7, 11)  # without the country, and without the area


def check_new_password(services: Services, user: User, password: str) -> None:
    """Raise an error if a user may not have this password.

    Raises:
        PasswordMissingError, PasswordTooLongError, PasswordPolicyError: the first broken rule.
        StoreUnavailableError: the organisation's policy cannot be read.
    """
    organisation = services.callers.find_organisation(user.org_id)
    policy = policy_of(services.settings, organisation)
    policy.check(password)
    words = _own_words(services.settings, user, organisation)
    leaked = services.leaked_passwords
    if is_guessable(normalise_password(password), words) or (leaked and leaked.holds(password)):
        raise PasswordPolicyError("guessable", policy=policy)


def _own_words(settings: Settings, user: User, organisation: Organisation | None) -> Iterator[str]:
    """Return what an attacker may know: of the user, the organisation and the installation."""
    yield from (user.user_id, user.user_name, user.display_name, user.org_id)
    if user.email:
        yield from user.email.address.split("@")
    if user.phone:
        yield user.phone.address
        yield from (user.phone.address[-digits:] for digits in PHONE_SUFFIX_DIGITS)
    if organisation:
        yield organisation.name
    yield from ("Keyturn", settings.email_from_name, urlsplit(settings.link_base).hostname or "")
