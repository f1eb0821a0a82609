"""Prepare a claim's message: check batch, pauses, user and address, choose a provider, render."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar

import structlog
from cachetools import TTLCache, cached

from shared.codes import Code
from shared.errors import (
    DirectoryUnavailableError,
    RecipientMissingError,
    RenderError,
    UnknownKeyError,
)
from shared.messages.rendering import ListedCode, MessageRenderer
from shared.models import Kind, Message, Organisation, Outcome, Recipient, Status, User, UserState
from shared.organisations.profile import Profile
from shared.policies import check_recipient
from shared.store.batches import BatchState
from shared.store.resets import Claim, Finish
from shared.store.suppressions import Suppression
from shared.wiring import Services
from worker import outcomes
from worker.outcomes import NotSentError
from worker.outgoing import OutgoingMessage
from worker.routing import PauseView, ProviderRouter

log = structlog.get_logger()

DIRECTORY_RETRY_SECONDS = 5.0
BATCH_SECONDS = 1.0  # how late a paused or cancelled batch is noticed
MAX_BATCHES = 1024
MIN_PAUSE_WAIT_SECONDS = 3.0  # of a reset whose batch was just paused
MAX_PAUSE_WAIT_SECONDS = 60.0
ORGANISATION_SECONDS = 2.0  # how late a changed name or language is noticed
MAX_ORGANISATIONS = 4096
NOT_TAKEN = (Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.PERMANENT)  # no copy is out
FoundT = TypeVar("FoundT")


class Preparation:
    """Prepares messages; any number of threads may share it.

    worker/bulk/preparation.py takes many claims through the same checks, one method for each.
    """

    def __init__(
        self,
        services: Services,
        router: ProviderRouter,
        renderer: MessageRenderer,
        pauses: PauseView,
    ) -> None:
        """All parts may be fakes."""
        self._services, self._router, self._renderer = services, router, renderer
        self._pauses, self._batches = pauses, BatchStates(services)

    def prepare(self, claim: Claim) -> OutgoingMessage:
        """Return the message as it goes out now.

        Raises:
            NotSentError: nothing goes out; it says what becomes of the reset.
            StoreUnavailableError: Redis does not answer.
        """
        self.check_pauses(claim)
        try:
            found = self._services.directory.find_user(claim.reset.user_id)
        except DirectoryUnavailableError as error:
            log.warning("directory.unavailable")
            raise NotSentError(directory_away(claim)) from error
        user, recipient = self.check_user(claim, found)
        claim = self.bind(claim, user, recipient)
        check_suppression(self._services.suppressions.find(recipient))
        choice = self._router.choose(claim)
        profile = self._router.find_profile(claim.reset.org_id)
        message = self._render(claim, user, recipient, profile)
        version = self._renderer.text_version(claim.reset, profile)
        return OutgoingMessage(claim, message, recipient, choice.provider, choice.switch, version)

    def check_pauses(self, claim: Claim) -> None:
        """Raise NotSentError if the batch is paused or cancelled, or sending is paused."""
        self._batches.check(claim)
        self._pauses.check(claim)

    def check_user(self, claim: Claim, user: User | None) -> tuple[User, Recipient]:
        """Return the user and where to write; raise NotSentError if either is missing."""
        reset = claim.reset
        if user is None:
            raise NotSentError(outcomes.ended(Status.CANCELLED, "user_gone"))
        if reset.kind is Kind.RESET and user.state is not UserState.ACTIVE:
            raise NotSentError(outcomes.ended(Status.CANCELLED, f"user_{user.state}"))
        try:
            recipient = check_recipient(
                self._with_address(user, reset.notice_to) if reset.notice_to else user,
                reset.channel,
                allow_unverified=self._services.settings.allow_unverified,
            )
        except RecipientMissingError as error:
            status = Status.FAILED if reset.kind is Kind.RESET else Status.CANCELLED
            raise NotSentError(outcomes.ended(status, "no_recipient")) from error
        return user, recipient

    def _with_address(self, user: User, notice_to: str) -> User:
        """Return the user with the one of its addresses that a notice is for, if any."""
        digest = self._services.suppressions.digest
        own = (each for each in (user.email, *user.former_emails) if each)
        email = next((each for each in own if digest(each) == notice_to), None)
        phone = user.phone if user.phone and digest(user.phone) == notice_to else None
        return replace(user, email=email, phone=phone)

    def bind(self, claim: Claim, user: User, recipient: Recipient) -> Claim:
        """Return the claim with what its code rests on from this attempt on.

        A changed address gets the message unless the former one may have it; raise NotSentError
        if the code must not be sent any more.
        """
        reset, digests = claim.reset, self._services.digests
        if reset.kind is Kind.NOTICE:
            return claim
        changed = reset.basis and digests.what_changed(reset.basis, user, reset.channel)
        is_out = any(attempt.outcome not in NOT_TAKEN for attempt in reset.attempts)
        if changed == "user_changed" or (changed and is_out):
            raise NotSentError(outcomes.ended(Status.CANCELLED, changed))
        if reset.basis and not changed:
            return claim
        return replace(claim, reset=replace(reset, basis=digests.basis(user, recipient)))

    def code(self, claim: Claim) -> Code:
        """Return the reset's code; raise NotSentError if its key is gone."""
        try:
            return self._services.codes.code(claim.reset.reset_id, claim.reset.key_id)
        except UnknownKeyError as error:
            log.error("delivery.failed", exc_info=error)
            raise NotSentError(outcomes.ended(Status.FAILED, "key_unknown")) from error

    def _render(
        self, claim: Claim, user: User, recipient: Recipient, profile: Profile | None
    ) -> Message:
        reset = claim.reset
        code = self.code(claim) if reset.kind is not Kind.NOTICE else None
        try:
            if code is None:
                return self._renderer.render_notice(reset, user, recipient, profile)
            left, listed = outcomes.seconds_left(claim), self._find_listed(claim, recipient)
            return self._renderer.render_reset(
                reset, user, recipient, profile, code, seconds_left=left, listed=listed
            )
        except RenderError as error:
            raise NotSentError(cannot_render(error)) from error

    def _find_listed(self, claim: Claim, recipient: Recipient) -> list[ListedCode]:
        """Return the codes of the other users with this address that still work."""
        reset, services = claim.reset, self._services
        if not reset.listing:
            return []
        try:
            users = services.directory.find_by_identifier(recipient.address, reset.org_id)
        except DirectoryUnavailableError as error:
            raise NotSentError(directory_away(claim)) from error
        found = []
        for user in users:
            other = services.resets.find(services.digests.listed_reset_id(user, reset.listing))
            if other is None or user.user_id == reset.user_id or user.state is not UserState.ACTIVE:
                continue
            changed = services.digests.what_changed(other.basis, user, reset.channel)
            is_over = other.code_end or other.completed_at or other.deadline_at <= claim.now
            if not (changed or is_over):
                code = services.codes.code(other.reset_id, other.key_id)
                found.append(ListedCode(user, other, code))
        return found


def check_suppression(found: Suppression | None) -> None:
    """Raise NotSentError if the recipient is suppressed."""
    if found:
        raise NotSentError(outcomes.ended(Status.SUPPRESSED, found.reason))


def cannot_render(error: RenderError) -> Finish:
    """Fail a reset whose message lacks a value or a sentence."""
    log.error("delivery.failed", exc_info=error)
    return outcomes.ended(Status.FAILED, "cannot_render")


def directory_away(claim: Claim) -> Finish:
    """Look again at a reset whose user cannot be looked up now."""
    return outcomes.later(claim, "directory_unavailable", DIRECTORY_RETRY_SECONDS)


class BatchStates:
    """Checks the state of batches; any number of threads may share it."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services = services
        self._state = remember(services.batches.state, seconds=BATCH_SECONDS, max_size=MAX_BATCHES)

    def check(self, claim: Claim) -> None:
        """Raise NotSentError if the reset's batch is paused or cancelled.

        Raises:
            StoreUnavailableError: it cannot be known.
        """
        reset = claim.reset
        found = self._state(reset.batch_id) if reset.batch_id else None
        if found is None:
            return
        state, changed_at = found
        if state is BatchState.CANCELLED:
            if claim.is_doubtful:  # the provider may have it: its callback or the deadline ends it
                left = outcomes.seconds_left(claim)
                raise NotSentError(outcomes.later(claim, "batch_cancelled", left))
            raise NotSentError(outcomes.ended(Status.CANCELLED, "batch_cancelled"))
        if state is BatchState.PAUSED:
            if not reset.attempts:  # a pause costs no code: its life begins at its last look
                lifetime = self._services.settings.lifetime_seconds(reset.channel)
                self._services.batch_resets.refresh(reset.reset_id, lifetime)
            # The longer a pause lasts, the seldomer its resets are looked at.
            since = (claim.now - changed_at).total_seconds() if changed_at else float("inf")
            longest = min(max(since, MIN_PAUSE_WAIT_SECONDS), MAX_PAUSE_WAIT_SECONDS)
            wait = random.uniform(longest / 2, longest)
            raise NotSentError(outcomes.later(claim, "batch_paused", wait))


def remember_organisations(services: Services) -> Callable[[str], Organisation | None]:
    """Return a function that finds organisations, and remembers them for a moment."""
    find = services.callers.find_organisation
    return remember(find, seconds=ORGANISATION_SECONDS, max_size=MAX_ORGANISATIONS)


def remember(
    find: Callable[[str], FoundT],
    *,
    seconds: float,
    max_size: int,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[str], FoundT]:
    """Return `find` with a cache that threads may share; `clock` counts seconds."""
    cache: TTLCache[Hashable, FoundT] = TTLCache(max_size, seconds, timer=clock)
    return cached(cache, lock=threading.Lock())(find)
