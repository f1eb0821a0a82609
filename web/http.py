"""What every route uses: the services, the caller's credentials, JSON responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response, current_app, g, request

from web.auth import Credentials
from web.services import WebServices


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What stood beside the message."""

    credentials: Credentials
    idempotency_key: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class CallResponse:
    """The message of a success, in protobuf's JSON, and the handle of what was recorded."""

    body: dict[str, Any]
    reset_id: str | None = None


def current_services() -> WebServices:
    """The services this application was made with."""
    services: WebServices = current_app.extensions["keyturn"]
    return services


def credentials() -> Credentials:
    """Who asks."""
    return Credentials(
        request.headers.get("Authorization"), request.headers.get("x-zitadel-orgid") or None
    )


def request_context() -> RequestContext:
    """What stands beside the body."""
    return RequestContext(credentials(), request.headers.get("Idempotency-Key"), g.request_id)


def respond(told: CallResponse) -> Response:
    """The answer to one of ZITADEL's calls."""
    return json_response(
        told.body, headers={"Keyturn-Reset-Id": told.reset_id} if told.reset_id else None
    )


def json_response(body: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), mimetype="application/json", headers=headers)
