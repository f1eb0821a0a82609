"""Apply receipts of providers to resets in their order: suppression first, then status."""

from __future__ import annotations

import orjson
import structlog

from shared import tracing
from shared.errors import (
    CountryNotAllowedError,
    DirectoryUnavailableError,
    RecipientMissingError,
    RecipientSuppressedError,
    TooManyRequestsError,
)
from shared.models import CallbackEvent, Channel, Kind, Recipient, Reset, Status, User, UserState
from shared.policies import check_country, check_recipient, last_start_seconds
from shared.queue import hint_at, hint_at_receipts
from shared.store.limits import Limit
from shared.store.receipts import Waiting
from shared.store.resets import NewReset
from shared.wiring import Services

log = structlog.get_logger()

OTHER = {Channel.EMAIL: Channel.SMS, Channel.SMS: Channel.EMAIL}
OFFERED = "offered"  # an event on both resets: neither is offered again
DAY_SECONDS = 24 * 3600


class OtherChannel:
    """Offers; doing it twice for the same reset makes one."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services = services

    def offer(self, reset: Reset, event: CallbackEvent) -> str | None:
        """The id of a fresh reset on the other channel, or None when there is none to be made."""
        if not self._services.settings.offer_other_channel or not self._is_wanted(reset, event):
            return None
        channel = OTHER[reset.channel]
        try:
            user, recipient = self._find(reset, channel)
            new_id = self._record(reset, channel, user, recipient)
        except (
            CountryNotAllowedError,
            DirectoryUnavailableError,
            RecipientMissingError,
            RecipientSuppressedError,
            TooManyRequestsError,
        ) as error:
            log.info("reset.unoffered", reset_id=reset.reset_id, reason=type(error).__name__)
            return None
        log.info("reset.offered", reset_id=reset.reset_id, channel=channel.value, new_id=new_id)
        return new_id

    def _is_wanted(self, reset: Reset, event: CallbackEvent) -> bool:
        """True while the failure is the reset's own, its code lives, and nobody used it."""
        is_open = not reset.status.is_final or reset.status is Status.ACCEPTED
        return (
            event.is_failure
            and is_open
            and reset.kind is Kind.RESET
            and not (reset.completed_at or reset.is_superseded)
            and _is_of_last_copy(reset, event)
            and all(told.type != OFFERED for told in reset.events)
            and bool(self._services.provider_names[OTHER[reset.channel]])
            and self._services.dues.now() < reset.deadline_at
        )

    def _find(self, reset: Reset, channel: Channel) -> tuple[User, Recipient]:
        user = self._services.directory.find_user(reset.user_id)
        if user is None or user.state is not UserState.ACTIVE:
            raise RecipientMissingError
        recipient = check_recipient(user, channel, allow_unverified=False)
        check_country(recipient, self._services.sms_regions)
        return user, recipient

    def _record(self, reset: Reset, channel: Channel, user: User, recipient: Recipient) -> str:
        services = self._services
        new_id = services.digests.derived_reset_id(user.user_id, "other channel", reset.reset_id)
        if services.resets.find(new_id) is None:
            self._pass_gate(user, channel, new_id, recipient)
        services.resets.record(self._new_reset(reset, channel, user, new_id))
        services.hints.publish(hint_at(new_id, channel, reset.queue))
        return new_id

    def _pass_gate(self, user: User, channel: Channel, new_id: str, recipient: Recipient) -> None:
        settings = self._services.settings
        limits = [Limit("organisation", user.org_id, settings.org_limit_per_minute, 60)]
        if channel is Channel.SMS:
            limits.append(Limit("sms_budget", "all", settings.sms_budget_per_day, DAY_SECONDS))
        self._services.limits.pass_gate(
            [limit for limit in limits if limit.most > 0],
            recipient_digest=self._services.suppressions.digest(recipient),
            version=-1,
            reset_id=new_id,
            is_repeatable=True,
        )

    def _new_reset(self, reset: Reset, channel: Channel, user: User, new_id: str) -> NewReset:
        services = self._services
        organisation = services.callers.find_organisation(user.org_id)
        lifetime = services.settings.lifetime_seconds(channel)
        told = [str(round(services.dues.now_ms())), OFFERED, "", f"in place of {reset.reset_id}"]
        facts = {"rq": reset.request_id, "tp": reset.url_template}
        return NewReset(
            reset_id=new_id,
            user_id=user.user_id,
            org_id=user.org_id,
            channel=channel,
            language=services.languages.choose(
                user.language, organisation.language if organisation else None
            ),
            key_id=services.codes.signing_key_id,
            lifetime_seconds=lifetime,
            last_start_seconds=last_start_seconds(channel, lifetime),
            queue=reset.queue,
            extra={"en": "1", "e1": orjson.dumps(told).decode()}
            | {name: value for name, value in facts.items() if value},
        )


def _is_of_last_copy(reset: Reset, event: CallbackEvent) -> bool:
    """False for an earlier copy than the one a provider took: that one may arrive yet."""
    last = reset.attempts[-1].provider_message_id if reset.attempts else None
    return not last or not event.message_id or last == event.message_id


MAX_AT_ONCE = 100
MAX_PER_TASK = 1000  # then a new hint: other shards wait too


class ReceiptProcessor:
    """Applies receipts; any number of threads and processes may do so at once."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._services, self._other_channel = services, OtherChannel(services)

    def apply(self, shard: int) -> int:
        """Apply what waits in a shard; return how many receipts that were.

        Raises:
            StoreUnavailableError: what was not applied still waits.
        """
        number = 0
        while number < MAX_PER_TASK:
            batch = self._services.receipts.head(shard, most=MAX_AT_ONCE)
            for waiting in batch:
                if not self._apply_one(waiting):
                    return number  # another worker is at this list
                number += 1
            if len(batch) < MAX_AT_ONCE:
                return number
        self._services.hints.publish(hint_at_receipts(shard))
        return number

    def _apply_one(self, waiting: Waiting) -> bool:
        event = waiting.event
        reset = self._find(event)
        facts = {"reset_id": event.reset_id, "provider": event.provider, "type": event.type.value}
        with tracing.span("receipt.apply", facts, parent=reset.trace if reset else None):
            return self._apply_to(waiting, reset)

    def _apply_to(self, waiting: Waiting, reset: Reset | None) -> bool:
        event = waiting.event
        if reset and event.suppression:
            self._suppress(event, reset)
        offered_id = self._other_channel.offer(reset, event) if reset else None
        settled = self._services.receipts.settle(waiting, offered_id=offered_id)
        if settled is None:
            return False
        log.info(
            "receipt.applied",
            reset_id=event.reset_id,
            provider=event.provider,
            type=event.type.value,
            reason=event.reason or None,
            before=settled.before,
            after=settled.after,
        )
        return True

    def _find(self, event: CallbackEvent) -> Reset | None:
        """Return the reset if more than its status may follow from the receipt."""
        is_needed = event.suppression or event.is_failure or tracing.is_tracing()
        return self._services.resets.find(event.reset_id) if is_needed else None

    def _suppress(self, event: CallbackEvent, reset: Reset) -> None:
        """Suppress the recipient before the receipt leaves its list; harmless when repeated."""
        if reset.recipient_digest is None:
            return
        is_new = self._services.suppressions.add_digest(
            reset.recipient_digest,
            reason=event.suppression,
            source=event.provider,
            at_ms=event.at_ms or 0,
        )
        if is_new:
            log.warning("suppression.added", reason=event.suppression, provider=event.provider)


class ReceiptJob:
    """A periodic job: hint at shards with receipts; apply them here where a hint did not help."""

    __name__ = "receipts"  # in the logs

    def __init__(self, services: Services, processor: ReceiptProcessor) -> None:
        """One per process."""
        self._services, self._processor = services, processor
        self._hinted: set[int] = set()

    def __call__(self) -> None:
        """Look once at every shard."""
        waiting = set(self._services.receipts.shards_waiting())
        for shard in waiting & self._hinted:
            self._processor.apply(shard)
        for shard in waiting - self._hinted:
            self._services.hints.publish(hint_at_receipts(shard))
        self._hinted = waiting - self._hinted
