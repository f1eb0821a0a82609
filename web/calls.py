"""ZITADEL's calls once for all protocols: decoded fields in, the answer as JSON out; no rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from web.house import House
from web.passwords import WantedPassword, set_password
from web.resets import Credentials, WantedReset, request_reset
from web.resets_v2 import WantedPasswordReset, request_password_reset
from web.schemas import write_code, write_completed, write_details


@dataclass(frozen=True, slots=True)
class Asked:
    """What stood beside the message."""

    credentials: Credentials
    idempotency_key: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The message of a success, in protobuf's JSON, and the handle of what was recorded."""

    body: dict[str, Any]
    reset_id: str | None = None


def send_notification(house: House, asked: Asked, fields: Mapping[str, Any]) -> Answer:
    """Send Reset Password Notification (v1)."""
    wanted = WantedReset(
        user_id=fields.get("user_id") or "",
        type=fields.get("type"),
        idempotency_key=asked.idempotency_key,
        request_id=asked.request_id,
    )
    recorded = request_reset(house, asked.credentials, wanted)
    return Answer(write_details(recorded), recorded.reset_id)


def reset_password(house: House, asked: Asked, fields: Mapping[str, Any]) -> Answer:
    """PasswordReset (v2): a message with a link, or the code in the answer."""
    link = fields.get("send_link") or {}
    wanted = WantedPasswordReset(
        user_id=fields.get("user_id") or "",
        returns_code=fields.get("return_code") is not None,
        notification_type=link.get("notification_type"),
        url_template=link.get("url_template"),
        idempotency_key=asked.idempotency_key,
        request_id=asked.request_id,
    )
    recorded, code = request_password_reset(house, asked.credentials, wanted)
    told = write_details(recorded) | (write_code(code) if code else {})
    return Answer(told, recorded.reset_id)


def change_password(house: House, asked: Asked, fields: Mapping[str, Any]) -> Answer:
    """SetPassword (v2): by code, by the current password, or by permission."""
    new_password = fields.get("new_password") or {}
    wanted = WantedPassword(
        user_id=fields.get("user_id") or "",
        password=new_password.get("password") or "",
        change_required=new_password.get("change_required") or False,
        verification_code=fields.get("verification_code"),
        current_password=fields.get("current_password"),
    )
    return Answer(write_completed(set_password(house, asked.credentials, wanted)))
