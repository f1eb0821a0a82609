"""Verify and parse SendGrid's Event Webhook."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

from shared.models import CallbackEvent, EventType
from shared.providers.callbacks import (
    FOREIGN,
    IGNORED,
    UNREAD,
    Callback,
    CallbackForgedError,
    ParsedCallback,
    safe_word,
)
from shared.providers.message_checks import message_id
from shared.providers.sendgrid import SendGrid
from shared.providers.sendgrid_bulk import RESET_ID_ARG

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger()


class Meaning(NamedTuple):
    """What one of their events means."""

    reason: str
    detail: str
    suppression: str = ""


# Source: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
EVENTS = {
    "processed": EventType.ACCEPTED,
    "deferred": EventType.DEFERRED,
    "delivered": EventType.DELIVERED,
    "bounce": EventType.UNDELIVERED,
    "blocked": EventType.UNDELIVERED,
    "dropped": EventType.FAILED,
    "spamreport": EventType.COMPLAINED,
    "unsubscribe": EventType.OPTED_OUT,
    "group_unsubscribe": EventType.OPTED_OUT,
}
# Scanners open mails too, and tracking is off in all of ours.
IGNORED_EVENTS = {"open", "click", "group_resubscribe"}
MEANINGS = {
    EventType.DEFERRED: Meaning(
        "deferred", "the receiving server asks SendGrid to wait; SendGrid tries again by itself"
    ),
    EventType.COMPLAINED: Meaning("complaint", "the recipient reported it as spam", "complaint"),
    EventType.OPTED_OUT: Meaning("opt_out", "the recipient unsubscribed", "opt_out"),
}
BOUNCES = {
    "bounce": Meaning("bounce", "the receiving server refused the address for good", "bounce"),
    "blocked": Meaning("blocked", "the receiving server refused this mail, not the address"),
}
UNKNOWN_BOUNCE = Meaning("bounce_unclear", "it bounced, and SendGrid does not say how")
DROPS = {
    "bounced address": Meaning(
        "bounce", "SendGrid did not send it: this address bounced before", "bounce"
    ),
    "spam reporting address": Meaning(
        "complaint", "SendGrid did not send it: the recipient reported spam before", "complaint"
    ),
    "unsubscribed address": Meaning(
        "opt_out", "SendGrid did not send it: the recipient unsubscribed", "opt_out"
    ),
    "invalid": Meaning("invalid_address", "SendGrid did not send it: the address is invalid"),
    "spam content": Meaning("spam_content", "SendGrid did not send it: it looked like spam"),
    "recipient list over package quota": Meaning(
        "quota", "SendGrid did not send it: our credits are used up"
    ),
}
UNKNOWN_DROP = Meaning("dropped", "SendGrid did not send it, for a reason we do not know")


class SendGridWebhook:
    """Verifies and parses SendGrid's callbacks."""

    def __init__(self, settings: Settings) -> None:
        """Without a key every callback is refused."""
        self._webhooks = [EventWebhook(key) for key in settings.sendgrid_webhook_public_key]

    def read(self, callback: Callback) -> ParsedCallback:
        """See CallbackReader."""
        self._verify(callback)
        try:
            listed = orjson.loads(callback.body)
        except orjson.JSONDecodeError:
            return ParsedCallback(skipped=Counter({UNREAD: 1}))
        return parse_events(listed if isinstance(listed, list) else [listed])

    def _verify(self, callback: Callback) -> None:
        if not self._webhooks:
            raise CallbackForgedError("no_key")
        signature = callback.headers.get(EventWebhookHeader.SIGNATURE.lower())
        timestamp = callback.headers.get(EventWebhookHeader.TIMESTAMP.lower())
        if not signature or not timestamp:
            raise CallbackForgedError("unsigned")
        try:
            body = callback.body.decode()
            is_genuine = any(w.verify_signature(body, signature, timestamp) for w in self._webhooks)
        except ValueError:  # no base64, no UTF-8
            is_genuine = False
        if not is_genuine:
            raise CallbackForgedError("signature")


def parse_events(listed: list[Any]) -> ParsedCallback:
    """Return their events as ours; count those that are not about a message of ours."""
    events: list[CallbackEvent] = []
    skipped: Counter[str] = Counter()
    for each in listed:
        found = _parse(each) if isinstance(each, dict) else UNREAD
        if isinstance(found, CallbackEvent):
            events.append(found)
        else:
            skipped[found] += 1
    return ParsedCallback(tuple(events), skipped)


def _parse(fields: dict[str, Any]) -> CallbackEvent | str:
    """Return the event, or why it is skipped."""
    reset_id = fields.get(RESET_ID_ARG)
    if not isinstance(reset_id, str):
        return FOREIGN
    word = str(fields.get("event"))
    kind = EVENTS.get(word)
    event_id = message_id(fields.get("sg_event_id"))
    if word in IGNORED_EVENTS:
        return IGNORED
    if kind is None or event_id is None:
        log.warning("callback.unread", provider=SendGrid.name, word=safe_word(word))
        return UNREAD
    meaning = _meaning(kind, fields)
    return CallbackEvent(
        reset_id=reset_id,
        provider=SendGrid.name,
        event_id=event_id,
        type=kind,
        at_ms=_epoch_ms(fields.get("timestamp")),
        # sg_message_id begins with what the receipt gave: X-Message-Id, then a dot.
        message_id=(message_id(fields.get("sg_message_id")) or "").partition(".")[0],
        reason=meaning.reason,
        detail=meaning.detail,
        suppression=meaning.suppression,
    )


def _meaning(kind: EventType, fields: dict[str, Any]) -> Meaning:
    if kind is EventType.UNDELIVERED:
        word = "blocked" if fields["event"] == "blocked" else fields.get("type")
        return BOUNCES.get(word, UNKNOWN_BOUNCE) if isinstance(word, str) else UNKNOWN_BOUNCE
    if kind is EventType.FAILED:
        reason = fields.get("reason")
        return DROPS.get(reason.lower(), UNKNOWN_DROP) if isinstance(reason, str) else UNKNOWN_DROP
    return MEANINGS.get(kind, Meaning("", ""))


def _epoch_ms(timestamp: object) -> int | None:
    """Return their epoch seconds as milliseconds; an unreadable value counts as absent."""
    is_epoch = isinstance(timestamp, int | float) and 0 < timestamp < 1e11  # noqa: PLR2004
    return int(timestamp * 1000) if is_epoch else None  # type: ignore[operator]
