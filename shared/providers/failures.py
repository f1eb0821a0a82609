"""Turn a provider's failure into one of our errors, by the table in that provider's file."""

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
    RouteUnfitError,
    TransientProviderError,
)
from shared.models import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

MAX_RETRY_AFTER_SECONDS = 3600.0  # no code lives longer; a larger value is a mistake or an attack
LONG_WAIT_SECONDS = 5.0  # a 500 or 503 so late may hide an acceptance


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of a provider's table: what a status or error code of theirs means."""

    outcome: Outcome
    detail: str  # for the operator
    suppression: str | None = None
    # Other recipients may well be reached; PERMANENT: another provider may carry this very message.
    is_one_route: bool = False

    def error(self, reason: str, *, retry_after_seconds: float | None = None) -> ProviderError:
        """Return the error to raise; `reason` is the stable word for it."""
        match self.outcome:
            case Outcome.PERMANENT if self.is_one_route:
                return RouteUnfitError(reason, self.detail)
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
_REDIRECT = Failure(Outcome.ACCOUNT, "the provider sends us elsewhere; check its URL")
_UNKNOWN_4XX = Failure(Outcome.TRANSIENT, "the provider refused for a reason we do not know")
_UNKNOWN = Failure(Outcome.DOUBT, "the provider's answer says neither yes nor no")


def failure_of_status(status: int, table: Mapping[int, Failure]) -> Failure:
    """Return the meaning of a status other than 2xx; an unknown one by its class."""
    by_class = {3: _REDIRECT, 4: _UNKNOWN_4XX}
    return table.get(status) or by_class.get(status // 100, _UNKNOWN)


def retry_after_seconds(headers: Message, *, now: float) -> float | None:
    """Return how long the provider asks us to wait: the longer of its two headers.

    `now` is the wall clock in epoch seconds. Retry-After is seconds or a date; X-RateLimit-Reset
    is SendGrid's, in epoch seconds. An unreadable value counts as absent.
    """
    waits = (
        _parse_wait(headers.get("Retry-After"), now=now, is_epoch=False),
        _parse_wait(headers.get("X-RateLimit-Reset"), now=now, is_epoch=True),
    )
    found = [wait for wait in waits if wait is not None and wait > 0]
    return min(max(found), MAX_RETRY_AFTER_SECONDS) if found else None


def _parse_wait(text: str | None, *, now: float, is_epoch: bool) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return _parse_date(text, now=now)
    if not math.isfinite(number):
        return None
    return number - now if is_epoch else number


def _parse_date(text: str, *, now: float) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
