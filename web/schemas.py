"""The shapes of requests and answers as JSON; web/json_bodies.py reads the former."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validates_schema

from shared.codes import Code
from shared.errors import InvalidRequestError
from shared.models import Attempt, DeliveryEvent, Reset
from shared.store.resets import Recorded
from shared.validation import format_timestamp
from web.explain.model import Explanation
from web.passwords import Completed

SCHEMA = "_schema"  # marshmallow's place for what concerns no single field


class EnumValue(fields.Field[str | int]):
    """An enum as protobuf's JSON writes it: a name or whole number; which are known, others say."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | int:
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
            return int(value)
        raise ValidationError("must be the name or the number of an enum value")


class StrictBoolean(fields.Field[bool]):
    """true or false, and no word or number that could mean them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class WireSchema(Schema):
    """Reads lowerCamelCase and snake_case, ignores unknown fields, as protobuf's JSON does."""

    class Meta:
        """Unknown fields are ignored."""

        unknown = EXCLUDE

    @pre_load
    def _one_spelling(self, data: Any, **_: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise ValidationError("must be a JSON object")
        spelled: dict[str, Any] = {}
        for name, field in self.load_fields.items():
            camel = field.data_key or name
            values = [data[spelling] for spelling in {name, camel} if spelling in data]
            if len(values) > 1:
                raise ValidationError(f"{camel} stands there twice")
            if values:
                spelled[camel] = values[0]
        return spelled


def check_oneof(data: Mapping[str, Any], *names: str) -> None:
    """Nothing, when at most one of the names has a value.

    Raises:
        ValidationError: more have.
    """
    if sum(data.get(name) is not None for name in names) > 1:
        raise ValidationError(f"only one of {' and '.join(map(_camel, names))} may be given")


def read_body(body: bytes, schema: WireSchema) -> dict[str, Any]:
    """The body as the schema knows it; an empty one is an empty object.

    Raises:
        InvalidRequestError: it is not one JSON object of this shape.
    """
    try:
        text = body.decode("utf-8")
        data = json.loads(
            text, object_pairs_hook=_sound_object, parse_constant=_no_constants
        ) if text.strip(" \t\r\n") else {}  # fmt: skip
        if not isinstance(data, dict):
            raise InvalidRequestError("the body must be one JSON object")
        loaded: dict[str, Any] = schema.load(data)
    except (ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(_explain(error)) from error
    return loaded


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(_sentences(error.messages_dict))
    if isinstance(error, _DuplicateKeyError):
        return "the body names one field twice"
    return "the body is not valid JSON"


def _sentences(messages: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for name, found in messages.items():
        here = place if name == SCHEMA else f"{place}.{name}".lstrip(".")
        if isinstance(found, Mapping):
            yield from _sentences(found, here)
        else:
            yield f"{here}: {' '.join(found)}".removeprefix(": ")


class _DuplicateKeyError(ValueError):
    """A JSON object has the same key twice."""


def _sound_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a name twice, whose texts are Unicode: half a surrogate pair is none."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKeyError
    for value in found.values():
        if isinstance(value, str):
            value.encode()
    return found


def _no_constants(_: str) -> NoReturn:
    raise ValueError


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class SendNotificationSchema(WireSchema):
    """The body of the v1 call; the path's user id wins over the body's."""

    user_id = fields.String(data_key="userId", allow_none=True)
    type = EnumValue(allow_none=True)


class SendLinkSchema(WireSchema):
    """`SendPasswordResetLink`."""

    notification_type = EnumValue(data_key="notificationType", allow_none=True)
    url_template = fields.String(data_key="urlTemplate", allow_none=True)


class PasswordResetSchema(WireSchema):
    """The body of v2's PasswordReset; `medium` is a oneof."""

    user_id = fields.String(data_key="userId", allow_none=True)
    send_link = fields.Nested(SendLinkSchema, data_key="sendLink", allow_none=True)
    return_code = fields.Nested(WireSchema, data_key="returnCode", allow_none=True)

    @validates_schema
    def _one_medium(self, data: Mapping[str, Any], **_: Any) -> None:
        check_oneof(data, "send_link", "return_code")


class NewPasswordSchema(WireSchema):
    """`Password`."""

    password = fields.String(allow_none=True)
    change_required = StrictBoolean(data_key="changeRequired", allow_none=True)


class SetPasswordSchema(WireSchema):
    """The body of v2's SetPassword; `verification` is a oneof."""

    user_id = fields.String(data_key="userId", allow_none=True)
    new_password = fields.Nested(NewPasswordSchema, data_key="newPassword", allow_none=True)
    current_password = fields.String(data_key="currentPassword", allow_none=True)
    verification_code = fields.String(data_key="verificationCode", allow_none=True)

    @validates_schema
    def _one_verification(self, data: Mapping[str, Any], **_: Any) -> None:
        check_oneof(data, "current_password", "verification_code")


SEND_NOTIFICATION = SendNotificationSchema()
PASSWORD_RESET = PasswordResetSchema()
SET_PASSWORD = SetPasswordSchema()


def write_details(recorded: Recorded) -> dict[str, Any]:
    """`zitadel.v1.ObjectDetails` as JSON."""
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
    """The code of a reset whose caller asked for it."""
    return {"verificationCode": code.signs}


def write_completed(completed: Completed) -> dict[str, Any]:
    """`zitadel.object.v2.Details` as JSON, of a changed password."""
    return {
        "details": {
            "sequence": str(completed.sequence),
            "changeDate": format_timestamp(completed.changed_at),
            "resourceOwner": completed.user.org_id,
        }
    }


def write_reset(reset: Reset, *, recipient: str | None) -> dict[str, Any]:
    """A reset with its timeline; `recipient` is masked."""
    return {
        "resetId": reset.reset_id,
        "userId": reset.user_id,
        "orgId": reset.org_id,
        "channel": reset.channel.value,
        "language": reset.language,
        "status": reset.status.value,
        "reason": reset.reason,
        "createdAt": format_timestamp(reset.created_at),
        "expiresAt": format_timestamp(reset.deadline_at),
        "completedAt": format_timestamp(reset.completed_at),
        "openedAt": format_timestamp(reset.opened_at),
        "recipient": recipient,
        "requestId": reset.request_id,
        "batchId": reset.batch_id,
        "attempts": [_write_attempt(attempt) for attempt in reset.attempts],
        "events": [_write_event(event) for event in reset.events],
    }


def _write_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "provider": attempt.provider,
        "startedAt": format_timestamp(attempt.started_at),
        "finishedAt": format_timestamp(attempt.finished_at),
        "outcome": attempt.outcome.value if attempt.outcome else None,
        "providerMessageId": attempt.provider_message_id,
        "detail": attempt.detail,
    }


def _write_event(event: DeliveryEvent) -> dict[str, Any]:
    return {
        "at": format_timestamp(event.at),
        "type": event.type,
        "provider": event.provider,
        "detail": event.detail,
    }


def write_explanation(explanation: Explanation) -> dict[str, Any]:
    """Serialise a diagnosis, the next step, and the timeline."""
    return {
        "verdict": explanation.diagnosis.text,
        "next": explanation.diagnosis.next_step,
        "kind": explanation.diagnosis.kind.value,
        "chain": [
            {"at": format_timestamp(each.at), "step": each.step, "words": each.text}
            for each in explanation.timeline
        ],
    }
