"""Look up people who forgot their password, and record a reset for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import structlog

from shared.errors import (
    CallerError,
    DirectoryUnavailableError,
    StoreUnavailableError,
    TooManyRequestsError,
)
from shared.models import Channel, Kind, Organisation, User
from shared.policies import check_may_reset, provider_names
from shared.queue import HINT_AT_FORGOTTEN
from shared.recording import NEVER_MS, ResetRequest, page_limits, record_refusals, record_reset
from shared.store.forgot import ClaimedRequest, ForgotRequest
from shared.validation import address_key, comparable
from shared.wiring import Services

log = structlog.get_logger()

CALLER = "forgot"  # of the resets
MAX_AT_ONCE = 20
MAX_USERS = 20  # with one identifier


class _Person(NamedTuple):
    user: User
    organisation: Organisation | None
    channel: Channel


class ForgotProcessor:
    """Answers requests; any number of threads and processes may do so at once."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services = services

    def hint(self) -> int:
        """Publish a hint if a request waits; return how many wait. A periodic job."""
        if waiting := self._services.forgot.depth():
            self._services.hints.publish(HINT_AT_FORGOTTEN)
        return waiting

    def answer(self) -> int:
        """Answer the requests that have waited longest; return their number."""
        store, claimed = self._services.forgot, self._services.forgot.claim(most=MAX_AT_ONCE)
        for number, each in enumerate(claimed):
            try:
                self._answer_one(each)
            except (StoreUnavailableError, DirectoryUnavailableError) as error:
                log.warning("forgot.postponed", why=type(error).__name__)
                store.retry_later([late.item for late in claimed[number:]])
                return number
            store.remove(each.item)
        if len(claimed) == MAX_AT_ONCE:
            self._services.hints.publish(HINT_AT_FORGOTTEN)
        return len(claimed)

    def _answer_one(self, claimed: ClaimedRequest) -> None:
        if claimed.asked is None or claimed.is_late:
            why = "late" if claimed.is_late else "unreadable"
            log.warning("forgot.dropped", why=why)
            self._services.counters.add(f"forgot:{why}")
            return
        asked = claimed.asked
        users = self._find_users(asked)
        for group in self._groups(users, asked):
            self._record_group(group, claimed.item, asked)
        log.info("forgot.answered", users=len(users), request_id=asked.request_id)

    def _find_users(self, asked: ForgotRequest) -> list[User]:
        """Return all who have an identifier, in each way to read it."""
        found: dict[str, User] = {}
        for identifier in asked.identifiers:
            users = self._services.directory.find_by_identifier(identifier, asked.org_id or None)
            found |= {user.user_id: user for user in users}
        return list(found.values())[:MAX_USERS]

    def _groups(self, users: list[User], asked: ForgotRequest) -> Iterable[list[_Person]]:
        """Return the users with their channels; those who share a mail stand together."""
        groups: dict[tuple[str, ...], list[_Person]] = {}
        for user in users:
            organisation = self._services.callers.find_organisation(user.org_id)
            person = _Person(user, organisation, self._channel(user, organisation, asked))
            shared: tuple[str, ...] = (user.user_id,)
            is_list = self._services.settings.forgot_shared_address == "list"
            if is_list and person.channel is Channel.EMAIL and user.email:
                shared = (user.org_id, address_key(user.email.address))
            groups.setdefault(shared, []).append(person)
        return groups.values()

    def _record_group(self, group: list[_Person], item: str, asked: ForgotRequest) -> None:
        """Record a reset for each; of several, further ones for the first whose mail lists all."""
        derive, listing = self._services.digests, ""
        if len(group) > 1:
            listing = derive.digest("listing", item)
            group = [
                each
                for each in group
                if self._record(
                    each, derive.listed_reset_id(each.user, listing), asked, kind=Kind.RETURNED
                )
            ]
        for each in group:
            reset_id = derive.derived_reset_id(each.user.user_id, CALLER, item)
            if self._record(each, reset_id, asked, listing=listing) and listing:
                return

    def _record(
        self,
        person: _Person,
        reset_id: str,
        asked: ForgotRequest,
        *,
        kind: Kind = Kind.RESET,
        listing: str = "",
    ) -> bool:
        """Record a reset as for a stranger's press of the page's button; again is the same one.

        Return False if it was refused.
        """
        services, (user, organisation, channel) = self._services, person
        if services.resets.find(reset_id):
            services.resets.confirm(reset_id)
            return True
        try:
            with record_refusals(
                services, user.user_id, channel, caller_id=CALLER, request_id=asked.request_id
            ) as refused:
                refused.organisation = organisation
                request = ResetRequest(
                    user=check_may_reset(user, None),
                    organisation=organisation,
                    channel=channel,
                    reset_id=reset_id,
                    caller_id=CALLER,
                    request_id=asked.request_id,
                    kind=kind,
                    limits=() if listing else page_limits(services, user, None),
                    has_user_limits=False,
                    since_ms=NEVER_MS,
                    is_repeatable=True,
                    listing=listing or None,
                    is_listed=kind is Kind.RETURNED,
                )
                record_reset(services, request)
        except (StoreUnavailableError, DirectoryUnavailableError):
            raise
        except CallerError as error:
            limit = error.limit if isinstance(error, TooManyRequestsError) else None
            log.info("reset.unmatched", why=type(error).__name__, limit=limit)
            return False
        return True

    def _channel(
        self, user: User, organisation: Organisation | None, asked: ForgotRequest
    ) -> Channel:
        """Return the channel that was typed; for a name e-mail; the other if that one cannot be."""
        typed = {comparable(identifier) for identifier in asked.identifiers}
        is_phone = user.phone is not None and comparable(user.phone.address) in typed
        wanted = [Channel.SMS, Channel.EMAIL] if is_phone else [Channel.EMAIL, Channel.SMS]
        names = self._services.provider_names
        usable = (
            each
            for each in wanted
            if user.recipient(each) and provider_names(organisation, each, names[each])
        )
        return next(usable, wanted[0])
