"""From many claims to drafts: the rules of worker/preparation.py, with few trips for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from shared.directories import Directory
from shared.errors import DirectoryUnavailableError
from shared.models import Channel, Kind, Message, Recipient, User
from shared.providers import BulkProvider, Provider
from shared.store.resets import Claim
from shared.store.suppressions import Suppression, SuppressionStore
from worker import outcomes
from worker.bulk.claims import End
from worker.messages import BulkItem
from worker.outcomes import NotSentError
from worker.preparation import Preparation, directory_away

log = structlog.get_logger()

ItemT = TypeVar("ItemT")
StepT = TypeVar("StepT")


class BulkPreparation:
    """Makes drafts; any number of threads may share it."""

    def __init__(
        self, preparation: Preparation, directory: Directory, suppressions: SuppressionStore
    ) -> None:
        """All parts may be fakes."""
        self._preparation = preparation
        self._directory, self._suppressions = directory, suppressions
        self._many: dict[str, bool] = {}

    def make(self, claims: Sequence[Claim]) -> tuple[list[BulkItem], list[End]]:
        """A draft of what may go out with others, and what becomes of the other resets.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        ends: list[End] = []
        admitted = _sift(claims, claims, self._admit, ends)
        users = self._find_users(admitted, ends)
        found = _sift([claim for claim, _ in users], users, self._address, ends)
        told = self._suppressions.find_many([recipient for _, _, recipient in found])
        items = [(*each, suppression) for each, suppression in zip(found, told, strict=True)]
        return _sift([item[0] for item in items], items, self._draft, ends), ends

    def _takes_many(self, provider: Provider[Message]) -> bool:
        """Remembered, for the question costs as much as a copy (Python 3.11)."""
        if provider.name not in self._many:
            self._many[provider.name] = isinstance(provider, BulkProvider)
        return self._many[provider.name]

    def _admit(self, claim: Claim) -> Claim:
        self._preparation.check_pauses(claim)
        reset = claim.reset
        is_usual = reset.kind is Kind.RESET and reset.channel is Channel.EMAIL
        if not is_usual or reset.reason in outcomes.ALONE:
            raise NotSentError(outcomes.alone(claim))
        return claim

    def _find_users(
        self, claims: Sequence[Claim], ends: list[End]
    ) -> list[tuple[Claim, User | None]]:
        try:
            users = self._directory.find_users([claim.reset.user_id for claim in claims])
        except DirectoryUnavailableError:
            log.warning("directory.unavailable")
            ends += [(claim, directory_away(claim)) for claim in claims]
            return []
        return list(zip(claims, users, strict=True))

    def _address(self, item: tuple[Claim, User | None]) -> tuple[Claim, User, Recipient]:
        claim, found = item
        user = self._preparation.check_user(claim, found)
        return claim, user, self._preparation.address(claim, user)

    def _draft(self, item: tuple[Claim, User, Recipient, Suppression | None]) -> BulkItem:
        claim, user, recipient, suppression = item
        self._preparation.check_suppression(suppression)
        choice = self._preparation.choose(claim)
        if not self._takes_many(choice.provider):
            raise NotSentError(outcomes.alone(claim))
        if claim.is_doubtful:
            self._preparation.admit(claim, choice.provider.name)
        code = self._preparation.code(claim)
        return BulkItem(claim, user, recipient, code, choice.provider, choice.switch)


def _sift(
    claims: Sequence[Claim],
    items: Sequence[ItemT],
    step: Callable[[ItemT], StepT],
    ends: list[End],
) -> list[StepT]:
    """What a step makes of those it lets pass; `ends` gets the others."""
    passed = []
    for claim, item in zip(claims, items, strict=True):
        try:
            passed.append(step(item))
        except NotSentError as settled:
            ends.append((claim, settled.finish))
    return passed
