"""Decide what an outcome means for a reset: status, reason, next look."""

from __future__ import annotations

import random
import time

import structlog

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    ProviderError,
    RouteUnfitError,
    StoreUnavailableError,
    TransientProviderError,
)
from shared.models import Outcome, Receipt, Reset, Status
from shared.policies import doubt_delay_seconds, retry_delay_seconds
from shared.settings import LEASE_SLACK_SECONDS, Settings
from shared.store.due_sets import PARKED_SECONDS, PARKED_SPREAD_SECONDS
from shared.store.resets import Claim, Finish, TooLateError

log = structlog.get_logger()

GOES_ALONE = "goes_alone"  # it does not fit into a bulk e-mail
REFUSED_TOGETHER = "refused_together"  # it was in one that was refused
ALONE = (GOES_ALONE, REFUSED_TOGETHER)  # reasons: a single mail is next
ASKED_TO_WAIT = "asked_to_wait"  # another provider is tried at once, not this one later

MAX_WAIT_SECONDS = 5.0
STORE_BACK_SECONDS = 1.0  # a store that failed us once gets this long before the next look


class NotSentError(Exception):
    """The reset is not sent now; `finish` is its outcome instead."""

    def __init__(self, finish: Finish) -> None:
        """`finish` is what is recorded."""
        super().__init__(finish.reason)
        self.finish = finish


def accepted(provider: str, receipt: Receipt, outcome: Outcome, duration_ms: int) -> Finish:
    """Return the outcome of a message that a provider has."""
    return Finish(
        status=Status.ACCEPTED,
        outcome=outcome,
        provider=provider,
        provider_message_id=receipt.provider_message_id or "",
        duration_ms=duration_ms,
    )


def failed(
    reset: Reset,
    error: ProviderError,
    settings: Settings,
    *,
    provider: str,
    has_another: bool,
    duration_ms: int,
) -> Finish:
    """Return the outcome of an error; `has_another`: another provider can be called now."""
    # Later than a person waits; one such move at a time.
    moves_on = (
        has_another
        and isinstance(error, TransientProviderError)
        and not isinstance(error, AccountProviderError)
        and (error.retry_after_seconds or 0) > MAX_WAIT_SECONDS
        and reset.reason != ASKED_TO_WAIT
    )
    status, outcome, delay = _what_follows(reset, error, settings, has_another=has_another)
    return Finish(
        status=status,
        outcome=outcome,
        delay_seconds=0 if moves_on else delay,
        provider=provider,
        reason=ASKED_TO_WAIT if moves_on else error.reason,
        detail=error.detail,
        duration_ms=duration_ms,
    )


def _what_follows(
    reset: Reset, error: ProviderError, settings: Settings, *, has_another: bool
) -> tuple[Status, Outcome, float]:
    if isinstance(error, DoubtfulProviderError):
        return Status.UNKNOWN, Outcome.DOUBT, doubt_seconds(reset, settings)
    if isinstance(error, TransientProviderError):
        is_account = isinstance(error, AccountProviderError)
        if is_account and has_another:
            return Status.RETRYING, Outcome.ACCOUNT, 0
        delay = retry_delay_seconds(
            reset.channel,
            len(reset.attempts) + 1,
            delays=settings.retry_delays_seconds,
            retry_after_seconds=error.retry_after_seconds,
        )
        return Status.RETRYING, Outcome.ACCOUNT if is_account else Outcome.TRANSIENT, delay
    if isinstance(error, RouteUnfitError) and has_another:
        return Status.RETRYING, Outcome.PERMANENT, 0
    has_opted_out = isinstance(error, PermanentProviderError) and error.suppression == "opt_out"
    return Status.SUPPRESSED if has_opted_out else Status.FAILED, Outcome.PERMANENT, 0


def refused_together(error: ProviderError, *, provider: str, duration_ms: int) -> Finish:
    """Send a message alone at once: the provider refused the whole request it was part of."""
    return Finish(
        status=Status.RETRYING,
        outcome=Outcome.TRANSIENT,
        provider=provider,
        reason=REFUSED_TOGETHER,
        detail=error.detail,
        duration_ms=duration_ms,
    )


def alone(claim: Claim) -> Finish:
    """It is given back at once, to go out as a single mail."""
    return later(claim, GOES_ALONE, 0)


def unmarked(claim: Claim, error: Exception) -> Finish:
    """Return the outcome of an attempt that could not be marked, so nothing was sent."""
    if isinstance(error, StoreUnavailableError):
        return store_away(claim)
    if isinstance(error, TooLateError):  # only the deadline can follow
        return later(claim, "too_late", seconds_left(claim))
    return later(claim, "claim_over", 0)


def store_away(claim: Claim) -> Finish:
    """Look again soon: Redis failed before a provider was called."""
    return later(claim, "store_unavailable", STORE_BACK_SECONDS)


def later(claim: Claim, reason: str, delay_seconds: float) -> Finish:
    """Look again after a delay, without an attempt; a reset in doubt stays `unknown`."""
    if claim.is_doubtful:
        status = Status.UNKNOWN
    else:
        status = Status.RETRYING if claim.reset.attempts else Status.QUEUED
    return Finish(status=status, reason=reason, delay_seconds=delay_seconds)


def parked(claim: Claim, reason: str) -> Finish:
    """Look again so late that many cost little; a resume makes it due at once."""
    delay = PARKED_SECONDS + random.uniform(0, PARKED_SPREAD_SECONDS)
    return later(claim, reason, delay)


def ended(status: Status, reason: str) -> Finish:
    """No attempt was made, and none will be."""
    return Finish(status=status, reason=reason)


def check_may_resend(claim: Claim, settings: Settings, *, can_ask: bool) -> None:
    """Raise NotSentError if the channel holds messages in doubt that were not found.

    The provider is asked again, or a callback waited for.
    """
    if settings.holds_doubt(claim.reset.channel):
        delay = doubt_seconds(claim.reset, settings) if can_ask else float("inf")
        raise NotSentError(held(claim, delay))


def held(claim: Claim, delay_seconds: float = float("inf")) -> Finish:
    """Send no second copy of a message in doubt: a report or the deadline ends it."""
    return later(claim, "in_doubt_held", min(seconds_left(claim), delay_seconds))


def doubt_seconds(reset: Reset, settings: Settings) -> float:
    """Return how long to wait before a doubtful attempt is looked at."""
    return doubt_delay_seconds(reset.channel, settings.doubt_seconds)


def seconds_left(claim: Claim) -> float:
    """Return how long the reset's code lived on when it was claimed."""
    return (claim.reset.deadline_at - claim.now).total_seconds()


def may_begin(claim: Claim, settings: Settings) -> bool:
    """Return True while the lease lasts for a whole call to a provider and its record."""
    needed_seconds = settings.provider_timeout_seconds + LEASE_SLACK_SECONDS
    return claim.lease_ends - time.monotonic() >= needed_seconds


def may_still_call(claim: Claim, settings: Settings) -> bool:
    """Return True while a call to a provider, begun now, ends within the lease.

    A process that stood still after it marked its attempt must not call: when the lease is over,
    another worker asks the provider for the message and sends it.
    """
    return claim.lease_ends - time.monotonic() >= settings.provider_timeout_seconds


def not_called(provider: str) -> Finish:
    """Retry an attempt that was marked; the lease had become too short for its call."""
    return Finish(
        status=Status.RETRYING,
        outcome=Outcome.TRANSIENT,
        provider=provider,
        reason="lease_over",
        detail="the worker stood still before the call; the provider was not called",
    )
