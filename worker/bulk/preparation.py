"""Prepare many claims: the checks of worker/preparation.py, in few round trips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from shared.errors import DirectoryUnavailableError
from shared.models import Channel, Kind, Message, Queue, Recipient, User
from shared.providers import BulkProvider, Provider
from shared.store.resets import Claim
from shared.store.suppressions import Suppression
from shared.wiring import Services
from worker import outcomes
from worker.bulk.claims import End
from worker.outcomes import NotSentError
from worker.outgoing import BulkItem
from worker.preparation import Preparation, check_suppression, directory_away
from worker.routing import ProviderRouter

log = structlog.get_logger()

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")


class BulkPreparation:
    """Makes the items of bulk e-mails; any number of threads may share it."""

    def __init__(
        self, services: Services, preparation: Preparation, router: ProviderRouter
    ) -> None:
        """All parts may be fakes."""
        self._services, self._preparation, self._router = services, preparation, router
        self._takes_many: dict[str, bool] = {}

    def prepare(self, claims: Sequence[Claim]) -> tuple[list[BulkItem], list[End]]:
        """Return an item for each reset that may go out with others, and the end of each other.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        ends: list[End] = []
        admitted = _sift(self._admit, [(claim, None) for claim in claims], ends)
        users = self._find_users([claim for claim, _ in admitted], ends)
        found = _sift(self._preparation.check_user, users, ends)
        recipients = [recipient for _, (_, recipient) in found]
        suppressions = self._services.suppressions.find_many(recipients)
        checked = [(claim, (*who, s)) for (claim, who), s in zip(found, suppressions, strict=True)]
        return [item for _, item in _sift(self._make_item, checked, ends)], ends

    def _admit(self, claim: Claim, _: None) -> None:
        self._preparation.check_pauses(claim)
        reset = claim.reset
        is_usual = reset.kind is Kind.RESET and reset.channel is Channel.EMAIL and not reset.listing
        if not is_usual or reset.reason in outcomes.ALONE:
            raise NotSentError(outcomes.alone(claim))

    def _find_users(
        self, claims: Sequence[Claim], ends: list[End]
    ) -> list[tuple[Claim, User | None]]:
        try:
            users = self._services.directory.find_users([claim.reset.user_id for claim in claims])
        except DirectoryUnavailableError:
            log.warning("directory.unavailable")
            ends += [(claim, directory_away(claim)) for claim in claims]
            return []
        return list(zip(claims, users, strict=True))

    def _make_item(
        self, claim: Claim, found: tuple[User, Recipient, Suppression | None]
    ) -> BulkItem:
        user, recipient, suppression = found
        claim = self._preparation.bind(claim, user, recipient)
        check_suppression(suppression)
        choice = self._router.choose(claim)
        # SendGrid refuses a whole request for a local part it cannot write to.
        is_ascii = recipient.address.rpartition("@")[0].isascii()
        if not is_ascii or not self._is_bulk_provider(choice.provider):
            raise NotSentError(outcomes.alone(claim))
        if claim.is_doubtful:
            if claim.reset.queue is Queue.URGENT:  # the shortest time between its mark and the call
                raise NotSentError(outcomes.alone(claim))
            outcomes.check_may_resend(claim, self._services.settings, can_ask=False)
            self._router.admit(claim, choice.provider.name)
        code = self._preparation.code(claim)
        return BulkItem(claim, user, recipient, code, choice.provider, choice.switch)

    def _is_bulk_provider(self, provider: Provider[Message]) -> bool:
        """Remembered, for the question costs as much as a recipient (Python 3.11)."""
        if provider.name not in self._takes_many:
            self._takes_many[provider.name] = isinstance(provider, BulkProvider)
        return self._takes_many[provider.name]


def _sift(
    step: Callable[[Claim, InputT], ResultT],
    inputs: Sequence[tuple[Claim, InputT]],
    ends: list[End],
) -> list[tuple[Claim, ResultT]]:
    """Return a step's results; what it raises NotSentError for is added to `ends`."""
    passed = []
    for claim, found in inputs:
        try:
            passed.append((claim, step(claim, found)))
        except NotSentError as error:
            ends.append((claim, error.finish))
    return passed
