"""POST /callbacks/…: what providers tell later; verified, noted once, answered fast."""

from __future__ import annotations

from flask import Blueprint, Response, request

from shared.errors import BodyTooLargeError, CallbackTooLargeError
from shared.providers.callbacks import Callback
from web.api import house
from web.receiving import receive_callback
from web.requests import read_capped_body

callbacks = Blueprint("callbacks", __name__)

MOST_BYTES = 1024 * 1024  # SendGrid gathers events; all else here takes far less


@callbacks.post("/callbacks/sendgrid")
def sendgrid() -> Response:
    """SendGrid's Event Webhook."""
    return _receive("sendgrid")


@callbacks.post("/callbacks/twilio")
def twilio() -> Response:
    """Twilio's status callback, whichever of our accounts it comes from."""
    return _receive("twilio")


def _receive(provider: str) -> Response:
    try:
        body = read_capped_body(most_bytes=MOST_BYTES)
    except BodyTooLargeError as error:
        raise CallbackTooLargeError from error
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.query_string.decode("latin-1")
    receive_callback(house(), provider, Callback(headers, query, body))
    return Response(status=204)
