"""The nouns of Keyturn as frozen dataclasses."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from shared.organisations.sender import Sender

ResetId: TypeAlias = str
NONCE_BYTES = 8


class Channel(StrEnum):
    """The way a message travels."""

    EMAIL = "email"
    SMS = "sms"


class Queue(StrEnum):
    """The Celery queues."""

    URGENT = "urgent"  # single resets
    BULK = "bulk"  # batches
    RECEIPTS = "receipts"  # reports of providers
    WEBHOOKS = "webhooks"  # calls to subscribers


DUE_QUEUES = (Queue.URGENT, Queue.BULK)  # those with a due set: resets stand in one of them


class Kind(StrEnum):
    """What a record is for."""

    RESET = "reset"  # the message with the code
    RETURNED = "returned"  # nothing is sent: the caller received the code
    NOTICE = "notice"  # "your password was changed"


class Status(StrEnum):
    """The status of a reset; README has the diagram."""

    QUEUED = "queued"  # recorded, no attempt yet
    SENDING = "sending"  # a worker is at the provider's socket
    RETRYING = "retrying"  # not taken, another attempt is due
    UNKNOWN = "unknown"  # the provider may have it; looked up before another attempt
    ACCEPTED = "accepted"  # a provider took it
    DELIVERED = "delivered"  # a provider says it arrived
    UNDELIVERED = "undelivered"  # a provider says it did not arrive
    FAILED = "failed"  # refused permanently
    SUPPRESSED = "suppressed"  # the recipient must not be written to
    EXPIRED = "expired"  # the code expired first
    CANCELLED = "cancelled"  # by a newer reset, a changed password or a removed user

    @property
    def is_final(self) -> bool:
        """True if no worker will change the reset any more."""
        return self not in (Status.QUEUED, Status.SENDING, Status.RETRYING, Status.UNKNOWN)


class Outcome(StrEnum):
    """How one attempt ended."""

    ACCEPTED = "accepted"
    TRANSIENT = "transient"  # not taken, may be repeated
    ACCOUNT = "account"  # not taken, our account was refused
    PERMANENT = "permanent"  # not taken, never will be
    DOUBT = "doubt"  # may have been taken
    FOUND = "found"  # a look-up found the message of a doubtful attempt


class UserState(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    INITIAL = "initial"  # never signed in; has no password to reset
    INACTIVE = "inactive"
    LOCKED = "locked"


class UserKind(StrEnum):
    """Whether a user is a person."""

    HUMAN = "human"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address on one channel. Its str and repr are masked; `address` is the real one."""

    channel: Channel
    address: str
    is_verified: bool = True
    revision: str = field(default="", compare=False)  # another after every change; "": not counted

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
    must_change_password: bool = False  # set with the password; the sign-in pages act on it
    # Another after every change of password, state, kind or organisation; "": not counted.
    revision: str = field(default="", compare=False)
    # The e-mail addresses of a while ago, which are told of a changed password too.
    former_emails: tuple[Recipient, ...] = field(default=(), compare=False)

    def recipient(self, channel: Channel) -> Recipient | None:
        """Return the user's recipient on a channel, verified or not."""
        return self.email if channel is Channel.EMAIL else self.phone


def make_user(fields: Mapping[str, str], *, former_emails: tuple[Recipient, ...] = ()) -> User:
    """Return the user of fields, named as an import has them, that were checked."""
    return User(
        user_id=fields["userId"],
        org_id=fields["orgId"],
        state=UserState(fields.get("state") or "active"),
        kind=UserKind(fields.get("kind") or "human"),
        user_name=fields.get("userName", ""),
        display_name=fields.get("displayName", ""),
        language=fields.get("language") or None,
        email=_recipient(fields, Channel.EMAIL, "email"),
        phone=_recipient(fields, Channel.SMS, "phone"),
        must_change_password=bool(fields.get("changeRequired")),
        revision=fields.get("revision", ""),
        former_emails=former_emails,
    )


def _recipient(fields: Mapping[str, str], channel: Channel, name: str) -> Recipient | None:
    address, is_verified = fields.get(name), bool(fields.get(f"{name}Verified"))
    revision = fields.get(f"{name}Revision", "")
    return (
        Recipient(channel, address, is_verified=is_verified, revision=revision) if address else None
    )


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation of users."""

    org_id: str
    name: str
    language: str | None = None
    link_hosts: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # in which it writes; empty: in all
    password_min_characters: int | None = None  # None, here and below: as the installation
    password_needs: tuple[str, ...] | None = None
    sender: Sender | None = None  # None: it sends as the installation does
    record_lifetime_seconds: float | None = None
    refusal_lifetime_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of the API, known by its token."""

    token_id: str
    org_id: str
    user_id: str | None
    instance_roles: frozenset[str]
    org_roles: dict[str, frozenset[str]]
    version: int = 0  # of callers and organisations when this was read
    seconds_left: float | None = None  # until its token expires, counted from the reading

    def roles_in(self, org_id: str) -> frozenset[str]:
        """Return the roles that apply in an organisation, including the instance-wide ones."""
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
    """A later report about a reset by a provider or by Keyturn itself."""

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
    trace: str | None = None  # a traceparent, if tracing is on
    caller_id: str | None = None  # who asked: a token's id, `page`, `shell`
    recipient_digest: str | None = None
    basis: str | None = None  # what the code rests on: Digests.basis
    code_end: str | None = None  # how the code ended before its time: KnownCode.end
    notice_to: str | None = None  # of a notice: the digest of the address it is for
    listing: str | None = None  # its mail lists other users' links: what their resets derive from
    text_version: str | None = None  # of the organisation's own texts, as they went out last
    next_look_at: datetime | None = None
    opened_at: datetime | None = None
    completed_at: datetime | None = None
    is_superseded: bool = False
    is_held: bool = False  # by an operator, named in the last `held` event
    attempts: tuple[Attempt, ...] = ()
    events: tuple[DeliveryEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image that a mail carries; its HTML shows it by `url`."""

    content: bytes = field(repr=False)
    width: int = 40  # as it is shown, in pixels
    height: int = 40
    media_type: str = "image/png"
    content_id: str = "logo@keyturn"  # without angle brackets
    file_name: str = "logo.png"

    @property
    def url(self) -> str:
        """Return the address of the image in its mail."""
        return f"cid:{self.content_id}"

    @property
    def base64(self) -> str:
        """Return the content in ASCII."""
        return base64.b64encode(self.content).decode()

    @property
    def data_url(self) -> str:
        """Return the image as an address that holds it."""
        return f"data:{self.media_type};base64,{self.base64}"


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
    reply_to: str = ""
    feedback_id: str = ""  # of the header Feedback-ID
    logo: InlineImage | None = None
    org_id: str = ""
    code: str = field(default="", repr=False)  # this and the next two: empty in a notice
    link: str = field(default="", repr=False)
    deadline_at: datetime | None = None

    @property
    def whole_html(self) -> str:
        """Return the HTML with the logo in it, for what shows a mail without its parts."""
        return self.html.replace(self.logo.url, self.logo.data_url) if self.logo else self.html


@dataclass(frozen=True, slots=True)
class Sms:
    """A rendered SMS, in memory only."""

    reset_id: ResetId
    recipient: Recipient
    body: str = field(repr=False)
    callback_url: str = ""
    validity_seconds: int = 600
    from_name: str = ""  # the organisation's; not of every provider
    language: str = "en"
    org_id: str = ""
    code: str = field(default="", repr=False)
    link: str = field(default="", repr=False)
    deadline_at: datetime | None = None


Message: TypeAlias = Email | Sms


@dataclass(frozen=True, slots=True)
class Receipt:
    """A provider's response when it accepts a message."""

    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class BulkRecipient:
    """One recipient of a bulk e-mail, with the values that replace its markers."""

    reset_id: ResetId
    recipient: Recipient
    message_id: str  # with angle brackets; the same on every attempt
    values: Mapping[str, str] = field(repr=False)  # marker → value
    feedback_id: str = ""


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
    reply_to: str = ""
    logo: InlineImage | None = None

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
    """A provider's report about a message, as in a reset's timeline."""

    ACCEPTED = "accepted"  # the provider has the message
    DEFERRED = "deferred"  # the provider has it and tries again
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"  # bounced, or the carrier gave up
    FAILED = "failed"  # the provider refused it after all
    COMPLAINED = "complained"  # the recipient called it spam
    OPTED_OUT = "opted_out"  # the recipient unsubscribed


# The status after a report, if the reset's status may still change so.
STATUS_OF_EVENT = {
    EventType.ACCEPTED: Status.ACCEPTED,
    EventType.DEFERRED: Status.ACCEPTED,
    EventType.DELIVERED: Status.DELIVERED,
    EventType.UNDELIVERED: Status.UNDELIVERED,
    EventType.FAILED: Status.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEvent:
    """A report about a reset, without the provider's text, which may contain the address."""

    reset_id: str
    provider: str
    event_id: str  # the provider's; the same when a report is repeated
    type: EventType
    at_ms: int | None = None  # when it happened, if the provider reports it
    message_id: str = ""  # as in the receipt
    reason: str = ""  # a stable id of ours
    detail: str = ""  # a sentence of ours for the operator
    suppression: str = ""  # why the recipient must be suppressed

    @property
    def status(self) -> Status | None:
        """Return the status after this event, if the reset's status may still change so."""
        if self.type is EventType.FAILED and self.suppression == "opt_out":
            return Status.SUPPRESSED
        return STATUS_OF_EVENT.get(self.type)

    @property
    def is_failure(self) -> bool:
        """True if the message did not arrive."""
        return self.type in (EventType.UNDELIVERED, EventType.FAILED)
