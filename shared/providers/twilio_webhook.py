"""Verify and parse Twilio's status callbacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import orjson
import structlog
from twilio.request_validator import SIGNATURE_HEADER, RequestValidator

from shared.models import CallbackEvent, EventType
from shared.providers.callbacks import (
    FOREIGN,
    IGNORED,
    TWILIO_PATH,
    UNREAD,
    Callback,
    CallbackForgedError,
    ParsedCallback,
    safe_word,
)
from shared.providers.message_checks import message_id
from shared.providers.twilio import CODES

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger()

MAX_FIELDS = 200  # Twilio sends twenty; parsing more would only cost time
# Source: https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
STATUSES = {
    "accepted": EventType.ACCEPTED,
    "scheduled": EventType.ACCEPTED,
    "queued": EventType.ACCEPTED,
    "sending": EventType.ACCEPTED,
    "sent": EventType.ACCEPTED,
    "delivered": EventType.DELIVERED,
    "read": EventType.DELIVERED,
    "undelivered": EventType.UNDELIVERED,
    "failed": EventType.FAILED,
    "canceled": EventType.FAILED,
}
IGNORED_STATUSES = {"receiving", "received"}  # of messages to us
WITHOUT_CODE = {
    EventType.UNDELIVERED: "a carrier did not deliver it, and Twilio does not say why",
    EventType.FAILED: "Twilio did not send it, and does not say why",
}


class Form(dict[str, list[str]]):
    """A posted form; the official package asks it for every value of a name."""

    def getlist(self, name: str) -> list[str]:
        """Return all values of a name."""
        return self.get(name, [])

    def first(self, *names: str) -> str:
        """Return the first value of the first name that has one."""
        return next((self[name][0] for name in names if self.get(name)), "")


class TwilioWebhook:
    """Verifies and parses the callbacks of all our Twilio accounts; AccountSid says which."""

    def __init__(self, settings: Settings, *, path: str = TWILIO_PATH) -> None:
        """Callbacks of an account without an auth token are refused; `path` is what was signed."""
        self._url = settings.link_base + path
        self._accounts = {
            each.account_sid: each for each in settings.twilio_accounts if each.auth_token
        }

    def read(self, callback: Callback) -> ParsedCallback:
        """See CallbackReader."""
        if not self._accounts:
            raise CallbackForgedError("no_key")
        form = _read_form(callback)
        account = self._accounts.get(form.first("AccountSid"))
        if account is None:
            raise CallbackForgedError("account")
        self._verify(callback, form, account.auth_token)
        return parse_status(form, callback.query, provider=account.provider)

    def _verify(self, callback: Callback, form: Form, tokens: Iterable[str]) -> None:
        """Twilio signs the URL without its fragment, and the form; or the body's hash for JSON."""
        signature = callback.headers.get(SIGNATURE_HEADER.lower())
        if not signature:
            raise CallbackForgedError("unsigned")
        url = f"{self._url}?{callback.query}" if callback.query else self._url
        signed = callback.body.decode() if _is_json(callback) else form
        if not any(RequestValidator(token).validate(url, signed, signature) for token in tokens):
            raise CallbackForgedError("signature")


def parse_status(form: Form, query: str, *, provider: str) -> ParsedCallback:
    """Return their status as our event."""
    reset_id = Form(parse_qs(query)).first("resetId")
    word = form.first("MessageStatus", "SmsStatus")
    sid = message_id(form.first("MessageSid", "SmsSid"))
    kind = STATUSES.get(word)
    if not reset_id:
        return _skipped(FOREIGN)
    if word in IGNORED_STATUSES:
        return _skipped(IGNORED)
    if kind is None or sid is None:
        log.warning("callback.unread", provider=provider, word=safe_word(word))
        return _skipped(UNREAD)
    reason, detail, suppression = _explain_failure(kind, form.first("ErrorCode"))
    event = CallbackEvent(
        reset_id=reset_id,
        provider=provider,
        event_id=f"{sid}:{word}",
        type=kind,
        message_id=sid,
        reason=reason,
        detail=detail,
        suppression=suppression,
    )
    return ParsedCallback((event,))


def _explain_failure(kind: EventType, code: str) -> tuple[str, str, str]:
    """Return reason, detail and suppression of a message that did not arrive."""
    if kind not in WITHOUT_CODE:
        return "", "", ""
    if not code.isdecimal() or not code.isascii() or int(code) == 0:
        return f"twilio_{kind}", WITHOUT_CODE[kind], ""
    known = CODES.get(int(code))
    reason = f"twilio_{int(code)}"
    if known is None:
        return reason, f"Twilio's error {int(code)}; its list of errors explains it", ""
    return reason, known.detail, known.suppression or ""


def _skipped(why: str) -> ParsedCallback:
    return ParsedCallback(skipped=Counter({why: 1}))


def _is_json(callback: Callback) -> bool:
    """Return True for JSON: then the signed query holds the body's hash."""
    kind = callback.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "application/json"


def _read_form(callback: Callback) -> Form:
    """Parse the posted form or JSON.

    Raises:
        CallbackForgedError: it is unreadable, or JSON whose hash is not signed.
    """
    try:
        text = callback.body.decode()
        if not _is_json(callback):
            return Form(
                parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
            )
        content = orjson.loads(text)
    except ValueError as error:
        raise CallbackForgedError("unreadable") from error
    if not isinstance(content, dict) or "bodySHA256" not in parse_qs(callback.query):
        raise CallbackForgedError("unsigned")
    return Form({name: [str(value)] for name, value in content.items() if value is not None})
