"""Apply what providers report of resets: suppression, offer of the other channel, status."""

from __future__ import annotations

import time
from itertools import islice

import structlog

from shared import tracing
from shared.errors import (
    CountryNotAllowedError,
    DirectoryUnavailableError,
    LineTypeError,
    RecipientMissingError,
    RecipientSuppressedError,
    SmsSuspiciousError,
    TooManyRequestsError,
)
from shared.models import CallbackEvent, Channel, DeliveryEvent, Kind, Reset, Status, UserState
from shared.organisations.sender import OWN
from shared.policies import check_recipient, provider_names
from shared.providers.outbox import due_reports
from shared.queue import hint_at_receipts
from shared.recording import ResetRequest, record_reset
from shared.store.receipts import Waiting
from shared.wiring import Services

log = structlog.get_logger()

MAX_AT_ONCE = 100
MAX_PER_TASK = 1000  # then a new hint: other shards wait too
OTHER = {Channel.EMAIL: Channel.SMS, Channel.SMS: Channel.EMAIL}
OFFERED = "offered"  # an event on both resets: neither is offered again


class ReceiptProcessor:
    """Applies reports; any number of threads and processes may do so at once."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services, self._other_channel = services, OtherChannel(services)

    def apply(self, shard: int) -> int:
        """Apply the reports that wait in a shard; return their number.

        Raises:
            StoreUnavailableError: what was not applied still waits.
        """
        number = 0
        while number < MAX_PER_TASK:
            reports = self._services.receipts.head(shard, most=MAX_AT_ONCE)
            for waiting in reports:
                if not self._apply_one(waiting):
                    return number  # another worker is at this list
                number += 1
            if len(reports) < MAX_AT_ONCE:
                return number
        self._services.hints.publish(hint_at_receipts(shard))
        return number

    def _apply_one(self, waiting: Waiting) -> bool:
        """Apply the first report of a list; return False if another worker took it."""
        event, reset = waiting.event, None
        if event.suppression or event.is_failure or tracing.is_tracing():
            reset = self._services.resets.find(event.reset_id)
        attributes = {
            "reset_id": event.reset_id,
            "provider": event.provider,
            "type": event.type.value,
        }
        with tracing.span("receipt.apply", attributes, parent=reset.trace if reset else None):
            if reset and event.suppression:
                self._suppress(event, reset)
            offered_id = self._other_channel.offer(reset, event) if reset else None
            settled = self._services.receipts.settle(waiting, offered_id=offered_id)
            if settled is None:
                return False
            log.info(
                "receipt.applied",
                **attributes,
                reason=event.reason or None,
                before=settled.before,
                after=settled.after,
            )
            return True

    def _suppress(self, event: CallbackEvent, reset: Reset) -> None:
        """Suppress the recipient before the report leaves its list; safe to repeat."""
        if reset.recipient_digest is None or event.provider.startswith(OWN):
            return  # what an organisation's own account is told concerns no other
        is_new = self._services.suppressions.add_digest(
            reset.recipient_digest,
            reason=event.suppression,
            source=event.provider,
            at_ms=event.at_ms or 0,
        )
        if is_new:
            log.warning("suppression.added", reason=event.suppression, provider=event.provider)


class OtherChannel:
    """Records a fresh reset on the other channel; twice for the same reset makes one."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services = services

    def offer(self, reset: Reset, event: CallbackEvent) -> str | None:
        """Return the id of a fresh reset on the other channel; None if none may be made."""
        if not self._services.settings.offer_other_channel or not self._is_wanted(reset, event):
            return None
        channel = OTHER[reset.channel]
        try:
            new_id = self._record(reset, channel)
        except (
            CountryNotAllowedError,
            DirectoryUnavailableError,
            LineTypeError,
            RecipientMissingError,
            RecipientSuppressedError,
            SmsSuspiciousError,
            TooManyRequestsError,
        ) as error:
            log.info("reset.unoffered", reset_id=reset.reset_id, reason=type(error).__name__)
            return None
        log.info("reset.offered", reset_id=reset.reset_id, channel=channel.value, new_id=new_id)
        return new_id

    def _is_wanted(self, reset: Reset, event: CallbackEvent) -> bool:
        """Return True while the failure is the reset's own and its code is live and unused."""
        accepted_id = reset.attempts[-1].provider_message_id if reset.attempts else None
        is_last_message = not accepted_id or not event.message_id or accepted_id == event.message_id
        copies = sum(bool(attempt.provider_message_id) for attempt in reset.attempts)
        may_fail = reset.status is Status.ACCEPTED or (
            reset.status is Status.DELIVERED and copies == 1  # else the other one has arrived
        )
        return (
            event.is_failure
            and (not reset.status.is_final or may_fail)
            and reset.kind is Kind.RESET
            and not (reset.completed_at or reset.is_superseded or reset.code_end)
            and is_last_message  # a later one may still arrive
            and all(earlier.type != OFFERED for earlier in reset.events)
            and self._has_provider(reset)
            and self._services.dues.now() < reset.deadline_at
        )

    def _has_provider(self, reset: Reset) -> bool:
        services, channel = self._services, OTHER[reset.channel]
        organisation = services.callers.find_organisation(reset.org_id)
        return bool(provider_names(organisation, channel, services.provider_names[channel]))

    def _record(self, reset: Reset, channel: Channel) -> str:
        """Record it within the limits of the installation; those of the user do not apply."""
        services = self._services
        user = services.directory.find_user(reset.user_id)
        if user is None or user.state is not UserState.ACTIVE:
            raise RecipientMissingError
        if services.digests.what_changed(reset.basis, user, reset.channel) == "user_changed":
            raise RecipientMissingError
        check_recipient(user, channel, allow_unverified=False)
        new_id = services.digests.derived_reset_id(user.user_id, "other channel", reset.reset_id)
        if services.resets.find(new_id):
            services.resets.confirm(new_id)
            return new_id
        detail = f"in place of {reset.reset_id}"
        request = ResetRequest(
            user=user,
            organisation=services.callers.find_organisation(user.org_id),
            channel=channel,
            reset_id=new_id,
            request_id=reset.request_id,
            caller_id=reset.caller_id,
            queue=reset.queue,
            url_template=reset.url_template,
            event=DeliveryEvent(services.dues.now(), OFFERED, detail=detail),
            has_user_limits=False,
            is_repeatable=True,
        )
        record_reset(services, request)
        return new_id


def take_simulated_reports(services: Services) -> None:
    """Take what the outbox reports of its messages, as callbacks are taken; a periodic job."""
    due = due_reports(services.settings.data_dir, time.time())
    for path, event in islice(due, MAX_AT_ONCE):
        for shard in services.receipts.receive(event.provider, [event]):
            services.hints.publish(hint_at_receipts(shard))
        path.unlink(missing_ok=True)


class ReceiptJob:
    """A periodic job: hint at waiting reports, and apply those that a hint did not help."""

    __name__ = "receipts"  # in the logs

    def __init__(self, services: Services, processor: ReceiptProcessor) -> None:
        """Create one per process."""
        self._services, self._processor = services, processor
        self._hinted: set[int] = set()

    def __call__(self) -> int:
        """Look once at every shard; return how many have reports."""
        waiting = set(self._services.receipts.shards_waiting())
        for shard in waiting & self._hinted:
            self._processor.apply(shard)
        for shard in waiting - self._hinted:
            self._services.hints.publish(hint_at_receipts(shard))
        self._hinted = waiting - self._hinted
        return len(waiting)
