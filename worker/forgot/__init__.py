"""Look up people who forgot their password, and record a reset for each."""

from __future__ import annotations

import structlog

from shared.errors import (
    CallerError,
    DirectoryUnavailableError,
    StoreUnavailableError,
    TooManyRequestsError,
)
from shared.models import Channel, Organisation, User
from shared.policies import check_may_reset, provider_names
from shared.queue import HINT_AT_FORGOTTEN
from shared.recording import NEVER_MS, ResetRequest, page_limits, record_refusals, record_reset
from shared.store.forgot import ClaimedRequest, ForgotRequest
from shared.validation import comparable
from shared.wiring import Services

log = structlog.get_logger()

CALLER = "forgot"  # of the resets
MAX_AT_ONCE = 20
MAX_USERS = 20  # with one identifier


class ForgotProcessor:
    """Answers requests; any number of threads and processes may do so at once."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services = services

    def hint(self) -> None:
        """Publish a hint if a request waits; a periodic job."""
        if self._services.forgot.depth():
            self._services.hints.publish(HINT_AT_FORGOTTEN)

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
        for user in users:
            self._record(user, claimed.item, asked)
        log.info("forgot.answered", users=len(users), request_id=asked.request_id)

    def _find_users(self, asked: ForgotRequest) -> list[User]:
        """Return all who have an identifier, in each way to read it."""
        found: dict[str, User] = {}
        for identifier in asked.identifiers:
            users = self._services.directory.find_by_identifier(identifier, asked.org_id or None)
            found |= {user.user_id: user for user in users}
        return list(found.values())[:MAX_USERS]

    def _record(self, user: User, item: str, asked: ForgotRequest) -> None:
        """Record a reset as for a stranger's press of the page's button; again is the same one."""
        services = self._services
        organisation = services.callers.find_organisation(user.org_id)
        channel = self._channel(user, organisation, asked)
        reset_id = services.digests.derived_reset_id(user.user_id, CALLER, item)
        if services.resets.find(reset_id):
            return services.resets.confirm(reset_id)
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
                    limits=page_limits(services, user, None),
                    has_user_limits=False,
                    since_ms=NEVER_MS,
                    is_repeatable=True,
                )
                record_reset(services, request)
        except (StoreUnavailableError, DirectoryUnavailableError):
            raise
        except CallerError as error:
            limit = error.limit if isinstance(error, TooManyRequestsError) else None
            log.info("reset.unmatched", why=type(error).__name__, limit=limit)
        return None

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
