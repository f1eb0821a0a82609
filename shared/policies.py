"""Rules as pure functions: who may reset, retry delays, order of providers, passwords."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import phonenumbers

from shared.errors import (
    CountryNotAllowedError,
    MachineUserError,
    PasswordMissingError,
    PasswordPolicyError,
    PasswordTooLongError,
    RecipientMissingError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.models import Attempt, Channel, Outcome, Recipient, User, UserKind, UserState

MAX_PASSWORD_CHARACTERS = 200
MAX_HANDED_OVER = 2  # in doubt twice: never a third copy
NOTICE_LIFETIME_SECONDS = 24 * 3600.0

# Pauses between attempts; the tries stand at 0, 1, 4, 10, 25 … seconds after the record, and the
# last pause repeats. Source: the schedule of the reliability note, section 4.
DELAYS_SECONDS = {
    Channel.EMAIL: (1, 3, 6, 15, 35, 60, 180, 300, 600, 600, 600),
    Channel.SMS: (1, 3, 6, 10, 20, 40, 80, 140),
}
FULL_JITTER_FROM = 4  # the attempt after which the whole pause is drawn
DOUBT_SECONDS = {Channel.EMAIL: 30.0, Channel.SMS: 20.0}
# Which provider of the list takes attempt 1, 2, 3 …; repeats with the last two.
PROVIDER_ORDER = {Channel.EMAIL: (0, 0, 1, 0, 1), Channel.SMS: (0, 1, 0, 1)}


@dataclass(frozen=True, slots=True)
class Jitter:
    """Where pauses vary; tests pass a fixed one."""

    spread: float = 0.2

    def vary(self, seconds: float, attempt_number: int) -> float:
        """The pause after an attempt, varied so that many do not come back at once."""
        if attempt_number >= FULL_JITTER_FROM:
            return random.uniform(seconds * self.spread, seconds)
        return random.uniform(seconds * (1 - self.spread), seconds * (1 + self.spread))


def retry_delay_seconds(
    channel: Channel,
    attempt_number: int,
    *,
    delays: Sequence[float] = (),
    retry_after_seconds: float | None = None,
    jitter: Jitter | None = None,
) -> float:
    """The pause after a failed attempt (numbered from 1).

    `delays` are the operator's own pauses, taken as they are; the provider's wish counts when it
    is longer.
    """
    schedule = delays or DELAYS_SECONDS[channel]
    pause = float(schedule[min(attempt_number, len(schedule)) - 1])
    if not delays:
        pause = (jitter or Jitter()).vary(pause, attempt_number)
    return max(pause, retry_after_seconds or 0.0)


def doubt_delay_seconds(channel: Channel, configured_seconds: float) -> float:
    """How long to wait before a doubtful attempt is looked at."""
    return configured_seconds or DOUBT_SECONDS[channel]


def last_start_seconds(channel: Channel, lifetime_seconds: float) -> float:
    """How long before the deadline the last attempt may start: a code needs time to be used."""
    if channel is Channel.SMS:
        return min(180.0, lifetime_seconds / 3)
    return min(600.0, lifetime_seconds / 6)


def choose_provider(
    names: Sequence[str],
    channel: Channel,
    attempts: Sequence[Attempt],
    *,
    moves_on: bool = False,
) -> str:
    """Return the provider of the next attempt.

    An attempt in doubt is never failed over; our account's trouble, or `moves_on`, goes to the
    next at once. The order begins with the provider of the first attempt.
    """
    last = attempts[-1] if attempts else None
    if last and last.provider in names:
        if last.outcome is Outcome.DOUBT:
            return last.provider
        if last.outcome is Outcome.ACCOUNT or moves_on:
            return names[(names.index(last.provider) + 1) % len(names)]
    first = attempts[0].provider if attempts else names[0]
    start = names.index(first) if first in names else 0
    order = PROVIDER_ORDER[channel]
    number = len(attempts)
    if number >= len(order):
        number = len(order) - 2 + (number - len(order)) % 2
    return names[(start + order[number]) % len(names)]


def check_may_reset(user: User | None, org_id: str | None) -> User:
    """The user, when it is a person in this organisation who may get a reset.

    `org_id` None: any organisation.

    Raises:
        UserUnknownError, UserNotInitialisedError, MachineUserError, UserInactiveError: the first.
    """
    if user is None or (org_id is not None and user.org_id != org_id):
        raise UserUnknownError
    if user.state is UserState.INITIAL:
        raise UserNotInitialisedError
    if user.kind is UserKind.MACHINE:
        raise MachineUserError
    if user.state is not UserState.ACTIVE:
        raise UserInactiveError
    return user


def check_recipient(user: User, channel: Channel, *, allow_unverified: bool) -> Recipient:
    """Where to write.

    Raises:
        RecipientMissingError: no address, or none that may be used.
    """
    recipient = user.recipient(channel)
    if recipient is None or not (recipient.is_verified or allow_unverified):
        raise RecipientMissingError
    return recipient


def check_country(recipient: Recipient, allowed: frozenset[str] | None) -> None:
    """Whether SMS may go to this number's dial region; `allowed` None: everywhere.

    Raises:
        CountryNotAllowedError: it may not, or the number has no region.
    """
    is_judged = recipient.channel is Channel.SMS and allowed is not None
    if is_judged and dial_region(recipient.address) not in (allowed or ()):
        raise CountryNotAllowedError


def dial_region(phone: str) -> str | None:
    """The two letters of a number's region, or None for what is no number."""
    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return None
    region = phonenumbers.region_code_for_number(number)
    if region is None and number.country_code:
        region = phonenumbers.region_code_for_country_code(number.country_code)
    return region if region != "ZZ" else None


def allowed_regions(
    countries: Sequence[str], senders: Sequence[str], providers: Sequence[str]
) -> frozenset[str] | None:
    """The dial regions SMS may go to; None: all, for nothing but the outbox would carry them."""
    if countries:
        return frozenset(countries)
    if all(name == "outbox" for name in providers):
        return None
    return frozenset(region for sender in senders if (region := dial_region(sender)))


def check_password(password: str, *, min_characters: int) -> None:
    """Whether a password is within the policy.

    Raises:
        PasswordMissingError, PasswordTooLongError, PasswordPolicyError: the first rule it breaks.
    """
    if not password:
        raise PasswordMissingError
    if len(password) > MAX_PASSWORD_CHARACTERS:
        raise PasswordTooLongError
    rules = {
        "length": len(password) >= min_characters,
        "lower": any(sign.islower() for sign in password),
        "upper": any(sign.isupper() for sign in password),
        "number": any(sign.isdigit() for sign in password),
        "symbol": any(not sign.isalnum() and not sign.isspace() for sign in password),
    }
    for rule, is_kept in rules.items():
        if not is_kept:
            raise PasswordPolicyError(rule)
