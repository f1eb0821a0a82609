"""The nouns of Keyturn as frozen dataclasses."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

ResetId: TypeAlias = str
NONCE_BYTES = 8


class Channel(StrEnum):
    """The way a message travels."""

    EMAIL = "email"
    SMS = "sms"


class Queue(StrEnum):
    """Whose turn it is; each is a Celery queue."""

    URGENT = "urgent"  # a person is waiting
    BULK = "bulk"  # batches
    RECEIPTS = "receipts"  # what providers reported
    WEBHOOKS = "webhooks"  # what subscribers are told


DUE_QUEUES = (Queue.URGENT, Queue.BULK)  # those with a due set: resets stand in one of them


class Kind(StrEnum):
    """What a record asks to be sent."""

    RESET = "reset"  # the message with the code
    RETURNED = "returned"  # nothing: the caller got the code and tells it itself
    NOTICE = "notice"  # "your password was changed"


class Status(StrEnum):
    """Where a reset stands; DESIGN's diagram as words."""

    QUEUED = "queued"  # recorded, no attempt yet
    SENDING = "sending"  # a worker is at the provider's socket
    RETRYING = "retrying"  # surely not taken, another attempt is due
    UNKNOWN = "unknown"  # the provider may have it; looked at before anything is sent again
    ACCEPTED = "accepted"  # a provider took it
    DELIVERED = "delivered"  # a provider says it arrived
    UNDELIVERED = "undelivered"  # a provider says it did not arrive
    FAILED = "failed"  # refused for good
    SUPPRESSED = "suppressed"  # the recipient must not be written to
    EXPIRED = "expired"  # its code's life ended first
    CANCELLED = "cancelled"  # overtaken by a newer reset, a changed password or a vanished user

    @property
    def is_final(self) -> bool:
        """True when no worker will touch the reset again."""
        return self not in (Status.QUEUED, Status.SENDING, Status.RETRYING, Status.UNKNOWN)


class Outcome(StrEnum):
    """How one attempt ended."""

    ACCEPTED = "accepted"
    TRANSIENT = "transient"  # surely not taken, may be repeated
    ACCOUNT = "account"  # surely not taken, our account's trouble
    PERMANENT = "permanent"  # surely not taken, never will be
    DOUBT = "doubt"  # may have been taken
    FOUND = "found"  # a look-up found the message of a doubtful attempt


class UserState(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    INITIAL = "initial"  # never signed in; has no password to reset
    INACTIVE = "inactive"
    LOCKED = "locked"


class UserKind(StrEnum):
    """Who a user is."""

    HUMAN = "human"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address on one channel. Its str and repr are masked; `address` is the real one."""

    channel: Channel
    address: str
    is_verified: bool = True

    @property
    def masked(self) -> str:
        """`a***@example.com` or `+41*****12`."""
        if self.channel is Channel.EMAIL:
            local, _, domain = self.address.rpartition("@")
            return f"{local[:1]}***@{domain}"
        return f"{self.address[:3]}*****{self.address[-2:]}"

    def __str__(self) -> str:
        return self.masked

    def __repr__(self) -> str:
        return f"Recipient({self.channel.value}, {self.masked})"


@dataclass(frozen=True, slots=True)
class User:
    """A person (or machine) as a directory knows it."""

    user_id: str
    org_id: str
    state: UserState = UserState.ACTIVE
    kind: UserKind = UserKind.HUMAN
    user_name: str = ""
    display_name: str = field(default="", repr=False)
    language: str | None = None
    email: Recipient | None = None
    phone: Recipient | None = None
    must_change_password: bool = False  # said by whoever set it; the sign-in pages act on it

    def recipient(self, channel: Channel) -> Recipient | None:
        """The user's address on a channel, verified or not."""
        return self.email if channel is Channel.EMAIL else self.phone


@dataclass(frozen=True, slots=True)
class Organisation:
    """Who a user belongs to."""

    org_id: str
    name: str
    language: str | None = None
    link_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who uses the API, known by its token."""

    token_id: str
    org_id: str
    user_id: str | None
    instance_roles: frozenset[str]
    org_roles: dict[str, frozenset[str]]
    version: int = 0  # of callers and organisations when this was read
    seconds_left: float | None = None  # until its token expires, counted from the reading

    def roles_in(self, org_id: str) -> frozenset[str]:
        """The roles that apply in an organisation, the instance-wide ones included."""
        return self.instance_roles | self.org_roles.get(org_id, frozenset())


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to one provider for one reset, numbered from 1."""

    number: int
    provider: str
    started_at: datetime
    finished_at: datetime | None
    outcome: Outcome | None
    provider_message_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """What a provider, or Keyturn itself, reported about a reset later."""

    at: datetime
    type: str
    provider: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """One request, for one user, on one channel."""

    reset_id: ResetId
    kind: Kind
    user_id: str
    org_id: str
    channel: Channel
    queue: Queue
    status: Status
    reason: str | None
    language: str
    key_id: str
    sequence: int
    created_at: datetime
    deadline_at: datetime
    request_id: str | None
    url_template: str | None = None
    batch_id: str | None = None
    trace: str | None = None  # a traceparent, where traces are switched on
    recipient_digest: str | None = None
    next_look_at: datetime | None = None
    opened_at: datetime | None = None
    completed_at: datetime | None = None
    is_superseded: bool = False
    is_held: bool = False  # by an operator; the last `held` event says by whom
    attempts: tuple[Attempt, ...] = ()
    events: tuple[DeliveryEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Email:
    """A rendered mail, in memory only."""

    reset_id: ResetId
    recipient: Recipient
    from_address: str
    from_name: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: str = ""  # with angle brackets; the same on every attempt
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Sms:
    """A rendered SMS, in memory only."""

    reset_id: ResetId
    recipient: Recipient
    body: str = field(repr=False)
    callback_url: str = ""
    validity_seconds: int = 600


Message: TypeAlias = Email | Sms


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a provider gives back when it accepts."""

    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class BulkRecipient:
    """One recipient of a bulk e-mail, with the values that stand in place of its markers."""

    reset_id: ResetId
    recipient: Recipient
    message_id: str  # with angle brackets; the same on every attempt
    values: Mapping[str, str] = field(repr=False)  # marker → value


@dataclass(frozen=True, slots=True)
class BulkEmail:
    """One rendered mail for many recipients, in memory only.

    Subject and parts hold a marker wherever recipients differ, and the provider replaces it. A
    provider may scan what it inserted again, so markers contain a random nonce, new for each mail.
    """

    from_address: str
    from_name: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    language: str
    recipients: tuple[BulkRecipient, ...]

    def with_recipients(self, recipients: tuple[BulkRecipient, ...]) -> BulkEmail:
        """Return the same mail for these recipients only."""
        return replace(self, recipients=recipients)


def make_nonce() -> str:
    """Return the random part of a bulk e-mail's markers."""
    return secrets.token_hex(NONCE_BYTES)


def format_marker(nonce: str, name: str) -> str:
    """Return a marker; HTML escaping leaves its characters as they are."""
    return f"-{nonce}.{name}-"


class EventType(StrEnum):
    """What a provider reported about a message; as it stands in a reset's timeline."""

    ACCEPTED = "accepted"  # the provider has the message
    DEFERRED = "deferred"  # it has it, and tries again by itself
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"  # bounced, or the carrier gave up
    FAILED = "failed"  # the provider refused it after all
    COMPLAINED = "complained"  # the recipient called it spam
    OPTED_OUT = "opted_out"  # the recipient wants no more


# The status a report leads to, where the reset may still move there.
STATUS_OF_EVENT = {
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
        """The status this event leads to, where the reset may still move there."""
        if self.type is EventType.FAILED and self.suppression == "opt_out":
            return Status.SUPPRESSED
        return STATUS_OF_EVENT.get(self.type)

    @property
    def is_failure(self) -> bool:
        """True when the message did not arrive."""
        return self.type in (EventType.UNDELIVERED, EventType.FAILED)
