"""REST: one function per route, each a few lines; the rules stand in the use cases."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, current_app, g, request

from web.explaining import find_reset_for
from web.house import House
from web.json_bodies import read_body
from web.requests import read_capped_body
from web.resets import Credentials, WantedReset, request_reset
from web.schemas import SEND_NOTIFICATION, write_details, write_reset

api = Blueprint("api", __name__)


@api.post("/management/v1/users/<user_id>/password/_reset")
@api.post("/users/<user_id>/password/_reset")
def send_reset_password_notification(user_id: str) -> Response:
    """Send Reset Password Notification (v1)."""
    body = read_body(read_capped_body(), SEND_NOTIFICATION)
    wanted = WantedReset(
        user_id=user_id,
        type=body.get("type"),
        idempotency_key=request.headers.get("Idempotency-Key"),
        request_id=g.request_id,
    )
    recorded = request_reset(house(), credentials(), wanted)
    return answer(write_details(recorded), headers={"Keyturn-Reset-Id": recorded.reset_id})


@api.get("/keyturn/v1/resets/<reset_id>")
def show_reset(reset_id: str) -> Response:
    """A reset's status and timeline."""
    reset, recipient = find_reset_for(house(), credentials(), reset_id)
    return answer(write_reset(reset, recipient=recipient))


def house() -> House:
    """The services this application was made with."""
    services: House = current_app.extensions["keyturn"]
    return services


def credentials() -> Credentials:
    """Who asks."""
    return Credentials(
        request.headers.get("Authorization"), request.headers.get("x-zitadel-orgid") or None
    )


def answer(body: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), mimetype="application/json", headers=headers)
