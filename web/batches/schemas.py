"""Schemas of batches: bodies, the query of an upload, responses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range

from shared import validation
from shared.errors import SelectionError
from shared.models import Channel, Status
from shared.settings import EMAIL_PROVIDERS, RENAMED_PROVIDERS, SMS_PROVIDERS
from shared.store.batches import BatchState
from shared.store.batches.lists import ListEntry
from shared.store.history import HistoryFilter
from shared.validation import parse_timestamp
from web.admin.actions import MAX_REASON_CHARACTERS
from web.batches.service import LEAST_RATE, MAX_RATE
from web.explain.query import MAX_ON_A_PAGE
from web.resets import CHANNELS_BY_NAME, MAX_USER_ID_CHARACTERS
from web.schemas import (
    CHANNEL_TYPES,
    CamelCaseSchema,
    Count,
    EnumValue,
    OwnSchema,
    ResponseSchema,
    StrictBoolean,
    Timestamp,
    check_oneof,
    read_body,
)

STATUSES = (Status.FAILED, Status.EXPIRED, Status.UNDELIVERED, Status.UNKNOWN)
# Records may still hold a former name.
PROVIDERS = tuple(dict.fromkeys((*EMAIL_PROVIDERS, *SMS_PROVIDERS, *RENAMED_PROVIDERS)))
NULL = {"type": "null"}
PAGE_TOKEN = "[0-9a-f]{16}"  # noqa: S105 - of a page, not a secret
OF_A_FILE = {"description": "Of a file; a body's own counts"}
RATE = {
    "anyOf": [{"const": 0}, {"type": "number", "minimum": LEAST_RATE, "maximum": MAX_RATE}],
    "description": "0: as fast as the providers take them",
}
MOMENT = {
    "type": "string",
    "pattern": r"^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]"
    r":[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])$",
    "description": "RFC 3339, with its zone",
}


class RateField(fields.Field[float]):
    """A number of resets per second; 0: as fast as possible."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            raise ValidationError("must be a number, 0 or more; 0 means no pace")
        return float(value)


class TimestampField(fields.Field[datetime]):
    """RFC 3339, with its zone."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        try:
            return parse_timestamp(str(value))
        except ValueError as error:
            raise ValidationError(str(error)) from error


def one_of(*values: str) -> OneOf:
    """Return a validator whose message names the values."""
    return OneOf(values, error="must be one of {choices}")


class Statuses(fields.Field[list[str]]):
    """One status, or a list of them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        check = one_of(*STATUSES)
        return [check(each) for each in (value if isinstance(value, list) else [value])]


class SelectSchema(OwnSchema):
    """Which past resets a batch sends again."""

    org_id = fields.String(allow_none=True)
    since = TimestampField(allow_none=True, metadata=MOMENT)
    until = TimestampField(allow_none=True, metadata=MOMENT)
    channel = fields.Raw(allow_none=True, validate=one_of(*Channel))
    provider = fields.Raw(
        allow_none=True,
        validate=one_of(*PROVIDERS),
        metadata={"description": "Of the last attempt"},
    )
    status = Statuses(
        allow_none=True,
        metadata={
            "anyOf": [{"enum": STATUSES}, {"type": "array", "items": {"enum": STATUSES}}, NULL],
            "description": "All of them, when not given",
        },
    )


def optional_reason() -> fields.String:
    """Return the optional field `reason`."""
    return fields.String(
        allow_none=True,
        validate=Length(max=MAX_REASON_CHARACTERS),
        metadata={"description": "Stands in the audit trail"},
    )


class OptionsSchema(OwnSchema):
    """How a batch is sent."""

    type = EnumValue(CHANNEL_TYPES, "Nothing means TYPE_EMAIL")
    dry_run = StrictBoolean(
        allow_none=True, metadata={"description": "Plan only: count, send nothing"}
    )
    rate_per_second = RateField(allow_none=True, metadata=RATE | {"anyOf": [*RATE["anyOf"], NULL]})
    reason = optional_reason()


class UploadQuerySchema(CamelCaseSchema):
    """The options of a file, as a query writes them; `read_options` reads it."""

    type = fields.String(validate=OneOf(tuple(CHANNELS_BY_NAME)), metadata=OF_A_FILE)
    dry_run = fields.Boolean(metadata=OF_A_FILE)
    rate_per_second = fields.Raw(
        metadata=RATE | {"description": f"{OF_A_FILE['description']}. {RATE['description']}"}
    )
    reason = fields.String(validate=Length(max=MAX_REASON_CHARACTERS), metadata=OF_A_FILE)


def _only(name: str, *others: str, **properties: Any) -> dict[str, Any]:
    """JSON Schema of a choice: `name` has a value, the others have none."""
    return {
        "required": [name],
        "properties": {name: {"not": NULL}} | dict.fromkeys(others, NULL) | properties,
    }


class BatchRequestSchema(OptionsSchema):
    """A batch by a list, by a filter, or by its plan."""

    class Meta(OptionsSchema.Meta):
        """A plan is started without `dryRun`."""

        json_schema = {  # noqa: RUF012 - marshmallow's Meta
            "oneOf": [
                _only("userIds", "select", "planId"),
                _only("select", "userIds", "planId"),
                _only("planId", "userIds", "select", dryRun={"enum": [False, None]}),
            ]
        }

    user_ids = fields.List(
        fields.String(
            metadata={"minLength": 1, "maxLength": MAX_USER_ID_CHARACTERS, "pattern": "^[^/]+$"}
        ),
        allow_none=True,
        metadata={"minItems": 1},
    )
    select = fields.Nested(SelectSchema, allow_none=True)
    plan_id = fields.String(
        allow_none=True, metadata={"description": "Start what a dry run planned"}
    )

    @validates_schema
    def _one_selection(self, data: Mapping[str, Any], **_: Any) -> None:
        check_oneof(data, "user_ids", "select")
        check_oneof(data, "user_ids", "plan_id")
        check_oneof(data, "select", "plan_id")
        if not any(data.get(name) is not None for name in ("user_ids", "select", "plan_id")):
            raise ValidationError("give userIds, select or planId")


class BatchReasonSchema(OwnSchema):
    """Why a batch is paused, resumed or cancelled."""

    reason = optional_reason()


class SmsPlanSchema(ResponseSchema):
    """What the messages of a plan amount to."""

    segments = Count()
    countries = fields.Dict(values=Count())
    cost = fields.Float(metadata={"description": "By KEYTURN_SMS_PRICES"})
    currency = fields.String()
    unpriced = Count(metadata={"description": "Messages to countries without a price"})


class PlanSchema(ResponseSchema):
    """What planning counted."""

    total = Count()
    send = Count()
    organisations = fields.Dict(values=Count())
    languages = fields.Dict(values=Count())
    channels = fields.Dict(values=Count())
    skipped = Count()
    skips = fields.Dict(values=Count())
    sms = fields.Nested(SmsPlanSchema, metadata={"optional": True})


class BatchBegunSchema(ResponseSchema):
    """A batch that was planned or started."""

    batch_id = fields.String()
    total = Count()
    plan_id = fields.String(
        metadata={"optional": True, "description": "Of a dry run: what starts it"}
    )
    state = fields.Enum(BatchState, by_value=fields.String, metadata={"optional": True})
    plan = fields.Nested(PlanSchema, allow_none=True, metadata={"optional": True})


class BatchSchema(ResponseSchema):
    """How a batch stands, as `write_progress` writes it."""

    batch_id = fields.String()
    state = fields.Enum(BatchState, by_value=fields.String)
    sentence = fields.String(metadata={"description": "For people; it hides no failure"})
    type = fields.String(validate=OneOf(tuple(CHANNELS_BY_NAME)))
    reason = fields.String()
    by = fields.String()
    rate_per_second = fields.Float(validate=Range(min=0))
    created_at = Timestamp()
    started_at = Timestamp(allow_none=True)
    finished_at = Timestamp(allow_none=True)
    total = Count()
    waiting = Count(metadata={"description": "Users not looked at yet"})
    queued = Count(metadata={"description": "Resets that have not ended"})
    accepted = Count()
    delivered = Count()
    failed = Count()
    failures = fields.Dict(values=Count())
    cancelled = Count()
    skipped = Count()
    skips = fields.Dict(values=Count())
    plan = fields.Nested(PlanSchema, allow_none=True)


class BatchQuerySchema(CamelCaseSchema):
    """The query of the list; web/batches/api.py reads it."""

    limit = fields.Integer(
        validate=Range(1, MAX_ON_A_PAGE), metadata={"description": "How many; 50 when not given"}
    )
    page_token = fields.String(
        metadata={
            "pattern": f"^{PAGE_TOKEN}$",
            "description": "The nextPageToken of an earlier answer",
        }
    )


class BatchPageSchema(ResponseSchema):
    """Batches, newest first."""

    batches = fields.List(fields.Nested(BatchSchema))
    next_page_token = fields.String(
        allow_none=True, metadata={"description": "Null when there is no more"}
    )


BATCH = BatchRequestSchema()
OPTIONS = OptionsSchema()
BATCH_REASON = BatchReasonSchema()


def read_filter(found: Mapping[str, Any]) -> HistoryFilter:
    """Return the filter of a select.

    Raises:
        SelectionError: its window ends before it begins.
    """
    since, until = found.get("since"), found.get("until")
    if since and until and until < since:
        raise SelectionError("the selection is empty: select.until lies before select.since")
    channel = found.get("channel")
    return HistoryFilter(
        org_id=found.get("org_id"),
        since=since,
        until=until,
        channel=Channel(channel) if channel else None,
        provider=found.get("provider"),
        statuses=frozenset(map(Status, found.get("status") or STATUSES)),
    )


def read_user_ids(user_ids: list[str]) -> list[ListEntry]:
    """Return the users of a list.

    Raises:
        SelectionError: one of them cannot be a user's id.
    """
    entries = []
    for index, user_id in enumerate(user_ids):
        try:
            entries.append(ListEntry(validation.identity(user_id)))
        except ValueError as error:
            raise SelectionError(f"userIds[{index}] {error}") from None
    return entries


def read_options(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of an upload, as a body would hold them.

    Raises:
        InvalidRequestError: one of them is malformed.
    """
    options: dict[str, Any] = dict(query)
    for name in {"dryRun", "dry_run"} & options.keys():
        options[name] = {"true": True, "false": False}.get(options[name], options[name])
    for name in {"ratePerSecond", "rate_per_second"} & options.keys():
        options[name] = _number(options[name])
    return read_body(orjson.dumps(options), OPTIONS)


def _number(text: str) -> float | str:
    """Return the number; a text that is none stays as it is, for the schema to refuse."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
