"""Choose which users of a batch get a reset, and say why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import (
    CallerError,
    CountryNotAllowedError,
    LineTypeError,
    MachineUserError,
    RecipientMissingError,
    UserInactiveError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.guard.rules import is_blocked
from shared.models import Channel, Recipient, User
from shared.policies import (
    check_country,
    check_line,
    check_may_reset,
    check_recipient,
    sms_regions,
)
from shared.store.batches import Batch
from shared.store.batches.lists import UNKNOWN_USER, ListEntry
from shared.store.batches.resets import KNOWN, Candidate
from shared.wiring import Services
from worker.preparation import remember_organisations

REASONS: dict[type[CallerError], str] = {
    UserUnknownError: UNKNOWN_USER,
    UserNotInitialisedError: "not_initialised",
    MachineUserError: "machine",
    UserInactiveError: "inactive",
    RecipientMissingError: "no_address",
    CountryNotAllowedError: "country_not_allowed",
    LineTypeError: "line_type",
}


@dataclass(frozen=True, slots=True)
class ChosenUser:
    """A user who gets a reset."""

    index: int  # in the list
    user: User
    recipient: Recipient
    reset_id: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class SortedUsers:
    """Some users of a list, sorted."""

    chosen: tuple[ChosenUser, ...]
    skips: dict[int, str]  # index → reason
    known: int  # have their reset of this batch already


class BatchSelection:
    """Sorts users; a hundred take a few round trips. Records nothing."""

    def __init__(self, services: Services) -> None:
        """All parts may be fakes."""
        self._services, self._find_organisation = services, remember_organisations(services)

    def sort(
        self, batch: Batch, list_number: int, entries: Sequence[tuple[int, ListEntry]]
    ) -> SortedUsers:
        """Sort users of a list, given with their indexes in it.

        Raises:
            StoreUnavailableError, DirectoryUnavailableError: nothing was done.
        """
        services, users = self._services, [(index, entry.user_id) for index, entry in entries]
        repeated = services.batch_lists.repeated(
            batch.batch_id, list_number, users, batch.lifetime_seconds
        )
        skips = dict.fromkeys(repeated, "duplicate")
        first = [(index, entry) for index, entry in entries if index not in repeated]
        candidates = [self._candidate(batch, entry) for _, entry in first]
        standings = services.batch_resets.standings(candidates, batch.channel)
        found = services.directory.find_users([entry.user_id for _, entry in first])
        chosen, known = [], 0
        for (index, _), candidate, standing, user in zip(
            first, candidates, standings, found, strict=True
        ):
            if standing == KNOWN:
                known += 1
                continue
            judged = self._judge(batch, user)
            if isinstance(judged, str) or standing:
                skips[index] = judged if isinstance(judged, str) else standing
            else:
                reset_id, since_ms = candidate.reset_id, candidate.since_ms
                chosen.append(ChosenUser(index, *judged, reset_id, since_ms))
        suppressed = services.suppressions.are_suppressed([each.recipient for each in chosen])
        for each, is_suppressed in zip(chosen, suppressed, strict=True):
            if is_suppressed:
                skips[each.index] = "suppressed"
        if batch.channel is Channel.SMS and (named := services.prefixes.named()):
            blocked = [each for each in chosen if is_blocked(named, each.recipient.address)]
            skips |= {each.index: "sms_blocked" for each in blocked}
        kept = tuple(each for each in chosen if each.index not in skips)
        return SortedUsers(kept, skips, known)

    def _candidate(self, batch: Batch, entry: ListEntry) -> Candidate:
        reset_id = self._services.batch_resets.reset_id(entry.user_id, batch.batch_id)
        since_ms = entry.since_ms or int(batch.created_at.timestamp() * 1000)
        return Candidate(entry.user_id, reset_id, since_ms)

    def _judge(self, batch: Batch, user: User | None) -> tuple[User, Recipient] | str:
        """Return the user and where to write, or the reason for neither."""
        services = self._services
        if user is not None and batch.org_ids is not None and user.org_id not in batch.org_ids:
            user = None  # a batch does not reveal who exists elsewhere
        try:
            person = check_may_reset(user, None)
            recipient = check_recipient(
                person, batch.channel, allow_unverified=services.settings.allow_unverified
            )
            organisation = (
                self._find_organisation(person.org_id) if batch.channel is Channel.SMS else None
            )
            check_country(recipient, sms_regions(organisation, services.sms_regions))
            check_line(recipient, services.settings.sms_allow_lines)
        except CallerError as error:
            return REASONS[type(error)]
        return person, recipient
