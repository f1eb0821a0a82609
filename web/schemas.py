"""Schemas of the reset API: read requests, write responses.

web/openapi describes them from here: a field's `metadata` holds its description and the rules
that the use case checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, pre_load, validates_schema
from marshmallow.validate import Length, OneOf, Range, Regexp

from shared.codes import Code
from shared.errors import InvalidRequestError
from shared.models import Channel, Outcome, Reset, Status
from shared.store.resets import Recorded
from shared.validation import MAX_PASSWORD_CHARACTERS, format_timestamp, nearest
from web.explain.model import DiagnosisKind, Explanation
from web.explain.query import CURSOR_PATTERN, MAX_ON_A_PAGE
from web.passwords import MAX_CODE_CHARACTERS, Completed
from web.resets import (
    CHANNELS,
    CHANNELS_BY_NAME,
    CHANNELS_BY_NUMBER,
    MAX_TEMPLATE_CHARACTERS,
    MAX_USER_ID_CHARACTERS,
)

MAX_SHOWN_NAME_CHARACTERS = 40  # of an unknown field: it may be an address in the wrong place
SCHEMA = "_schema"  # marshmallow's key for errors that concern no single field
CHANNEL_TYPES: tuple[str | int, ...] = (*CHANNELS_BY_NAME, *CHANNELS_BY_NUMBER)


class EnumValue(fields.Field[str | int]):
    """An enum as protobuf's JSON writes it: a name or a whole number."""

    def __init__(self, values: Iterable[str | int | None], description: str) -> None:
        """`values` go into the description; the use case checks them."""
        enum = [*dict.fromkeys((*values, None))]
        super().__init__(allow_none=True, metadata={"enum": enum, "description": description})

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | int:
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
            return int(value)
        raise ValidationError("must be the name or the number of an enum value")


class StrictBoolean(fields.Boolean):
    """true or false; no text or number counts as either."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class CamelCaseSchema(Schema):
    """Fields in snake_case here, in lowerCamelCase on the wire."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Name the field on the wire; marshmallow calls this for every field."""
        field_obj.data_key = field_obj.data_key or _camel(field_name)


class WireSchema(CamelCaseSchema):
    """Reads lowerCamelCase and snake_case, ignores unknown fields, as protobuf's JSON does."""

    class Meta:
        """Unknown fields are ignored."""

        unknown = EXCLUDE

    @pre_load
    def _unify_names(self, data: Any, **_: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise ValidationError("must be a JSON object")
        unified: dict[str, Any] = {}
        for name, field in self.load_fields.items():
            camel = field.data_key or name
            values = [data[key] for key in {name, camel} if key in data]
            if len(values) > 1:
                raise ValidationError(f"{camel} is given twice")
            if values:
                unified[camel] = values[0]
        return unified


class OwnSchema(WireSchema):
    """Reads a body of Keyturn's own calls: an unknown field is refused, with the nearest name.

    A misspelled `dryRun` that is ignored would send a batch. ZITADEL's calls ignore unknown fields.
    """

    class Meta:
        """web/openapi tells it."""

        unknown = RAISE

    @pre_load
    def _unify_names(self, data: Any, **_: Any) -> dict[str, Any]:
        unified: dict[str, Any] = super()._unify_names(data)
        camel = [field.data_key or name for name, field in self.load_fields.items()]
        for name in sorted(set(data) - {*camel, *self.load_fields}):
            shown = name if len(name) <= MAX_SHOWN_NAME_CHARACTERS and name.isidentifier() else ""
            near = f"the nearest is {nearest(name, camel)}" if camel else "there is none"
            raise ValidationError(f"unknown field {shown}".rstrip() + f"; {near}")
        return unified


def check_oneof(data: Mapping[str, Any], *names: str) -> None:
    """Raise an error if more than one of the names has a value.

    Raises:
        ValidationError: more than one has.
    """
    if sum(data.get(name) is not None for name in names) > 1:
        raise ValidationError(f"only one of {' and '.join(map(_camel, names))} may be given")


def read_body(body: bytes, schema: WireSchema) -> dict[str, Any]:
    """Decode a JSON body by a schema; an empty body is an empty object.

    Raises:
        InvalidRequestError: it is not one JSON object that fits the schema.
    """
    try:
        text = body.decode("utf-8")
        data = load_json(text) if text.strip(" \t\r\n") else {}
        if not isinstance(data, dict):
            raise InvalidRequestError("the body must be one JSON object")
        loaded: dict[str, Any] = schema.load(data)
    except (ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(_explain(error)) from error
    return loaded


def load_json(text: str | bytes) -> Any:
    """Decode JSON; raise ValueError if it is none, or an object has one key twice."""
    return json.loads(text, object_pairs_hook=_check_object, parse_constant=_refuse_constant)


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(_sentences(error.messages_dict))
    if isinstance(error, _DuplicateKeyError):
        return "the body names one field twice"
    return "the body is not valid JSON"


def _sentences(messages: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, found in messages.items():
        field_path = path if name == SCHEMA else f"{path}.{name}".lstrip(".")
        if isinstance(found, Mapping):
            yield from _sentences(found, field_path)
        else:
            yield f"{field_path}: {' '.join(found)}".removeprefix(": ")


class _DuplicateKeyError(ValueError):
    """A JSON object has the same key twice."""


def _check_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object unless it has a duplicate key or text that is not Unicode."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKeyError
    for value in found.values():
        if isinstance(value, str):
            value.encode()  # fails for a lone surrogate
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def at_most_one(*names: str) -> dict[str, Any]:
    """Return the JSON Schema of a protobuf oneof: of two names, one is absent or null."""
    return {"anyOf": [{"properties": {name: {"type": "null"}}} for name in names]}


def ignored_user_id() -> fields.String:
    """Return the field `userId` of a body, which the path's id overrides."""
    return fields.String(allow_none=True, metadata={"description": "The path's id counts"})


class SendNotificationSchema(WireSchema):
    """The body of the v1 call; the path's user id overrides the body's."""

    user_id = ignored_user_id()
    type = EnumValue(CHANNEL_TYPES, "Nothing means TYPE_EMAIL")


class SendLinkSchema(WireSchema):
    """`SendPasswordResetLink`."""

    notification_type = EnumValue(CHANNELS, "Nothing means e-mail")
    url_template = fields.String(
        allow_none=True,
        metadata={
            "minLength": 1,
            "maxLength": MAX_TEMPLATE_CHARACTERS,
            "description": "The link to write, with {{.UserID}}, {{.Code}} and {{.OrgID}}; it "
            "must lead to an allowed host",
        },
    )


class ReturnCodeSchema(WireSchema):
    """ZITADEL's `ReturnPasswordResetCode`: the code in the response, no message."""


class PasswordResetSchema(WireSchema):
    """The body of v2's PasswordReset; `medium` is a oneof."""

    class Meta(WireSchema.Meta):
        """See web/openapi."""

        json_schema = at_most_one("sendLink", "returnCode")

    user_id = ignored_user_id()
    send_link = fields.Nested(SendLinkSchema, allow_none=True)
    return_code = fields.Nested(
        ReturnCodeSchema,
        allow_none=True,
        metadata={"description": "Answer the code and send nothing"},
    )

    @validates_schema
    def _one_medium(self, data: Mapping[str, Any], **_: Any) -> None:
        check_oneof(data, "send_link", "return_code")


class NewPasswordSchema(WireSchema):
    """`Password`."""

    class Meta(WireSchema.Meta):
        """A password that is missing has an error with an id: the use case raises it."""

        json_schema = {"required": ["password"]}  # noqa: RUF012 - marshmallow's Meta

    password = fields.String(
        allow_none=True,
        metadata={"nullable": False, "minLength": 1, "maxLength": MAX_PASSWORD_CHARACTERS},
    )
    change_required = StrictBoolean(
        allow_none=True,
        metadata={
            "description": "Stored with the user until the next password; the system that signs "
            "the person in must ask for another one"
        },
    )


class SetPasswordSchema(WireSchema):
    """The body of v2's SetPassword; `verification` is a oneof."""

    class Meta(WireSchema.Meta):
        """As of NewPasswordSchema."""

        json_schema = at_most_one("currentPassword", "verificationCode") | {
            "required": ["newPassword"]
        }

    user_id = ignored_user_id()
    new_password = fields.Nested(NewPasswordSchema, allow_none=True, metadata={"nullable": False})
    current_password = fields.String(
        allow_none=True, metadata={"minLength": 1, "maxLength": MAX_PASSWORD_CHARACTERS}
    )
    verification_code = fields.String(
        allow_none=True,
        metadata={
            "minLength": 1,
            "maxLength": MAX_CODE_CHARACTERS,
            "description": "Case, hyphens and blanks do not matter",
        },
    )

    @validates_schema
    def _one_verification(self, data: Mapping[str, Any], **_: Any) -> None:
        check_oneof(data, "current_password", "verification_code")


class Timestamp(fields.DateTime):
    """A time, written by format_timestamp."""

    def _serialize(self, value: datetime | None, *_: Any, **__: Any) -> str | None:
        return format_timestamp(value)


class Count(fields.Integer):
    """A number of things."""

    def __init__(self, **options: Any) -> None:
        """`options` are those of Integer."""
        super().__init__(validate=Range(min=0), **options)


class ResponseSchema(CamelCaseSchema):
    """Writes and describes a response; every field is always present.

    A field may be absent only if its metadata has `optional`.
    """

    class Meta:
        """Clients ignore unknown fields."""

        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Mark the field as required."""
        super().on_bind_field(field_name, field_obj)
        field_obj.required = not field_obj.metadata.get("optional", False)


class ChangeDetailsSchema(ResponseSchema):
    """`zitadel.object.v2.Details`."""

    sequence = fields.String(
        validate=Regexp("^[0-9]+$"),
        metadata={"description": "Counts the events of this user; a number as text"},
    )
    change_date = Timestamp()
    resource_owner = fields.String(metadata={"description": "The user's organisation"})


class DetailsSchema(ChangeDetailsSchema):
    """`zitadel.v1.ObjectDetails`."""

    creation_date = Timestamp()


class PasswordSetSchema(ResponseSchema):
    """A changed password."""

    details = fields.Nested(ChangeDetailsSchema)


class RecordedSchema(ResponseSchema):
    """A recorded reset."""

    details = fields.Nested(DetailsSchema)


class RecordedWithCodeSchema(RecordedSchema):
    """A recorded reset, and its code if the caller asked for it."""

    verification_code = fields.String(metadata={"optional": True})


class AttemptSchema(ResponseSchema):
    """One call to one provider."""

    number = fields.Integer(validate=Range(min=1))
    provider = fields.String()
    started_at = Timestamp()
    finished_at = Timestamp(allow_none=True)
    outcome = fields.Enum(Outcome, by_value=fields.String, allow_none=True)
    provider_message_id = fields.String(allow_none=True)
    detail = fields.String(allow_none=True)


class DeliveryEventSchema(ResponseSchema):
    """A later report of a provider, an operator or Keyturn itself."""

    at = Timestamp()
    type = fields.String()
    provider = fields.String(allow_none=True)
    detail = fields.String(allow_none=True)


class ResetSchema(ResponseSchema):
    """A reset with its attempts and events."""

    reset_id = fields.String()
    user_id = fields.String()
    org_id = fields.String()
    channel = fields.Enum(Channel, by_value=fields.String)
    language = fields.String()
    status = fields.Enum(Status, by_value=fields.String)
    reason = fields.String(allow_none=True)
    created_at = Timestamp()
    expires_at = Timestamp(attribute="deadline_at")
    completed_at = Timestamp(allow_none=True)
    opened_at = Timestamp(allow_none=True)
    text_version = fields.String(
        metadata={
            "optional": True,
            "description": "Of the organisation's own texts, if the last message has such",
        }
    )
    recipient = fields.String(allow_none=True, metadata={"description": "Masked"})
    request_id = fields.String(allow_none=True)
    batch_id = fields.String(allow_none=True)
    attempts = fields.List(fields.Nested(AttemptSchema))
    events = fields.List(fields.Nested(DeliveryEventSchema))


class ResetQuerySchema(CamelCaseSchema):
    """The query of a list of resets; web/explain/query.py reads it."""

    user_id = fields.String(
        validate=Length(1, MAX_USER_ID_CHARACTERS),
        metadata={"description": "Of one user; the last ones, and all whose codes still work"},
    )
    status = fields.Enum(
        Status, by_value=fields.String, metadata={"description": "As they stand now"}
    )
    since = fields.DateTime(metadata={"description": "Recorded then or later"})
    limit = fields.Integer(
        validate=Range(1, MAX_ON_A_PAGE),
        metadata={
            "description": "How many; 50 when not given. A page may be shorter, even empty, and "
            "still have a next"
        },
    )
    page_token = fields.String(
        validate=Regexp(f"^{CURSOR_PATTERN}$"),
        metadata={"description": "The nextPageToken of before"},
    )


class ResetPageSchema(ResponseSchema):
    """A page of resets."""

    resets = fields.List(fields.Nested(ResetSchema))
    next_page_token = fields.String(
        allow_none=True, metadata={"description": "null behind the last page"}
    )


class StepSchema(ResponseSchema):
    """One past or coming event."""

    at = Timestamp()
    step = fields.String()
    words = fields.String(attribute="text")


class ExplanationSchema(ResponseSchema):
    """A diagnosis, the next action, and the timeline."""

    verdict = fields.String(
        attribute="diagnosis.text", metadata={"description": "What happened, in plain words"}
    )
    next = fields.String(attribute="diagnosis.next_step", metadata={"description": "What to do"})
    kind = fields.Enum(DiagnosisKind, by_value=fields.String, attribute="diagnosis.kind")
    caller = fields.String(
        allow_none=True, metadata={"description": "Who asked: a token, a batch, the page, …"}
    )
    chain = fields.List(fields.Nested(StepSchema), attribute="timeline")


class AliveSchema(ResponseSchema):
    """The response of a live process."""

    status = fields.String(validate=OneOf(["ok"]))


class ReadinessSchema(ResponseSchema):
    """The state of each dependency."""

    status = fields.String(validate=OneOf(["ok", "degraded", "unavailable"]))
    checks = fields.Dict(values=fields.String())


SEND_NOTIFICATION = SendNotificationSchema()
PASSWORD_RESET = PasswordResetSchema()
SET_PASSWORD = SetPasswordSchema()
RESET = ResetSchema()
EXPLANATION = ExplanationSchema()


def write_details(recorded: Recorded) -> dict[str, Any]:
    """Serialise a recorded reset as `zitadel.v1.ObjectDetails`."""
    created = format_timestamp(recorded.created_at)
    return {
        "details": {
            "sequence": str(recorded.sequence),
            "creationDate": created,
            "changeDate": created,
            "resourceOwner": recorded.org_id,
        }
    }


def write_code(code: Code) -> dict[str, Any]:
    """Serialise the code of a reset whose caller asked for it."""
    return {"verificationCode": code.link_secret}


def write_completed(completed: Completed) -> dict[str, Any]:
    """Serialise a changed password as `zitadel.object.v2.Details`."""
    return {
        "details": {
            "sequence": str(completed.sequence),
            "changeDate": format_timestamp(completed.changed_at),
            "resourceOwner": completed.user.org_id,
        }
    }


def write_reset(reset: Reset, *, recipient: str | None) -> dict[str, Any]:
    """Serialise a reset with its timeline; `recipient` is masked."""
    written: dict[str, Any] = RESET.dump(reset)
    if reset.text_version is None:
        del written["textVersion"]
    return written | {"recipient": recipient}


def write_explanation(explanation: Explanation) -> dict[str, Any]:
    """Serialise a diagnosis, the next action, and the timeline."""
    written: dict[str, Any] = EXPLANATION.dump(explanation)
    return written
