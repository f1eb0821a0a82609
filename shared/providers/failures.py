"""How a provider's No becomes one of our errors; each provider's file holds its own table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    ProviderError,
    TransientProviderError,
)
from shared.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

MAX_RETRY_AFTER_SECONDS = 3600.0  # no code waits longer; a larger wish is a mistake or an attack
MAX_ID_CHARACTERS = 200
LONG_WAIT_SECONDS = 5.0  # a 500 or 503 so late may hide an acceptance


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of a provider's table: what a word of theirs means to us."""

    outcome: Outcome
    detail: str  # for the operator
    suppression: str | None = None
    is_one_route: bool = False  # other recipients may well be reached

    def error(self, reason: str, *, retry_after_seconds: float | None = None) -> ProviderError:
        """The error to raise; `reason` is the stable word for it."""
        match self.outcome:
            case Outcome.PERMANENT:
                return PermanentProviderError(reason, self.detail, suppression=self.suppression)
            case Outcome.ACCOUNT | Outcome.TRANSIENT:
                is_account = self.outcome is Outcome.ACCOUNT
                kind = AccountProviderError if is_account else TransientProviderError
                return kind(
                    reason,
                    self.detail,
                    retry_after_seconds=retry_after_seconds,
                    is_one_route=self.is_one_route,
                )
            case _:
                return DoubtfulProviderError(reason, self.detail, is_one_route=self.is_one_route)


# What a status means when a provider's table has no row for it. A 4xx says it was not taken; as
# we do not know why, the reset is kept and tried again until its deadline. A 5xx we do not know
# may come from an edge that hides an acceptance, and so may anything that is no status at all.
_REDIRECT = Refusal(Outcome.ACCOUNT, "the provider sends us elsewhere; check its …_API_URL")
_UNKNOWN_4XX = Refusal(Outcome.TRANSIENT, "the provider refused for a reason we do not know")
_UNKNOWN = Refusal(Outcome.DOUBT, "the provider's answer says neither yes nor no")


def refusal_of_status(status: int, table: Mapping[int, Refusal]) -> Refusal:
    """What a status other than 2xx means; unknown ones by their hundred."""
    by_hundred = {3: _REDIRECT, 4: _UNKNOWN_4XX}
    return table.get(status) or by_hundred.get(status // 100, _UNKNOWN)


def retry_after_seconds(headers: Message, *, now: float) -> float | None:
    """How long the provider asks us to wait; the longer of its two ways to say so.

    `now` is the wall clock in epoch seconds. Retry-After is seconds or a date; X-RateLimit-Reset
    is SendGrid's, in epoch seconds. Nonsense counts as not said.
    """
    wishes = (
        _wish(headers.get("Retry-After"), now=now, is_moment=False),
        _wish(headers.get("X-RateLimit-Reset"), now=now, is_moment=True),
    )
    told = [wish for wish in wishes if wish is not None and wish > 0]
    return min(max(told), MAX_RETRY_AFTER_SECONDS) if told else None


def _wish(text: str | None, *, now: float, is_moment: bool) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return _moment(text, now=now)
    if not math.isfinite(number):
        return None
    return number - now if is_moment else number


def _moment(text: str, *, now: float) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None


def message_id(told: object) -> str | None:
    """A provider's id of a message, if it is one we care to keep."""
    if isinstance(told, str) and told.isprintable() and 0 < len(told) <= MAX_ID_CHARACTERS:
        return told
    return None
