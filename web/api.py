"""REST: one function per route, each a few lines; the rules stand in the use cases."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, current_app, g, request

from web.calls import Answer, Asked, send_notification
from web.explaining import explain_reset, find_reset_for
from web.house import House
from web.json_bodies import read_body
from web.listing import list_resets, read_page
from web.requests import read_capped_body
from web.resets import Credentials
from web.schemas import SEND_NOTIFICATION, write_explanation, write_reset

api = Blueprint("api", __name__)


@api.post("/management/v1/users/<user_id>/password/_reset")
@api.post("/users/<user_id>/password/_reset")
def send_reset_password_notification(user_id: str) -> Response:
    """Send Reset Password Notification (v1)."""
    fields = read_body(read_capped_body(), SEND_NOTIFICATION) | {"user_id": user_id}
    return tell(send_notification(house(), asked(), fields))


@api.get("/keyturn/v1/resets")
def show_resets() -> Response:
    """Resets the caller may see, newest first, page by page."""
    page = list_resets(house(), credentials(), read_page(request.args))
    told = [write_reset(reset, recipient=recipient) for reset, recipient in page.resets]
    return answer({"resets": told, "nextPageToken": page.token})


@api.get("/keyturn/v1/resets/<reset_id>")
def show_reset(reset_id: str) -> Response:
    """A reset's status and timeline."""
    reset, recipient = find_reset_for(house(), credentials(), reset_id)
    return answer(write_reset(reset, recipient=recipient))


@api.get("/keyturn/v1/resets/<reset_id>/explanation")
def explain_one_reset(reset_id: str) -> Response:
    """Why a reset stands as it does, and what to do next."""
    reset, _ = find_reset_for(house(), credentials(), reset_id)
    return answer(write_explanation(explain_reset(house(), reset)))


def house() -> House:
    """The services this application was made with."""
    services: House = current_app.extensions["keyturn"]
    return services


def credentials() -> Credentials:
    """Who asks."""
    return Credentials(
        request.headers.get("Authorization"), request.headers.get("x-zitadel-orgid") or None
    )


def asked() -> Asked:
    """What stands beside the body."""
    return Asked(credentials(), request.headers.get("Idempotency-Key"), g.request_id)


def tell(told: Answer) -> Response:
    """The answer to one of ZITADEL's calls."""
    return answer(told.body, headers={"Keyturn-Reset-Id": told.reset_id} if told.reset_id else None)


def answer(body: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), mimetype="application/json", headers=headers)
