"""Twilio's numbers and what they mean to us; shared/providers/twilio.py alone reads them.

Source: https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

from shared.models import Outcome
from shared.providers import refusals
from shared.providers.refusals import Refusal, refusal_of_status

_TRANSIENT, _ACCOUNT, _PERMANENT = Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.PERMANENT

_BAD_NUMBER = Refusal(_PERMANENT, "no SMS can be sent to this number", suppression="bad_number")
_LOGIN = Refusal(_ACCOUNT, "Twilio does not take our login, or the account is not active")
_SENDER = Refusal(_ACCOUNT, "our sender cannot be used for this route", is_one_route=True)
_THEIRS = Refusal(_TRANSIENT, "Twilio has trouble")
_LATE = Refusal(Outcome.DOUBT, "Twilio failed after a long wait; it may have taken the SMS")
# For 15 to 30 minutes, longer than an SMS's code lives; never to be gone around.
_BLOCKED = Refusal(
    _PERMANENT, "Twilio suspects SMS pumping and blocks this number; ask again in half an hour"
)

# Numbers from 30001 usually come later, by callback; some may come at once.
CODES = {
    20003: _LOGIN,
    20005: _LOGIN,
    20404: Refusal(_ACCOUNT, "Twilio does not know the account; check KEYTURN_TWILIO_ACCOUNT_SID"),
    20429: Refusal(_TRANSIENT, "too many requests at a time; this one was never processed"),
    20500: _THEIRS,
    20503: _THEIRS,
    21211: _BAD_NUMBER,
    21217: _BAD_NUMBER,
    21408: Refusal(_PERMANENT, "our Twilio account may not send to this region"),
    21421: _BAD_NUMBER,
    21606: _SENDER,
    21608: Refusal(
        _ACCOUNT, "a trial account writes to numbers it has verified only", is_one_route=True
    ),
    21610: Refusal(_PERMANENT, "the recipient sent STOP to our sender", suppression="opt_out"),
    21611: Refusal(_TRANSIENT, "our sender's queue is full"),
    21612: _SENDER,
    21614: _BAD_NUMBER,
    21617: Refusal(_PERMANENT, "the text is too long"),
    21619: Refusal(_PERMANENT, "the text is missing"),
    21635: _BAD_NUMBER,
    21659: _SENDER,
    21660: _SENDER,
    21730: Refusal(_TRANSIENT, "Twilio is under maintenance"),
    30001: Refusal(_TRANSIENT, "our sender's queue is full"),
    30002: Refusal(_ACCOUNT, "our Twilio account is suspended"),
    30003: Refusal(_TRANSIENT, "the handset cannot be reached now", is_one_route=True),
    30004: Refusal(_PERMANENT, "the handset or its carrier blocks our messages"),
    30005: _BAD_NUMBER,
    30006: _BAD_NUMBER,
    30007: Refusal(_PERMANENT, "a carrier filtered the message; our sender needs attention"),
    30008: Refusal(
        _TRANSIENT, "the carrier failed for a reason it does not tell", is_one_route=True
    ),
    30032: Refusal(_ACCOUNT, "our toll-free sender is not verified", is_one_route=True),
    30034: Refusal(_ACCOUNT, "our sender is not registered (10DLC)", is_one_route=True),
    30036: Refusal(_PERMANENT, "the validity period was over"),
    30410: Refusal(
        Outcome.DOUBT,
        "the carrier did not answer Twilio in time; it may have the SMS",
        is_one_route=True,
    ),
    30450: _BLOCKED,
    30453: _BLOCKED,
}
# Where the answer has no number, or one that is not above.
STATUSES = {
    400: Refusal(_PERMANENT, "Twilio found the request wrong"),
    401: _LOGIN,
    403: _LOGIN,
    404: Refusal(
        _ACCOUNT, "this is not our account at Twilio; check the account and the API's URL"
    ),
    405: Refusal(_ACCOUNT, "this is not Twilio's API; check KEYTURN_TWILIO_API_URL"),
    429: Refusal(_TRANSIENT, "too many requests at a time; this one was never processed"),
    500: _THEIRS,
    502: Refusal(Outcome.DOUBT, "Twilio's edge answered; the SMS may have been taken behind it"),
    503: _THEIRS,
    504: Refusal(Outcome.DOUBT, "Twilio's edge answered; the SMS may have been taken behind it"),
}


def refusal_of(status: int, code: object, *, waited_seconds: float) -> tuple[str, Refusal]:
    """The reason's word and what it means; Twilio's number counts before the status."""
    known = CODES.get(code) if isinstance(code, int) else None
    refusal = known or refusal_of_status(status, STATUSES)
    reason = f"twilio_{code}" if known else f"http_{status}"
    if refusal is _THEIRS and waited_seconds > refusals.LONG_WAIT_SECONDS:
        return reason, _LATE
    return reason, refusal
