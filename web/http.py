"""What every route uses: the services, the caller's credentials, JSON responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response, current_app, request

from web.auth import Credentials, count_change_in_force
from web.services import WebServices

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
COUNTED_AS_RESETS = ("api_admin.resend_reset",)  # endpoints


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The headers that a use case needs."""

    credentials: Credentials
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class CallResponse:
    """The response message in protobuf's JSON, and the id of the reset that was recorded."""

    body: dict[str, Any]
    reset_id: str | None = None


def current_services() -> WebServices:
    """Return the services of this application."""
    services: WebServices = current_app.extensions["keyturn"]
    return services


def credentials() -> Credentials:
    """Return the credentials in the request's headers."""
    return Credentials(
        request.headers.get("Authorization"), request.headers.get("x-zitadel-orgid") or None
    )


def count_changes() -> None:
    """Count a request that may change something; before every one of Keyturn's own API.

    Raises:
        CallerError: the token, its organisation header, or too many requests.
    """
    if request.method not in SAFE_METHODS and request.endpoint not in COUNTED_AS_RESETS:
        count_change_in_force(current_services(), credentials())


def request_context() -> RequestContext:
    """Return the headers that a use case needs."""
    return RequestContext(credentials(), request.headers.get("Idempotency-Key"))


def respond(response: CallResponse) -> Response:
    """Return the response of one of ZITADEL's calls, with the header Keyturn-Reset-Id."""
    return json_response(
        response.body,
        headers={"Keyturn-Reset-Id": response.reset_id} if response.reset_id else None,
    )


def json_response(body: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(body), mimetype="application/json", headers=headers)
