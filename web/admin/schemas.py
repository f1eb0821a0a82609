"""Schemas of the operator's calls: request bodies and responses."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, OneOf, Range

from shared.guard.rules import LEVELS
from shared.models import DUE_QUEUES, Channel, Queue
from shared.store.admin.circuits import CircuitState
from shared.store.admin.pauses import Scope
from shared.store.admin.prefixes import VERBS
from web.admin.actions import LIMITS, MAX_REASON_CHARACTERS
from web.admin.alerts import find_alerts
from web.admin.status import StatusView
from web.schemas import (
    CHANNEL_TYPES,
    CamelCaseSchema,
    Count,
    DetailsSchema,
    EnumValue,
    OwnSchema,
    ResponseSchema,
    Timestamp,
)

MAX_NAME_CHARACTERS = 200
MAX_PER_SECOND = 1_000_000


class Rate(fields.Float):
    """So many a second."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= MAX_PER_SECOND:
            raise ValidationError(f"must be a number from 0 to {MAX_PER_SECOND}")
        return float(value)


def reason_field(*, required: bool = True) -> fields.String:
    """Return the field `reason`, which must not be blank."""
    return fields.String(
        required=required,
        allow_none=not required,
        validate=Length(max=MAX_REASON_CHARACTERS),
        metadata={"minLength": 1, "pattern": r"\S", "description": "Stands in the audit trail"},
    )


class ReasonSchema(OwnSchema):
    """A reason alone."""

    reason = reason_field()


class PauseRequestSchema(ReasonSchema):
    """What is paused."""

    scope = fields.String(required=True, validate=OneOf([each.value for each in Scope]))
    name = fields.String(required=True, validate=Length(1, MAX_NAME_CHARACTERS))


class ResumeRequestSchema(PauseRequestSchema):
    """What is resumed, and how fast; 0 and nothing: at once."""

    rate_per_second = Rate(
        allow_none=True,
        metadata={
            "minimum": 0,
            "maximum": MAX_PER_SECOND,
            "description": "0, or nothing: all at once",
        },
    )


class ClearLimitSchema(ReasonSchema):
    """Which limit to clear, and whose."""

    limit = fields.String(required=True, validate=OneOf(LIMITS))
    id = fields.String(
        allow_none=True,
        validate=Length(max=MAX_NAME_CHARACTERS),
        metadata={
            "description": "A user's, an organisation's or a token's; none for the budget of SMS"
        },
    )


class ResendSchema(OwnSchema):
    """The channel; the same as before without one."""

    type = EnumValue(CHANNEL_TYPES, "Nothing means the channel of before")
    reason = reason_field(required=False)


class PauseChangedSchema(ResponseSchema):
    """A pause that was made or ended."""

    scope = fields.Enum(Scope, by_value=fields.String)
    name = fields.String(validate=Length(1, MAX_NAME_CHARACTERS))
    was_paused = fields.Boolean()


class PauseSchema(ResponseSchema):
    """A pause in force."""

    scope = fields.Enum(Scope, by_value=fields.String)
    name = fields.String(validate=Length(1, MAX_NAME_CHARACTERS))
    by = fields.String()
    reason = fields.String()
    since = Timestamp()


class ReleaseSchema(PauseSchema):
    """What waited for a pause and is being sent."""

    rate_per_second = fields.Float(attribute="per_second")
    moved = Count()
    too_late = Count(metadata={"description": "Of them, those whose code ends before their turn"})


class PausesSchema(ResponseSchema):
    """The pauses in force, and what is being sent after one."""

    pauses = fields.List(fields.Nested(PauseSchema))
    releases = fields.List(fields.Nested(ReleaseSchema))


class LimitClearedSchema(ResponseSchema):
    """A limit whose count was cleared."""

    limit = fields.String(validate=OneOf(LIMITS))
    id = fields.String(allow_none=True)
    was_counted = fields.Boolean()
    cleared = fields.Dict(values=Count(), metadata={"description": "What was in force"})


class ResetHeldSchema(ResponseSchema):
    """A reset that was held or released."""

    reset_id = fields.String()
    is_held = fields.Boolean()


class ResetVoidedSchema(ResponseSchema):
    """A reset whose code was ended."""

    reset_id = fields.String()
    is_voided = fields.Boolean()


class ResentSchema(ResponseSchema):
    """A fresh reset."""

    reset_id = fields.String()
    expires_at = Timestamp()
    details = fields.Nested(DetailsSchema)


class AuditQuerySchema(CamelCaseSchema):
    """The query of the audit trail; web/admin/api.py reads it."""

    limit = fields.Integer(
        validate=Range(1, 1000), metadata={"description": "How many; 100 when not given"}
    )


class AuditEntrySchema(ResponseSchema):
    """A line of the audit trail."""

    at = Timestamp()
    by = fields.String(attribute="act.by")
    action = fields.String(attribute="act.action")
    target = fields.String(attribute="act.target")
    reason = fields.String(attribute="act.reason")
    outcome = fields.String(
        allow_none=True,
        metadata={
            "description": "done, `refused: …`, `failed: …`; begun: its end was not recorded; "
            "null in entries of older versions"
        },
    )
    source = fields.String(
        allow_none=True, metadata={"description": "A network, or the login at a command"}
    )
    request_id = fields.String(allow_none=True)
    number = fields.Integer(allow_none=True, validate=Range(min=1))
    previous = fields.String(
        allow_none=True, metadata={"description": "Number, id and digest of the entry before"}
    )


class AuditSchema(ResponseSchema):
    """The audit trail."""

    entries = fields.List(fields.Nested(AuditEntrySchema))


REASON = ReasonSchema()
PAUSE = PauseRequestSchema()
RESUME = ResumeRequestSchema()
CLEAR_LIMIT = ClearLimitSchema()
RESEND = ResendSchema()
PAUSES = PausesSchema()
AUDIT = AuditSchema()
AUDIT_ENTRY = AuditEntrySchema()


class Amount(fields.Float):
    """A number of at least 0, rounded."""

    def __init__(self, *, digits: int, **options: Any) -> None:
        """`digits` stand behind the point."""
        super().__init__(validate=Range(min=0), **options)
        self.digits = digits

    def _serialize(self, value: float | None, *_: Any, **__: Any) -> float | None:
        return None if value is None else round(value, self.digits)


class QueueStatusSchema(ResponseSchema):
    """A queue, of QueueView."""

    queue = fields.Enum(Queue, by_value=fields.String)
    depth = Count()
    due = Count()
    oldest_due_seconds = Amount(attribute="oldest_seconds", digits=3)
    in_per_minute = Amount(
        digits=1, allow_none=True, metadata={"description": "In the last minute"}
    )
    out_per_minute = Amount(digits=1, allow_none=True)
    workers = Count()
    started = Count(metadata={"description": "Workers that started in the last five minutes"})
    hints = Count(allow_none=True)
    is_paused = fields.Function(lambda queue: queue.pause is not None, metadata={"type": "boolean"})


class SwitchSchema(ResponseSchema):
    """A message that another provider carried in place of this one."""

    at = Timestamp()
    to = fields.String()
    reason = fields.String()


class ProviderPauseSchema(ResponseSchema):
    """The pause of a provider."""

    by = fields.String()
    reason = fields.String()
    since = Timestamp()


class ProviderStatusSchema(ResponseSchema):
    """A provider, of ProviderView: for `status`, `provider list` and the API alike."""

    provider = fields.String(attribute="name")
    channel = fields.Enum(Channel, by_value=fields.String)
    order = fields.Integer(attribute="place", validate=Range(min=1))
    circuit = fields.Enum(CircuitState, by_value=fields.String, attribute="circuit.state")
    reason = fields.String(attribute="circuit.reason", allow_none=True)
    opened_at = Timestamp(attribute="circuit.opened_at", allow_none=True)
    wait_seconds = Amount(
        attribute="circuit.wait_seconds", digits=1, metadata={"description": "Until the next probe"}
    )
    tries_in_30_seconds = Count(attribute="circuit.calls", data_key="triesIn30Seconds")
    error_rate_in_30_seconds = Amount(
        attribute="circuit.error_rate", data_key="errorRateIn30Seconds", digits=3
    )
    calls = Count(allow_none=True, metadata={"description": "In the last five minutes"})
    error_rate = Amount(digits=3, allow_none=True, metadata={"description": "Of them, 0 to 1"})
    p95_ms = Count(allow_none=True)
    callbacks = Count()
    refused_callbacks = Count()
    last_callback_at = Timestamp(allow_none=True)
    is_paused = fields.Function(lambda view: view.pause is not None, metadata={"type": "boolean"})
    paused = fields.Nested(ProviderPauseSchema, attribute="pause", allow_none=True)
    last_switch = fields.Nested(SwitchSchema, attribute="circuit.last_switch", allow_none=True)


class BatchStatusSchema(ResponseSchema):
    """A batch that has not ended."""

    batch_id = fields.String(attribute="batch.batch_id")
    state = fields.String()
    sentence = fields.String()
    total = Count(attribute="batch.total")
    done = Count(metadata={"description": "Users whose reset has ended, or who get none"})
    recorded = Count(attribute="batch.recorded")
    skipped = fields.Function(
        lambda each: sum(each.batch.skipped.values()), metadata={"type": "integer", "minimum": 0}
    )
    rate_per_second = fields.Float(attribute="batch.rate_per_second", validate=Range(min=0))


class GuessesSchema(ResponseSchema):
    """Wrong typed codes by one source for one user."""

    user_id = fields.String()
    source = fields.String(metadata={"description": "A /24, a /48 or a token"})
    tries = Count()
    is_locked = fields.Boolean(metadata={"description": "The source must wait"})
    until = Timestamp()


class PrefixStateSchema(ResponseSchema):
    """A prefix, or a source, under a rule of SMS or an operator's word."""

    prefix = fields.String(metadata={"description": "Or `source` and who asks"})
    rule = fields.String(validate=OneOf(["velocity", "source", "conversion", *VERBS]))
    level = fields.String(validate=OneOf(LEVELS))
    by = fields.String(metadata={"description": "`rule`, or an operator"})
    reason = fields.String()
    since = Timestamp()
    until = Timestamp(allow_none=True)
    refused = Count()
    sent = Count(metadata={"description": "To different numbers, in about the last hour"})
    used = Count(metadata={"description": "Codes of those"})
    past_conversion = Amount(digits=3, allow_none=True)
    cost = Amount(digits=2, allow_none=True, metadata={"description": "By KEYTURN_SMS_PRICES"})


class StatusSchema(ResponseSchema):
    """Queues, providers, pauses and batches, and what is wrong first."""

    troubles = fields.List(
        fields.String(),
        metadata={"description": "What is wrong, the worst first; empty when all is well"},
    )
    due = fields.Dict(
        values=Count(), metadata={"description": "Resets that are not final, by queue"}
    )
    due_now = fields.Dict(values=Count())
    oldest_due_seconds = Amount(digits=3)
    queues = fields.List(fields.Nested(QueueStatusSchema))
    providers = fields.List(fields.Nested(ProviderStatusSchema))
    open = fields.Dict(
        values=Count(), metadata={"description": "Resets that are not final, by status"}
    )
    reached = fields.Dict(values=Count(), metadata={"description": "Since the beginning"})
    completed = Count()
    hints = fields.Dict(
        values=Count(),
        metadata={"description": "In the broker; empty when there is none or it does not answer"},
    )
    workers = fields.Dict(values=Count())
    pauses = fields.List(fields.Nested(PauseSchema))
    releases = fields.List(fields.Nested(ReleaseSchema))
    batches = fields.List(fields.Nested(BatchStatusSchema))
    guesses = fields.List(fields.Nested(GuessesSchema))
    forgotten = Count(metadata={"description": "Requests of people who forgot, not looked up yet"})
    forgotten_dropped = Count()
    sms = fields.List(fields.Nested(PrefixStateSchema))


PROVIDER = ProviderStatusSchema()
STATUS = StatusSchema()


def serialise_status(status: StatusView) -> dict[str, Any]:
    """Serialise the status; scripts rely on the names of its fields."""
    due_sets = [each for each in status.queues if each.queue in DUE_QUEUES]
    body: dict[str, Any] = STATUS.dump(status)
    return body | {
        "troubles": find_alerts(status),
        "due": {each.queue.value: each.depth for each in due_sets},
        "dueNow": {each.queue.value: each.due for each in due_sets},
        "oldestDueSeconds": round(max(each.oldest_seconds for each in due_sets), 3),
        "hints": {e.queue.value: e.hints for e in status.queues if e.hints is not None},
        "workers": {each.queue.value: each.workers for each in status.queues},
    }
