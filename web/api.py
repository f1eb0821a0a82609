"""REST of resets: one function per route; the three ZITADEL calls are also answered by RPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from flask import request as http_request

from web.explain.query import explain_reset, find_reset_for, list_resets, read_page
from web.http import (
    CallResponse,
    RequestContext,
    credentials,
    current_services,
    json_response,
    request_context,
    respond,
)
from web.middleware import read_capped_body
from web.passwords import SetPasswordRequest, set_password
from web.resets import (
    PasswordResetRequest,
    SendNotificationRequest,
    request_password_reset,
    request_reset,
)
from web.schemas import (
    PASSWORD_RESET,
    SEND_NOTIFICATION,
    SET_PASSWORD,
    read_body,
    write_code,
    write_completed,
    write_details,
    write_explanation,
    write_reset,
)
from web.services import WebServices

api = Blueprint("api", __name__)


@api.post("/management/v1/users/<user_id>/password/_reset")
@api.post("/users/<user_id>/password/_reset")
def send_reset_password_notification(user_id: str) -> Response:
    """Send Reset Password Notification (v1)."""
    fields = read_body(read_capped_body(), SEND_NOTIFICATION) | {"user_id": user_id}
    return respond(send_notification(current_services(), request_context(), fields))


@api.post("/v2/users/<user_id>/password_reset")
def reset_user_password(user_id: str) -> Response:
    """PasswordReset: a message with a link, or the code in the answer."""
    fields = read_body(read_capped_body(), PASSWORD_RESET) | {"user_id": user_id}
    return respond(reset_password(current_services(), request_context(), fields))


@api.post("/v2/users/<user_id>/password")
def set_user_password(user_id: str) -> Response:
    """SetPassword: by code, by the current password, or by permission."""
    fields = read_body(read_capped_body(), SET_PASSWORD) | {"user_id": user_id}
    return respond(change_password(current_services(), request_context(), fields))


@api.get("/keyturn/v1/resets")
def show_resets() -> Response:
    """Resets the caller may see, newest first, page by page."""
    page = list_resets(current_services(), credentials(), read_page(http_request.args))
    resets = [write_reset(reset, recipient=recipient) for reset, recipient in page.resets]
    return json_response({"resets": resets, "nextPageToken": page.token})


@api.get("/keyturn/v1/resets/<reset_id>")
def show_reset(reset_id: str) -> Response:
    """Show a reset's status and timeline."""
    reset, recipient = find_reset_for(current_services(), credentials(), reset_id)
    return json_response(write_reset(reset, recipient=recipient))


@api.get("/keyturn/v1/resets/<reset_id>/explanation")
def explain_one_reset(reset_id: str) -> Response:
    """Explain why a reset has its status, and what to do next."""
    reset, _ = find_reset_for(current_services(), credentials(), reset_id)
    return json_response(write_explanation(explain_reset(current_services(), reset)))


def send_notification(
    services: WebServices, context: RequestContext, fields: Mapping[str, Any]
) -> CallResponse:
    """Answer Send Reset Password Notification (v1), by REST or RPC."""
    request = SendNotificationRequest(
        user_id=fields.get("user_id") or "",
        type=fields.get("type"),
        idempotency_key=context.idempotency_key,
    )
    recorded = request_reset(services, context.credentials, request)
    return CallResponse(write_details(recorded), recorded.reset_id, not recorded.is_new)


def reset_password(
    services: WebServices, context: RequestContext, fields: Mapping[str, Any]
) -> CallResponse:
    """Answer PasswordReset (v2): send a message with a link, or return the code."""
    link = fields.get("send_link") or {}
    request = PasswordResetRequest(
        user_id=fields.get("user_id") or "",
        returns_code=fields.get("return_code") is not None,
        notification_type=link.get("notification_type"),
        url_template=link.get("url_template"),
        idempotency_key=context.idempotency_key,
    )
    recorded, code = request_password_reset(services, context.credentials, request)
    body = write_details(recorded) | (write_code(code) if code else {})
    return CallResponse(body, recorded.reset_id, not recorded.is_new)


def change_password(
    services: WebServices, context: RequestContext, fields: Mapping[str, Any]
) -> CallResponse:
    """Answer SetPassword (v2): by code, by the current password, or by permission."""
    new_password = fields.get("new_password") or {}
    request = SetPasswordRequest(
        user_id=fields.get("user_id") or "",
        password=new_password.get("password") or "",
        change_required=new_password.get("change_required") or False,
        verification_code=fields.get("verification_code"),
        current_password=fields.get("current_password"),
    )
    return CallResponse(write_completed(set_password(services, context.credentials, request)))
