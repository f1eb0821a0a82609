"""From a claim to a letter: user, address, provider and words; or why there is none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import TypeAlias

import structlog
from cachetools import TTLCache, cached

from shared.codes import Code
from shared.errors import (
    DirectoryUnavailableError,
    RecipientMissingError,
    RenderError,
    UnknownKeyError,
)
from shared.models import Kind, Message, Organisation, Recipient, Status, User, UserState
from shared.policies import check_recipient
from shared.store.batches import BatchState
from shared.store.resets import Claim, Finish
from shared.store.suppressions import Suppression
from shared.wiring import Services
from worker import outcomes
from worker.messages import OutgoingMessage, Renderer
from worker.outcomes import NotSentError
from worker.pauses import PauseView
from worker.routing import Choice, ProviderRouter

KNOWN_SECONDS = 1.0
MAX_KNOWN = 1024
LEAST_WAIT_SECONDS = 3.0  # of a reset whose batch was just paused
MAX_WAIT_SECONDS = 60.0

State: TypeAlias = tuple[BatchState, datetime | None]


class BatchStates:
    """Checks claims; threads may share it."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds and never goes back."""
        self._services = services
        cache: TTLCache[str, State | None] = TTLCache(MAX_KNOWN, KNOWN_SECONDS, timer=clock)
        self._state = cached(cache, key=str, lock=Lock())(services.batches.state)

    def check(self, claim: Claim) -> None:
        """Raise NotSentError if the batch of the reset is paused or cancelled.

        Raises:
            NotSentError: the reset waits, or is over.
            StoreUnavailableError: nobody can say.
        """
        batch_id = claim.reset.batch_id
        found = self._state(batch_id) if batch_id else None
        if found is None:
            return
        state, changed_at = found
        if state is BatchState.PAUSED:
            self._refresh(claim)
            paused_at = changed_at.timestamp() if changed_at else 0.0
            raise NotSentError(outcomes.later(claim, "batch_paused", _wait(claim, paused_at)))
        if state is BatchState.CANCELLED:
            raise NotSentError(_cancelled(claim))

    def _refresh(self, claim: Claim) -> None:
        """A pause costs nobody its code: what was never tried lives anew from its last look."""
        reset = claim.reset
        if not reset.attempts:
            lifetime = self._services.settings.lifetime_seconds(reset.channel)
            self._services.batch_resets.refresh(reset.user_id, reset.reset_id, lifetime)


def _wait(claim: Claim, paused_at: float) -> float:
    """The longer a pause lasts, the seldomer its resets are looked at."""
    since = claim.now.timestamp() - paused_at
    longest = min(max(since, LEAST_WAIT_SECONDS), MAX_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)


def _cancelled(claim: Claim) -> Finish:
    if (
        claim.is_doubtful
    ):  # the provider may have it: no second copy, its word or the deadline ends it
        left = (claim.reset.deadline_at - claim.now).total_seconds()
        return outcomes.later(claim, "batch_cancelled", left)
    return outcomes.ended(Status.CANCELLED, "batch_cancelled")


REMEMBERED_SECONDS = 2.0  # how late a changed name or language is noticed
MAX_REMEMBERED = 4096

Find: TypeAlias = Callable[[str], Organisation | None]


def remembering(find: Find, *, clock: Callable[[], float] = monotonic) -> Find:
    """Return `find` with what it returned remembered, None included; threads may share it."""
    cache: TTLCache[str, Organisation | None] = TTLCache(
        MAX_REMEMBERED, REMEMBERED_SECONDS, timer=clock
    )
    return cached(cache, key=str, lock=Lock())(find)


log = structlog.get_logger()

DIRECTORY_RETRY_SECONDS = 5.0


class Preparation:
    """Makes letters; any number of threads may share it."""

    def __init__(self, services: Services, choice: ProviderRouter, renderer: Renderer) -> None:
        """All parts may be fakes."""
        self._services, self._choice, self._renderer = services, choice, renderer
        self._pauses, self._batches = PauseView(services.pauses), BatchStates(services)
        self._find_organisation = remembering(services.callers.find_organisation)

    def prepare(self, claim: Claim) -> OutgoingMessage:
        """The message as it goes out now.

        Raises:
            NotSentError: nothing goes out; it says what becomes of the reset.
            StoreUnavailableError: Redis does not answer.
        """
        self.check_pauses(claim)
        user = self._find_user(claim)
        recipient = self.address(claim, user)
        self.check_suppression(self._services.suppressions.find(recipient))
        choice = self.choose(claim)
        message = self._render(claim, user, recipient)
        return OutgoingMessage(message, recipient, choice.provider, choice.switch)

    def _find_user(self, claim: Claim) -> User:
        try:
            user = self._services.directory.find_user(claim.reset.user_id)
        except DirectoryUnavailableError as error:
            log.warning("directory.unavailable")
            raise NotSentError(directory_away(claim)) from error
        return self.check_user(claim, user)

    # The rules, one by one: letters made singly and in great numbers follow the same.

    def check_pauses(self, claim: Claim) -> None:
        """Nothing, when no operator has stopped what this reset belongs to.

        Raises:
            NotSentError: it waits, or its batch was cancelled.
        """
        self._batches.check(claim)
        self._pauses.check(claim)

    def check_user(self, claim: Claim, user: User | None) -> User:
        """The user, when it is still somebody to write to.

        Raises:
            NotSentError: it is not.
        """
        if user is None:
            raise NotSentError(outcomes.ended(Status.CANCELLED, "user_gone"))
        if claim.reset.kind is Kind.RESET and user.state is not UserState.ACTIVE:
            raise NotSentError(outcomes.ended(Status.CANCELLED, f"user_{user.state}"))
        return user

    def address(self, claim: Claim, user: User) -> Recipient:
        """Where to write.

        Raises:
            NotSentError: there is no address that may be used.
        """
        reset = claim.reset
        try:
            return check_recipient(
                user, reset.channel, allow_unverified=self._services.settings.allow_unverified
            )
        except RecipientMissingError as error:
            status = Status.FAILED if reset.kind is Kind.RESET else Status.CANCELLED
            raise NotSentError(outcomes.ended(status, "no_recipient")) from error

    def check_suppression(self, found: Suppression | None) -> None:
        """Give nothing when the recipient may be written to.

        Raises:
            NotSentError: it may not.
        """
        if found:
            raise NotSentError(outcomes.ended(Status.SUPPRESSED, found.reason))

    def choose(self, claim: Claim) -> Choice:
        """Who carries the next attempt.

        Raises:
            NotSentError: there is nobody now.
        """
        return self._choice.choose(claim)

    def admit(self, claim: Claim, provider: str) -> None:
        """Give nothing when a doubtful attempt may be repeated now, by one who cannot be asked.

        Raises:
            NotSentError: its channel holds what is in doubt, or its provider is left alone.
        """
        outcomes.check_may_resend(claim, self._services.settings, can_ask=False)
        self._choice.admit(claim, provider)

    def code(self, claim: Claim) -> Code:
        """The reset's code.

        Raises:
            NotSentError: the key it was made with is gone.
        """
        try:
            return self._services.codes.code(claim.reset.reset_id, claim.reset.key_id)
        except UnknownKeyError as error:
            log.error("delivery.failed", exc_info=error)
            raise NotSentError(outcomes.ended(Status.FAILED, "key_unknown")) from error

    def organisation(self, org_id: str) -> Organisation | None:
        """Who is writing.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        return self._find_organisation(org_id)

    def _render(self, claim: Claim, user: User, recipient: Recipient) -> Message:
        reset, organisation = claim.reset, self.organisation(claim.reset.org_id)
        code = self.code(claim) if reset.kind is not Kind.NOTICE else None
        left = (reset.deadline_at - claim.now).total_seconds()
        try:
            if code is None:
                return self._renderer.render_notice(reset, user, recipient, organisation)
            return self._renderer.render_reset(
                reset, user, recipient, organisation, code, seconds_left=left
            )
        except RenderError as error:
            raise NotSentError(cannot_render(error)) from error


def cannot_render(error: RenderError) -> Finish:
    """What becomes of a reset whose message lacks something."""
    log.error("delivery.failed", exc_info=error)
    return outcomes.ended(Status.FAILED, "cannot_render")


def directory_away(claim: Claim) -> Finish:
    """What becomes of a reset whose user cannot be looked up now."""
    return outcomes.later(claim, "directory_unavailable", DIRECTORY_RETRY_SECONDS)
