"""What a provider's callback tells, in our words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.models import Status


class EventType(StrEnum):
    """What a provider reported about a message; as it stands in a reset's timeline."""

    ACCEPTED = "accepted"  # the provider has the message
    DEFERRED = "deferred"  # it has it, and tries again by itself
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"  # bounced, or the carrier gave up
    FAILED = "failed"  # the provider refused it after all
    COMPLAINED = "complained"  # the recipient called it spam
    OPTED_OUT = "opted_out"  # the recipient wants no more


# What a report makes of a reset, where it may still become that.
STATUS_OF = {
    EventType.ACCEPTED: Status.ACCEPTED,
    EventType.DEFERRED: Status.ACCEPTED,
    EventType.DELIVERED: Status.DELIVERED,
    EventType.UNDELIVERED: Status.UNDELIVERED,
    EventType.FAILED: Status.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEvent:
    """One report about one reset, without the provider's own texts: they may name the address."""

    reset_id: str
    provider: str
    event_id: str  # the provider's; the same report again has the same
    type: EventType
    at_ms: int | None = None  # when it happened, where the provider says so
    message_id: str = ""  # as the receipt gave it
    reason: str = ""  # a stable word of ours
    detail: str = ""  # a sentence of ours for the operator
    suppression: str = ""  # why the recipient must not be written to again

    @property
    def status(self) -> Status | None:
        """What the reset becomes, where it may still become that."""
        if self.type is EventType.FAILED and self.suppression == "opt_out":
            return Status.SUPPRESSED
        return STATUS_OF.get(self.type)

    @property
    def is_failure(self) -> bool:
        """True when the message did not arrive."""
        return self.type in (EventType.UNDELIVERED, EventType.FAILED)
