"""From a claim to a letter: user, address, provider and words; or why there is none."""

from __future__ import annotations

import structlog

from shared.codes import Code
from shared.errors import (
    DirectoryUnavailableError,
    RecipientMissingError,
    RenderError,
    UnknownKeyError,
)
from shared.models import Kind, Message, Organisation, Recipient, Status, User, UserState
from shared.policies import check_recipient
from shared.store.claims import Claim, Finish
from shared.store.suppressions import Suppression
from shared.wiring import Services
from worker import verdicts
from worker.batch_states import BatchStates
from worker.choice import Choice, ProviderChoice
from worker.letters import Letter, Renderer
from worker.organisations import Organisations
from worker.pauses import PauseView
from worker.verdicts import SettledError

log = structlog.get_logger()

DIRECTORY_RETRY_SECONDS = 5.0


class Preparation:
    """Makes letters; any number of threads may share it."""

    def __init__(self, house: Services, choice: ProviderChoice, renderer: Renderer) -> None:
        """All parts may be fakes."""
        self._house, self._choice, self._renderer = house, choice, renderer
        self._pauses, self._batches = PauseView(house.pauses), BatchStates(house)
        self._organisations = Organisations(house.callers.find_organisation)

    def prepare(self, claim: Claim) -> Letter:
        """The message as it goes out now.

        Raises:
            SettledError: nothing goes out; it says what becomes of the reset.
            StoreUnavailableError: Redis does not answer.
        """
        self.check_pauses(claim)
        user = self._find_user(claim)
        recipient = self.address(claim, user)
        self.check_suppression(self._house.suppressions.find(recipient))
        choice = self.choose(claim)
        message = self._render(claim, user, recipient)
        return Letter(message, recipient, choice.provider, choice.switch)

    def _find_user(self, claim: Claim) -> User:
        try:
            user = self._house.directory.find_user(claim.reset.user_id)
        except DirectoryUnavailableError as error:
            log.warning("directory.unavailable")
            raise SettledError(directory_away(claim)) from error
        return self.check_user(claim, user)

    # The rules, one by one: letters made singly and in great numbers follow the same.

    def check_pauses(self, claim: Claim) -> None:
        """Nothing, when no operator has stopped what this reset belongs to.

        Raises:
            SettledError: it waits, or its batch was cancelled.
        """
        self._batches.check(claim)
        self._pauses.check(claim)

    def check_user(self, claim: Claim, user: User | None) -> User:
        """The user, when it is still somebody to write to.

        Raises:
            SettledError: it is not.
        """
        if user is None:
            raise SettledError(verdicts.ended(Status.CANCELLED, "user_gone"))
        if claim.reset.kind is Kind.RESET and user.state is not UserState.ACTIVE:
            raise SettledError(verdicts.ended(Status.CANCELLED, f"user_{user.state}"))
        return user

    def address(self, claim: Claim, user: User) -> Recipient:
        """Where to write.

        Raises:
            SettledError: there is no address that may be used.
        """
        reset = claim.reset
        try:
            return check_recipient(
                user, reset.channel, allow_unverified=self._house.settings.allow_unverified
            )
        except RecipientMissingError as error:
            status = Status.FAILED if reset.kind is Kind.RESET else Status.CANCELLED
            raise SettledError(verdicts.ended(status, "no_recipient")) from error

    def check_suppression(self, found: Suppression | None) -> None:
        """Give nothing when the recipient may be written to.

        Raises:
            SettledError: it may not.
        """
        if found:
            raise SettledError(verdicts.ended(Status.SUPPRESSED, found.reason))

    def choose(self, claim: Claim) -> Choice:
        """Who carries the next attempt.

        Raises:
            SettledError: there is nobody now.
        """
        return self._choice.choose(claim)

    def admit(self, claim: Claim, provider: str) -> None:
        """Give nothing when a doubtful attempt may be repeated now, by one who cannot be asked.

        Raises:
            SettledError: its channel holds what is in doubt, or its provider is left alone.
        """
        verdicts.check_may_resend(claim, self._house.settings, can_ask=False)
        self._choice.admit(claim, provider)

    def code(self, claim: Claim) -> Code:
        """The reset's code.

        Raises:
            SettledError: the key it was made with is gone.
        """
        try:
            return self._house.codes.code(claim.reset.reset_id, claim.reset.key_id)
        except UnknownKeyError as error:
            log.error("delivery.failed", exc_info=error)
            raise SettledError(verdicts.ended(Status.FAILED, "key_unknown")) from error

    def organisation(self, org_id: str) -> Organisation | None:
        """Who is writing.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        return self._organisations.find(org_id)

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
            raise SettledError(cannot_render(error)) from error


def cannot_render(error: RenderError) -> Finish:
    """What becomes of a reset whose message lacks something."""
    log.error("delivery.failed", exc_info=error)
    return verdicts.ended(Status.FAILED, "cannot_render")


def directory_away(claim: Claim) -> Finish:
    """What becomes of a reset whose user cannot be looked up now."""
    return verdicts.later(claim, "directory_unavailable", DIRECTORY_RETRY_SECONDS)
