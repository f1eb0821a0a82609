"""REST of ZITADEL's v2: one function per route, each a few lines."""

from __future__ import annotations

from flask import Blueprint, Response

from web.api import asked, house, tell
from web.calls import change_password, reset_password
from web.json_bodies import read_body
from web.requests import read_capped_body
from web.schemas import PASSWORD_RESET, SET_PASSWORD

api_v2 = Blueprint("api_v2", __name__)


@api_v2.post("/v2/users/<user_id>/password_reset")
def password_reset(user_id: str) -> Response:
    """PasswordReset: a message with a link, or the code in the answer."""
    fields = read_body(read_capped_body(), PASSWORD_RESET) | {"user_id": user_id}
    return tell(reset_password(house(), asked(), fields))


@api_v2.post("/v2/users/<user_id>/password")
def set_password(user_id: str) -> Response:
    """SetPassword: by code, by the current password, or by permission."""
    fields = read_body(read_capped_body(), SET_PASSWORD) | {"user_id": user_id}
    return tell(change_password(house(), asked(), fields))
