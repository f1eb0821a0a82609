"""REST of ZITADEL's v2: one function per route, each a few lines."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from web.api import answer, credentials, house
from web.json_bodies import read_body
from web.passwords import WantedPassword, set_password
from web.requests import read_capped_body
from web.resets_v2 import WantedPasswordReset, request_password_reset
from web.schemas import (
    PASSWORD_RESET,
    SET_PASSWORD,
    write_code,
    write_completed,
    write_details,
)

api_v2 = Blueprint("api_v2", __name__)


@api_v2.post("/v2/users/<user_id>/password_reset")
def password_reset(user_id: str) -> Response:
    """PasswordReset: a message with a link, or the code in the answer."""
    body = read_body(read_capped_body(), PASSWORD_RESET)
    link = body.get("send_link") or {}
    wanted = WantedPasswordReset(
        user_id=user_id,
        returns_code=body.get("return_code") is not None,
        notification_type=link.get("notification_type"),
        url_template=link.get("url_template"),
        idempotency_key=request.headers.get("Idempotency-Key"),
        request_id=g.request_id,
    )
    recorded, code = request_password_reset(house(), credentials(), wanted)
    told = write_details(recorded) | (write_code(code) if code else {})
    return answer(told, headers={"Keyturn-Reset-Id": recorded.reset_id})


@api_v2.post("/v2/users/<user_id>/password")
def change_password(user_id: str) -> Response:
    """SetPassword: by code, by the current password, or by permission."""
    body = read_body(read_capped_body(), SET_PASSWORD)
    new_password = body.get("new_password") or {}
    wanted = WantedPassword(
        user_id=user_id,
        password=new_password.get("password") or "",
        change_required=new_password.get("change_required") or False,
        verification_code=body.get("verification_code"),
        current_password=body.get("current_password"),
    )
    return answer(write_completed(set_password(house(), credentials(), wanted)))
