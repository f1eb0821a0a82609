"""The shapes of requests and answers as JSON; web/json_bodies.py reads the former."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from marshmallow import fields, validates_schema

from shared.codes import Code
from shared.models import Attempt, DeliveryEvent, Reset
from shared.store.resets import Recorded
from web.completions import Completed
from web.facts import Explanation
from web.json_bodies import EnumValue, StrictBoolean, WireSchema, check_oneof


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


def spell(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None


def write_details(recorded: Recorded) -> dict[str, Any]:
    """`zitadel.v1.ObjectDetails` as JSON."""
    created = spell(recorded.created_at)
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
            "changeDate": spell(completed.changed_at),
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
        "createdAt": spell(reset.created_at),
        "expiresAt": spell(reset.deadline_at),
        "completedAt": spell(reset.completed_at),
        "openedAt": spell(reset.opened_at),
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
        "startedAt": spell(attempt.started_at),
        "finishedAt": spell(attempt.finished_at),
        "outcome": attempt.outcome.value if attempt.outcome else None,
        "providerMessageId": attempt.provider_message_id,
        "detail": attempt.detail,
    }


def _write_event(event: DeliveryEvent) -> dict[str, Any]:
    return {
        "at": spell(event.at),
        "type": event.type,
        "provider": event.provider,
        "detail": event.detail,
    }


def write_explanation(told: Explanation) -> dict[str, Any]:
    """A verdict, the next action, and what happened, step by step."""
    return {
        "verdict": told.verdict.words,
        "next": told.verdict.next_step,
        "kind": told.verdict.kind.value,
        "chain": [
            {"at": spell(each.at), "step": each.step, "words": each.words} for each in told.chain
        ],
    }
