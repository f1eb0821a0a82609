"""Which users of a batch get a reset, and why the others do not; sends and records nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import (
    CallerError,
    CountryNotAllowedError,
    MachineUserError,
    RecipientMissingError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.models import Recipient, User
from shared.policies import check_country, check_may_reset, check_recipient
from shared.store.batches import Batch
from shared.store.batches.lists import ListEntry
from shared.store.batches.resets import KNOWN, Candidate
from shared.wiring import Services

REASONS: dict[type[CallerError], str] = {
    UserUnknownError: "unknown_user",
    UserNotInitialisedError: "not_initialised",
    MachineUserError: "machine",
    UserInactiveError: "inactive",
    RecipientMissingError: "no_address",
    CountryNotAllowedError: "country_not_allowed",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A user who gets a reset."""

    place: int  # in the list
    user: User
    recipient: Recipient
    reset_id: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Sorted:
    """Some users of a list, sorted."""

    chosen: tuple[Chosen, ...]
    skips: dict[int, str]  # place → why
    known: int  # have their reset of this batch already


class BatchSelection:
    """Sorts users; a hundred take a few round trips."""

    def __init__(self, services: Services) -> None:
        """All parts may be fakes."""
        self._services = services

    def sort(self, batch: Batch, number: int, entries: Sequence[tuple[int, ListEntry]]) -> Sorted:
        """Sort users of the list with this number, given with their places.

        Raises:
            StoreUnavailableError, DirectoryUnavailableError: nothing was done.
        """
        services, users = self._services, [(place, entry.user_id) for place, entry in entries]
        again = services.batch_lists.repeated(batch.batch_id, number, users, batch.lifetime_seconds)
        skips = dict.fromkeys(again, "duplicate")
        fresh = [(place, entry) for place, entry in entries if place not in again]
        candidates = [self._candidate(batch, entry) for _, entry in fresh]
        standings = services.batch_resets.standings(candidates, batch.channel)
        found = services.directory.find_users([entry.user_id for _, entry in fresh])
        chosen = []
        for (place, _), candidate, standing, user in zip(
            fresh, candidates, standings, found, strict=True
        ):
            judged = self._judge(batch, user) if standing != KNOWN else KNOWN
            if not isinstance(judged, str) and standing:
                judged = standing
            if isinstance(judged, str):
                skips[place] = judged
            else:
                reset_id, since_ms = candidate.reset_id, candidate.since_ms
                chosen.append(Chosen(place, *judged, reset_id, since_ms))
        return self._without_suppressed(chosen, skips)

    def _candidate(self, batch: Batch, entry: ListEntry) -> Candidate:
        reset_id = self._services.batch_resets.reset_id(entry.user_id, batch.batch_id)
        since_ms = entry.since_ms or int(batch.created_at.timestamp() * 1000)
        return Candidate(entry.user_id, reset_id, since_ms)

    def _judge(self, batch: Batch, user: User | None) -> tuple[User, Recipient] | str:
        """The user and where to write, or why not."""
        services = self._services
        if user is not None and batch.org_ids is not None and user.org_id not in batch.org_ids:
            return "not_yours"
        try:
            person = check_may_reset(user, None)
            recipient = check_recipient(
                person, batch.channel, allow_unverified=services.settings.allow_unverified
            )
            check_country(recipient, services.sms_regions)
        except CallerError as error:
            return REASONS[type(error)]
        return person, recipient

    def _without_suppressed(self, chosen: list[Chosen], skips: dict[int, str]) -> Sorted:
        told = self._services.suppressions.are_suppressed([each.recipient for each in chosen])
        for each, is_suppressed in zip(chosen, told, strict=True):
            if is_suppressed:
                skips[each.place] = "suppressed"
        known = [place for place, why in skips.items() if why == KNOWN]
        for place in known:
            del skips[place]
        kept = tuple(each for each in chosen if each.place not in skips)
        return Sorted(kept, skips, len(known))
