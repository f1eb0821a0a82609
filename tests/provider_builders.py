"""Messages and settings for tests of providers; the secrets in them must never be told."""

from __future__ import annotations

import time
from pathlib import Path

from shared.models import Channel, Circular, Copy, Email, Receipt, Recipient, Sms, format_marker
from shared.settings import Settings

CODE = "ABCD-EFGH"
NONCE = "5eed5eed5eed5eed"
ADDRESS = "ada.lovelace@example.com"
NUMBER = "+41791234567"
API_KEY = "SG.a-secret-key"
AUTH_TOKEN = "a-secret-token"
PASSWORD = "a-secret-password"
SECRETS = (CODE, "ada.lovelace", NUMBER, "79123", API_KEY, AUTH_TOKEN, PASSWORD)
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
SECOND_ACCOUNT_SID = "AC" + "fedcba9876543210" * 2
TIMEOUT_SECONDS = 0.4  # where a test waits for it
AMPLE_SECONDS = 5.0  # where it does not
SLACK_SECONDS = 0.5


def a_mail(address: str = ADDRESS, **changes) -> Email:
    facts = {
        "reset_id": "7c0ffee0123456789",
        "recipient": Recipient(Channel.EMAIL, address),
        "from_address": "no-reply@keyturn.example",
        "from_name": "Keyturn",
        "subject": "Réinitialisez votre mot de passe",
        "text": f"Grüezi\n.\nYour code: {CODE}\n",
        "html": f"<p>Grüezi</p>\n<p>{CODE}</p>",
        "message_id": "<7c0ffee0123456789@keyturn.example>",
        "language": "fr",
    }
    return Email(**(facts | changes))


def an_sms(number: str = NUMBER, **changes) -> Sms:
    facts = {
        "reset_id": "7c0ffee0123456789",
        "recipient": Recipient(Channel.SMS, number),
        "body": f"{CODE} is your code",
        "callback_url": "https://reset.example.com/callbacks/twilio?resetId=7c0ffee0123456789",
        "validity_seconds": 590,
    }
    return Sms(**(facts | changes))


def some_settings(**changes) -> Settings:
    facts = {
        "data_dir": Path("/nonexistent"),
        "sendgrid_api_key": API_KEY,
        "twilio_account_sid": ACCOUNT_SID,
        "twilio_auth_token": AUTH_TOKEN,
        "twilio_from": "+15005550006",
        "twilio2_account_sid": SECOND_ACCOUNT_SID,
        "twilio2_auth_token": AUTH_TOKEN,
        "twilio2_from": "+15005550007",
        "provider_timeout_seconds": AMPLE_SECONDS,
    }
    return Settings(**(facts | changes))


def outcome_of(action) -> tuple[Receipt | Exception, float]:
    """What a call gave or raised, and how many seconds it took."""
    started = time.monotonic()
    try:
        result = action()
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        result = error
    return result, time.monotonic() - started


def a_copy(number: int = 1, address: str | None = None, **values: str) -> Copy:
    """A copy of `a_circular`, with a name and a code of its own."""
    facts = {"name.text": f"Ada {number}", "name.html": f"Ada {number}", "code.text": CODE}
    return Copy(
        reset_id=f"7c0ffee{number}",
        recipient=Recipient(Channel.EMAIL, address or f"ada.lovelace{number}@example.com"),
        message_id=f"<7c0ffee{number}@keyturn.example>",
        values={format_marker(NONCE, name): value for name, value in (facts | values).items()},
    )


def a_circular(*copies: Copy, **changes) -> Circular:
    """A mail that greets by name."""
    name, page_name, code = (
        format_marker(NONCE, each) for each in ("name.text", "name.html", "code.text")
    )
    facts = {
        "from_address": "no-reply@keyturn.example",
        "from_name": "Keyturn",
        "subject": "Réinitialisez votre mot de passe",
        "text": f"Grüezi {name}\n.\nYour code: {code}\n",
        "html": f"<p>Grüezi {page_name}</p>\n<p>{code}</p>",
        "language": "fr",
        "copies": copies or (a_copy(1), a_copy(2), a_copy(3)),
    }
    return Circular(**(facts | changes))
