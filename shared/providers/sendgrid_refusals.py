"""SendGrid's statuses and what they mean to us; shared/providers/sendgrid.py alone reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.models import Outcome
from shared.providers import refusals
from shared.providers.refusals import Refusal, refusal_of_status

if TYPE_CHECKING:
    from shared.providers.http import HttpAnswer

_THEIRS = Refusal(Outcome.TRANSIENT, "SendGrid has trouble")
_OUT = Refusal(Outcome.TRANSIENT, "SendGrid is out of service")
_LATE = Refusal(Outcome.DOUBT, "SendGrid failed after a long wait; it may have taken the mail")
# Any 2xx is accepted: 202, and 200 in sandbox mode. Other statuses: shared/providers/refusals.py.
# Source: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send and …/rate-limits
STATUSES = {
    400: Refusal(Outcome.PERMANENT, "SendGrid found the mail malformed"),
    401: Refusal(Outcome.ACCOUNT, "SendGrid does not take our API key, or our credits are used up"),
    403: Refusal(Outcome.ACCOUNT, "SendGrid does not let us send: sender not verified, key scope"),
    404: Refusal(Outcome.ACCOUNT, "this is not SendGrid's API; check KEYTURN_SENDGRID_API_URL"),
    405: Refusal(Outcome.ACCOUNT, "this is not SendGrid's API; check KEYTURN_SENDGRID_API_URL"),
    406: Refusal(Outcome.ACCOUNT, "SendGrid does not understand our client"),
    413: Refusal(Outcome.PERMANENT, "the mail is too large for SendGrid"),
    415: Refusal(Outcome.ACCOUNT, "SendGrid does not understand our client"),
    429: Refusal(Outcome.TRANSIENT, "SendGrid asks for fewer requests"),
    451: Refusal(Outcome.ACCOUNT, "SendGrid may not send this from this region (data residency)"),
    500: _THEIRS,
    502: Refusal(Outcome.DOUBT, "SendGrid's edge answered; the mail may have been taken behind it"),
    503: _OUT,
    504: Refusal(Outcome.DOUBT, "SendGrid's edge answered; the mail may have been taken behind it"),
}
# A 401, or a 403, that is not about the key but about money says so in words, not by number.
_NO_CREDITS = Refusal(Outcome.ACCOUNT, "our credits at SendGrid are used up")
_NO_CREDITS_WORDS = b"credits exceeded"
_NO_CREDITS_STATUSES = (401, 403)


def refusal_of(answer: HttpAnswer) -> tuple[str, Refusal]:
    """The reason's word and what it means."""
    if answer.status in _NO_CREDITS_STATUSES and _NO_CREDITS_WORDS in answer.body.lower():
        return "credits_used_up", _NO_CREDITS
    refusal = refusal_of_status(answer.status, STATUSES)
    if refusal in (_THEIRS, _OUT) and answer.waited_seconds > refusals.LONG_WAIT_SECONDS:
        refusal = _LATE
    return f"http_{answer.status}", refusal
