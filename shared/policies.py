"""Rules as pure functions: who may reset, retry delays, order of providers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import (
    CountryNotAllowedError,
    LineTypeError,
    MachineUserError,
    RecipientMissingError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.guard.rules import line_of
from shared.models import (
    Attempt,
    Channel,
    Organisation,
    Outcome,
    Recipient,
    User,
    UserKind,
    UserState,
)
from shared.organisations.sender import IN_USE, OWN, From, Route, Sender, own_name

if TYPE_CHECKING:
    from shared.organisations.profile import Profile
    from shared.settings import Settings

MAX_HANDED_OVER = 2  # after two attempts in doubt there is no third
NOTICE_LIFETIME_SECONDS = 24 * 3600.0
NOTICE_GAP_SECONDS = 300.0  # between two notices of one user

# Delays between attempts, which start 0, 1, 4, 10, 25 … seconds after the record; the last delay
# repeats. See docs/reliability.md.
DELAYS_SECONDS = {
    Channel.EMAIL: (1, 3, 6, 15, 35, 60, 180, 300, 600, 600, 600),
    Channel.SMS: (1, 3, 6, 10, 20, 40, 80, 140),
}
FULL_JITTER_FROM = 4  # the attempt from which the whole delay is random
DOUBT_SECONDS = {Channel.EMAIL: 30.0, Channel.SMS: 20.0}
# The index of the provider for attempt 1, 2, 3 …; the last two repeat.
PROVIDER_ORDER = {Channel.EMAIL: (0, 0, 1, 0, 1), Channel.SMS: (0, 1, 0, 1)}


@dataclass(frozen=True, slots=True)
class Jitter:
    """Varies delays; tests pass a fixed one."""

    spread: float = 0.2

    def vary(self, seconds: float, attempt_number: int) -> float:
        """Return the delay after an attempt, varied so that retries do not coincide."""
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
    """Return the delay after a failed attempt (numbered from 1).

    `delays` are configured by the operator and used without jitter. The provider's Retry-After
    counts if it is longer.
    """
    schedule = delays or DELAYS_SECONDS[channel]
    delay = float(schedule[min(attempt_number, len(schedule)) - 1])
    if not delays:
        delay = (jitter or Jitter()).vary(delay, attempt_number)
    return max(delay, retry_after_seconds or 0.0)


def doubt_delay_seconds(channel: Channel, configured_seconds: float) -> float:
    """Return how long to wait before a doubtful attempt is looked up."""
    return configured_seconds or DOUBT_SECONDS[channel]


def last_start_seconds(channel: Channel, lifetime_seconds: float) -> float:
    """Return how long before the deadline the last attempt may start, so the code can be used."""
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

    An attempt in doubt is never failed over; after an account error, or with `moves_on`, the next
    provider is used at once. The order begins with the provider of the first attempt.
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
    """Return the user if it is a person of this organisation who may receive a reset.

    `org_id` None: any organisation.

    Raises:
        UserUnknownError, UserNotInitialisedError, MachineUserError, UserInactiveError: the first
            that applies.
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
    """Return the user's recipient on a channel.

    Raises:
        RecipientMissingError: there is no address, or it is not verified.
    """
    recipient = user.recipient(channel)
    if recipient is None or not (recipient.is_verified or allow_unverified):
        raise RecipientMissingError
    return recipient


def check_country(recipient: Recipient, allowed: frozenset[str] | None) -> None:
    """Raise an error unless SMS to the number's region are allowed; `allowed` None: all are.

    Raises:
        CountryNotAllowedError: the region is not allowed, or the number has none.
    """
    if allowed is None or recipient.channel is not Channel.SMS:
        return
    if dial_region(recipient.address) not in allowed:
        raise CountryNotAllowedError


def record_lifetime_seconds(settings: Settings, organisation: Organisation | None) -> float:
    """Return how long a finished reset is kept; an organisation can only shorten it."""
    own = organisation.record_lifetime_seconds if organisation else None
    return min(own or settings.record_lifetime_seconds, settings.record_lifetime_seconds)


def refusal_lifetime_seconds(settings: Settings, organisation: Organisation | None) -> float:
    """Return how long a refusal is kept: the organisation's, else as set, else as a reset."""
    own = organisation.refusal_lifetime_seconds if organisation else None
    records = record_lifetime_seconds(settings, organisation)
    return own or settings.refusal_lifetime_seconds or records


def check_line(recipient: Recipient, allowed: Sequence[str]) -> None:
    """Raise LineTypeError for a kind of number on which no person reads SMS, unless allowed."""
    if recipient.channel is Channel.SMS:
        line = line_of(recipient.address)
        if line is not None and line not in allowed:
            raise LineTypeError


def dial_region(phone: str) -> str | None:
    """Return the two letters of a number's region; None if it has none."""
    import phonenumbers  # noqa: PLC0415

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
    """Return the regions that SMS may go to; None: all, because only the outbox is in use."""
    if countries:
        return frozenset(countries)
    if all(name == "outbox" for name in providers):
        return None
    return frozenset(region for sender in senders if (region := dial_region(sender)))


def route_of(organisation: Organisation | Profile | None, channel: Channel) -> Route | None:
    """Return an organisation's own providers of a channel, if it has any."""
    sender = organisation.sender if organisation else None
    return sender.routes.get(channel) if sender else None


def provider_names(
    organisation: Organisation | None, channel: Channel, installation: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the providers that carry an organisation's messages, in order."""
    route = route_of(organisation, channel)
    if organisation is None or route is None:
        return tuple(installation)
    own = tuple(own_name(organisation.org_id, channel, each) for each in route.providers)
    return (*own, *installation) if route.has_fallback else own


def sms_regions(
    organisation: Organisation | None, installation: frozenset[str] | None
) -> frozenset[str] | None:
    """Return where an organisation's SMS may go, None: everywhere; with a fallback, by either."""
    route = route_of(organisation, Channel.SMS)
    if route is None:
        return installation
    own = frozenset(route.countries)
    return own & installation if route.has_fallback and installation is not None else own


def usable_from(sender: Sender | None, attempts: Iterable[Attempt]) -> From | None:
    """Return the organisation's own From if the next attempt may carry it.

    An account of the installation that refused it gets the installation's own next time.
    """
    found = sender.from_ if sender else None
    is_refused = any(
        each.outcome is Outcome.ACCOUNT and not each.provider.startswith(OWN) for each in attempts
    )
    return found if found and found.state in IN_USE and not is_refused else None
