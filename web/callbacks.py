"""POST /callbacks/…: what providers tell later; verified, noted once, answered fast."""

from __future__ import annotations

from collections import Counter

import structlog
from flask import Blueprint, Response, request

from shared.errors import (
    BodyTooLargeError,
    CallbackRefusedError,
    CallbackTooLargeError,
    StoreUnavailableError,
)
from shared.providers.callbacks import Callback, CallbackForgedError
from shared.queue import hint_at_receipts
from shared.settings import Settings
from web.http import current_services
from web.middleware import read_capped_body
from web.services import WebServices

log = structlog.get_logger()


def receive_callback(services: WebServices, provider: str, callback: Callback) -> None:
    """Note what a callback tells of our resets.

    Raises:
        CallbackRefusedError: the provider did not sign it; nothing was noted.
        StoreUnavailableError: the provider is to say it again.
    """
    try:
        told = services.callbacks[provider].read(callback)
    except CallbackForgedError as error:
        _note_refused(services, provider, error.reason)
        raise CallbackRefusedError from error
    shards = services.receipts.receive(provider, told.events)
    services.receipts.count(provider, told.skipped)
    for shard in shards:
        services.hints.publish(hint_at_receipts(shard))


def _note_refused(services: WebServices, provider: str, reason: str) -> None:
    log.warning("callback.refused", provider=provider, reason=reason)
    try:
        services.receipts.count(provider, Counter(refused=1))
    except StoreUnavailableError:
        log.warning("store.unavailable", during="callback")


def is_heard(settings: Settings, provider: str) -> bool:
    """True when a provider calls back and can prove that it does."""
    if provider == "sendgrid":
        return bool(settings.sendgrid_webhook_public_key)
    return any(a.provider == provider and a.auth_token for a in settings.twilio_accounts)


def warn_of_unverifiable(settings: Settings) -> None:
    """Say at the start which provider in use would call back in vain."""
    if "sendgrid" in settings.email_providers and not settings.sendgrid_webhook_public_key:
        log.warning(
            "settings.doubtful",
            why="SendGrid's callbacks are refused: set KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY",
        )
    for account in settings.twilio_accounts:
        if account.provider in settings.sms_providers and not account.auth_token:
            log.warning(
                "settings.doubtful",
                why=f"Twilio's callbacks are refused: set {account.prefix}AUTH_TOKEN",
            )


callbacks = Blueprint("callbacks", __name__)

MAX_BYTES = 1024 * 1024  # SendGrid gathers events; all else here takes far less


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
        body = read_capped_body(max_bytes=MAX_BYTES)
    except BodyTooLargeError as error:
        raise CallbackTooLargeError from error
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.query_string.decode("latin-1")
    receive_callback(current_services(), provider, Callback(headers, query, body))
    return Response(status=204)
