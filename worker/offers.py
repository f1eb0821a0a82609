"""A fresh reset on the other channel for one that did not arrive, where the operator allows it."""

from __future__ import annotations

import orjson
import structlog

from shared.callback_events import CallbackEvent
from shared.errors import (
    CountryNotAllowedError,
    DirectoryUnavailableError,
    RecipientMissingError,
    RecipientSuppressedError,
    TooManyRequestsError,
)
from shared.hints import hint_at
from shared.models import Channel, Kind, Recipient, Reset, Status, User, UserState
from shared.policies import check_country, check_recipient, last_start_seconds
from shared.store.limits import Limit
from shared.store.resets import NewReset
from shared.wiring import Services

log = structlog.get_logger()

OTHER = {Channel.EMAIL: Channel.SMS, Channel.SMS: Channel.EMAIL}
OFFERED = "offered"  # an event on both resets: neither is offered again
DAY_SECONDS = 24 * 3600


class OtherChannel:
    """Offers; doing it twice for the same reset makes one."""

    def __init__(self, house: Services) -> None:
        """`house` may hold fakes."""
        self._house = house

    def offer(self, reset: Reset, event: CallbackEvent) -> str | None:
        """The id of a fresh reset on the other channel, or None when there is none to be made."""
        if not self._house.settings.offer_other_channel or not self._is_wanted(reset, event):
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
            and bool(self._house.provider_names[OTHER[reset.channel]])
            and self._house.dues.now() < reset.deadline_at
        )

    def _find(self, reset: Reset, channel: Channel) -> tuple[User, Recipient]:
        user = self._house.directory.find_user(reset.user_id)
        if user is None or user.state is not UserState.ACTIVE:
            raise RecipientMissingError
        recipient = check_recipient(user, channel, allow_unverified=False)
        check_country(recipient, self._house.sms_regions)
        return user, recipient

    def _record(self, reset: Reset, channel: Channel, user: User, recipient: Recipient) -> str:
        house = self._house
        new_id = house.digests.derived_reset_id(user.user_id, "other channel", reset.reset_id)
        if house.resets.find(new_id) is None:
            self._pass_gate(user, channel, new_id, recipient)
        house.resets.record(self._new_reset(reset, channel, user, new_id))
        house.hints.publish(hint_at(new_id, channel, reset.queue))
        return new_id

    def _pass_gate(self, user: User, channel: Channel, new_id: str, recipient: Recipient) -> None:
        settings = self._house.settings
        limits = [Limit("organisation", user.org_id, settings.org_limit_per_minute, 60)]
        if channel is Channel.SMS:
            limits.append(Limit("sms_budget", "all", settings.sms_budget_per_day, DAY_SECONDS))
        self._house.limits.pass_gate(
            [limit for limit in limits if limit.most > 0],
            recipient_digest=self._house.suppressions.digest(recipient),
            version=-1,
            reset_id=new_id,
            is_repeatable=True,
        )

    def _new_reset(self, reset: Reset, channel: Channel, user: User, new_id: str) -> NewReset:
        house = self._house
        organisation = house.callers.find_organisation(user.org_id)
        lifetime = house.settings.lifetime_seconds(channel)
        told = [str(round(house.dues.now_ms())), OFFERED, "", f"in place of {reset.reset_id}"]
        facts = {"rq": reset.request_id, "tp": reset.url_template}
        return NewReset(
            reset_id=new_id,
            user_id=user.user_id,
            org_id=user.org_id,
            channel=channel,
            language=house.languages.choose(
                user.language, organisation.language if organisation else None
            ),
            key_id=house.codes.signing_key_id,
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
