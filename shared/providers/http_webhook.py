"""Verify and parse the reports of HTTP gateways, signed as our own calls to them are."""

from __future__ import annotations

import hmac
from collections import Counter
from time import time
from typing import TYPE_CHECKING

import orjson
import structlog

from shared.models import CallbackEvent, EventType
from shared.providers.callbacks import (
    FOREIGN,
    UNREAD,
    Callback,
    CallbackForgedError,
    ParsedCallback,
    safe_word,
)
from shared.providers.http import REASONS
from shared.providers.message_checks import message_id
from shared.providers.transport.signing import sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Gateway, Settings

log = structlog.get_logger()

MAX_SKEW_SECONDS = 300  # of the signed time; source: the Standard Webhooks specification
EVENTS = {
    "accepted": EventType.ACCEPTED,
    "deferred": EventType.DEFERRED,
    "delivered": EventType.DELIVERED,
    "undelivered": EventType.UNDELIVERED,
    "failed": EventType.FAILED,
    "complained": EventType.COMPLAINED,
    "opted_out": EventType.OPTED_OUT,
}
# What an event means without a reason of its own.
MEANINGS = {EventType.COMPLAINED: "complaint", EventType.OPTED_OUT: "opt_out"}
TELL_WHY = set(EVENTS.values()) - {EventType.ACCEPTED, EventType.DELIVERED}


class HttpWebhook:
    """Verifies and parses the reports of all our gateways; the secret tells which."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time) -> None:
        """`clock` (epoch seconds) is for tests."""
        self._gateways, self._clock = settings.gateways, clock

    def read(self, callback: Callback) -> ParsedCallback:
        """See CallbackReader."""
        gateway = self._verify(callback)
        try:
            content = orjson.loads(callback.body)
        except orjson.JSONDecodeError:
            content = None
        fields = content if isinstance(content, dict) else {}
        reset_id, word = fields.get("resetId"), fields.get("event")
        if not isinstance(reset_id, str) or not reset_id:
            return ParsedCallback(skipped=Counter({FOREIGN if fields else UNREAD: 1}))
        kind = EVENTS.get(word) if isinstance(word, str) else None
        event_id = message_id(callback.headers.get("webhook-id"))
        if kind is None or event_id is None:
            log.warning("callback.unread", provider=gateway.provider, word=safe_word(word))
            return ParsedCallback(skipped=Counter({UNREAD: 1}))
        told = fields.get("reason")
        is_known = isinstance(told, str) and told in REASONS and kind in TELL_WHY
        reason = str(told) if is_known else MEANINGS.get(kind, "")
        meaning = REASONS.get(reason)
        event = CallbackEvent(
            reset_id=reset_id,
            provider=gateway.provider,
            event_id=event_id,
            type=kind,
            message_id=message_id(fields.get("id")) or "",
            reason=f"http_{reason or kind}" if kind in TELL_WHY else "",
            detail=meaning.detail if meaning else "",
            suppression=(meaning.suppression if meaning else None) or "",
        )
        return ParsedCallback((event,))

    def _verify(self, callback: Callback) -> Gateway:
        """Return the gateway that signed; its signature may stand among others."""
        if not self._gateways:
            raise CallbackForgedError("no_key")
        headers = callback.headers
        webhook_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "").split()
        if not webhook_id or not signatures or not (at.isascii() and at.isdecimal()):
            raise CallbackForgedError("unsigned")
        if len(at) > 12 or abs(self._clock() - int(at)) > MAX_SKEW_SECONDS:  # noqa: PLR2004
            raise CallbackForgedError("timestamp")
        for gateway in self._gateways:
            for secret in gateway.secret:
                wanted = sign(secret, webhook_id, int(at), callback.body).encode()
                if any(hmac.compare_digest(wanted, each.encode()) for each in signatures):
                    return gateway
        raise CallbackForgedError("signature")
