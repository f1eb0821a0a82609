"""Take providers' callbacks: verify, record once, hint."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import structlog
from flask import Blueprint, Response, request

from shared.errors import (
    BodyTooLargeError,
    CallbackRefusedError,
    CallbackTooLargeError,
    StoreUnavailableError,
)
from shared.models import Channel
from shared.organisations.providers import AccountBuilder
from shared.organisations.sender import OWN, own_name
from shared.policies import route_of
from shared.providers.callbacks import (
    FOREIGN,
    Callback,
    CallbackForgedError,
    ParsedCallback,
)
from shared.queue import hint_at_receipts
from shared.settings import Settings
from web.explain.wording import describe_unset_channel
from web.http import current_services
from web.middleware import read_capped_body
from web.services import WebServices

log = structlog.get_logger()
callbacks = Blueprint("callbacks", __name__)
MAX_BYTES = 1024 * 1024  # SendGrid sends many events at once

UNNAMED_PROXY = (
    "the public URL is https, so a proxy is in front: name it in KEYTURN_TRUSTED_PROXIES, "
    "or all people count as one source of guesses"
)


@callbacks.post("/callbacks/sendgrid")
def sendgrid() -> Response:
    """Take SendGrid's Event Webhook."""
    return _receive("sendgrid")


@callbacks.post("/callbacks/twilio")
def twilio() -> Response:
    """Take Twilio's status callback, of any of our accounts."""
    return _receive("twilio")


@callbacks.post("/callbacks/http")
def http() -> Response:
    """Take the report of any of our HTTP gateways."""
    return _receive("http")


@callbacks.post("/callbacks/sendgrid/<org_id>", defaults={"provider": "sendgrid"})
@callbacks.post("/callbacks/twilio/<org_id>", defaults={"provider": "twilio"})
@callbacks.post("/callbacks/http/<org_id>", defaults={"provider": "http"})
def own(provider: str, org_id: str) -> Response:
    """Take a report of an organisation's own account."""
    return _receive(provider, org_id)


def _receive(provider: str, org_id: str | None = None) -> Response:
    try:
        body = read_capped_body(max_bytes=MAX_BYTES)
    except BodyTooLargeError as error:
        raise CallbackTooLargeError from error
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.query_string.decode("latin-1")
    receive_callback(current_services(), provider, Callback(headers, query, body), org_id)
    return Response(status=204)


def receive_callback(
    services: WebServices, provider: str, callback: Callback, org_id: str | None = None
) -> None:
    """Record what a callback reports of our resets; `org_id`: of the organisation's own account.

    Raises:
        CallbackRefusedError: the provider did not sign it; nothing was recorded.
        StoreUnavailableError: the provider must send it again.
    """
    try:
        if org_id is None:
            report = services.callbacks[provider].read(callback)
        else:
            report = _read_own(services, provider, callback, org_id)
    except CallbackForgedError as error:
        log.warning("callback.refused", provider=provider, reason=error.reason)
        provider = provider if org_id is None else OWN
        try:
            services.receipts.count(provider, Counter(refused=1))
        except StoreUnavailableError:
            log.warning("store.unavailable", during="callback")
        raise CallbackRefusedError from error
    provider = provider if org_id is None else OWN
    shards = services.receipts.receive(provider, report.events)
    services.receipts.count(provider, report.skipped)
    for shard in shards:
        services.hints.publish(hint_at_receipts(shard))


def _read_own(
    services: WebServices, provider: str, callback: Callback, org_id: str
) -> ParsedCallback:
    """Return what an organisation's own account reports, of messages that it carried itself."""
    organisation = services.callers.find_organisation(org_id)
    report, refusal = ParsedCallback(), CallbackForgedError("no_key")
    names: dict[Channel, str] = {}  # of the accounts that signed: two channels may share a secret
    for channel in Channel:
        route = route_of(organisation, channel)
        if route is None or provider not in route.accounts:
            continue
        unseal = partial(services.senders.unseal, org_id)
        builder = AccountBuilder(services.settings, org_id, channel, unseal)
        try:
            report = builder.reader(provider, route.accounts[provider]).read(callback)
            names[channel] = own_name(org_id, channel, provider)
        except CallbackForgedError as error:
            refusal = error
    if not names:
        raise refusal
    carried = {
        reset.reset_id: names[reset.channel]
        for reset in services.resets.find_many({each.reset_id for each in report.events})
        if any(attempt.provider == names.get(reset.channel) for attempt in reset.attempts)
    }
    known = tuple(
        replace(each, provider=carried[each.reset_id])
        for each in report.events
        if each.reset_id in carried
    )
    foreign = [FOREIGN] * (len(report.events) - len(known))
    return ParsedCallback(known, report.skipped + Counter(foreign))


def warn_of_settings(settings: Settings) -> None:
    """Log, at the start, what is allowed and most likely a mistake.

    That is a channel without a provider, callbacks that cannot be verified, a proxy without a name.
    """
    if settings.public_url.startswith("https:") and not settings.trusted_proxies:
        log.warning("settings.doubtful", why=UNNAMED_PROXY)
    for channel in settings.unset_channels:
        log.warning("settings.doubtful", why=describe_unset_channel(channel))
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
