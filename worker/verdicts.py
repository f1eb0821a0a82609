"""What an attempt's outcome means for its reset; pure, so that the whole table can be tested."""

from __future__ import annotations

import time
from itertools import takewhile

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    ProviderError,
    StoreUnavailableError,
    TransientProviderError,
)
from shared.models import Outcome, Receipt, Reset, Status
from shared.policies import doubt_delay_seconds, retry_delay_seconds
from shared.settings import LEASE_SLACK_SECONDS, Settings
from shared.store.claims import Claim, Finish, TooLateError

STORE_BACK_SECONDS = 1.0  # a store that failed us once gets this long before the next look


class SettledError(Exception):
    """Nothing is handed over now; `finish` says what becomes of the reset instead."""

    def __init__(self, finish: Finish) -> None:
        """`finish` is what is noted."""
        super().__init__(finish.reason)
        self.finish = finish


def accepted(provider: str, receipt: Receipt, outcome: Outcome, duration_ms: int) -> Finish:
    """A provider has the message."""
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
    providers: int,
    duration_ms: int,
) -> Finish:
    """A provider, one of so many, did not take the message, or may have."""
    status, outcome, delay = _what_follows(reset, error, settings, providers)
    return Finish(
        status=status,
        outcome=outcome,
        delay_seconds=delay,
        provider=provider,
        reason=error.reason,
        detail=error.detail,
        duration_ms=duration_ms,
    )


def _what_follows(
    reset: Reset, error: ProviderError, settings: Settings, providers: int
) -> tuple[Status, Outcome, float]:
    if isinstance(error, DoubtfulProviderError):
        return Status.UNKNOWN, Outcome.DOUBT, doubt_seconds(reset, settings)
    if isinstance(error, TransientProviderError):
        is_account = isinstance(error, AccountProviderError)
        if is_account and _has_another(reset, providers):
            return Status.RETRYING, Outcome.ACCOUNT, 0
        delay = retry_delay_seconds(
            reset.channel,
            len(reset.attempts) + 1,
            delays=settings.retry_delays_seconds,
            retry_after_seconds=error.retry_after_seconds,
        )
        return Status.RETRYING, Outcome.ACCOUNT if is_account else Outcome.TRANSIENT, delay
    has_opted_out = isinstance(error, PermanentProviderError) and error.suppression == "opt_out"
    return Status.SUPPRESSED if has_opted_out else Status.FAILED, Outcome.PERMANENT, 0


def _has_another(reset: Reset, providers: int) -> bool:
    """True while a provider is left that this run of account trouble has not met."""
    run = takewhile(lambda attempt: attempt.outcome is Outcome.ACCOUNT, reversed(reset.attempts))
    return (1 + len(list(run))) % providers != 0


def doubt_seconds(reset: Reset, settings: Settings) -> float:
    """How long to wait before a doubtful attempt is looked at."""
    return doubt_delay_seconds(reset.channel, settings.doubt_seconds)


def may_begin(claim: Claim, settings: Settings) -> bool:
    """True while the claim lasts for a whole call to a provider and for noting what came of it."""
    needed_seconds = settings.provider_timeout_seconds + LEASE_SLACK_SECONDS
    return claim.lease_ends - time.monotonic() >= needed_seconds


def unmarked(claim: Claim, error: Exception) -> Finish:
    """The attempt could not be marked, so nothing may be handed over."""
    if isinstance(error, StoreUnavailableError):
        return store_away(claim)
    if isinstance(error, TooLateError):  # only the deadline can follow
        left = (claim.reset.deadline_at - claim.now).total_seconds()
        return later(claim, "too_late", left)
    return later(claim, "claim_over", 0)


def store_away(claim: Claim) -> Finish:
    """Redis failed us before anything was handed over."""
    return later(claim, "store_unavailable", STORE_BACK_SECONDS)


def later(claim: Claim, reason: str, delay_seconds: float) -> Finish:
    """No attempt was made; another look is due, and whatever was in doubt stays so."""
    if claim.is_doubtful:
        status = Status.UNKNOWN
    else:
        status = Status.RETRYING if claim.reset.attempts else Status.QUEUED
    return Finish(status=status, reason=reason, delay_seconds=delay_seconds)


def ended(status: Status, reason: str) -> Finish:
    """No attempt was made, and none will be."""
    return Finish(status=status, reason=reason)
