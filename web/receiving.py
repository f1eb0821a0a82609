"""The use case of a provider's callback: is it theirs, what does it say, note it, hint a worker."""

from __future__ import annotations

from collections import Counter

import structlog

from shared.errors import CallbackRefusedError, StoreUnavailableError
from shared.hints import hint_at_receipts
from shared.providers.callbacks import Callback, CallbackForgedError
from shared.settings import Settings
from web.house import House

log = structlog.get_logger()


def receive_callback(house: House, provider: str, callback: Callback) -> None:
    """Note what a callback tells of our resets.

    Raises:
        CallbackRefusedError: the provider did not sign it; nothing was noted.
        StoreUnavailableError: the provider is to say it again.
    """
    try:
        told = house.callbacks[provider].read(callback)
    except CallbackForgedError as error:
        _note_refused(house, provider, error.reason)
        raise CallbackRefusedError from error
    shards = house.receipts.receive(provider, told.events)
    house.receipts.count(provider, told.passed_over)
    for shard in shards:
        house.hints.publish(hint_at_receipts(shard))


def _note_refused(house: House, provider: str, reason: str) -> None:
    log.warning("callback.refused", provider=provider, reason=reason)
    try:
        house.receipts.count(provider, Counter(refused=1))
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
                why=f"Twilio's callbacks are refused: set {account.prefix}_AUTH_TOKEN",
            )
