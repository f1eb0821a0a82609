"""Check captchas: Altcha's proof of work by ourselves, Turnstile and hCaptcha at their makers."""

from __future__ import annotations

import time
from typing import NamedTuple
from urllib.parse import urlencode

import altcha
import orjson
import structlog

from shared.errors import CaptchaError, CaptchaUnavailableError, ProviderError
from shared.providers.transport.http import Transport
from web.services import WebServices

log = structlog.get_logger()

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_CHARACTERS = 8192
OK = 200
# Of Altcha: 256 tries of 5,000 rounds in the mean take a telephone about two seconds.
COST, PREFIX = 5000, "00"
SOLUTION_SECONDS = 1200


class Widget(NamedTuple):
    """What a page needs for a captcha."""

    field: str  # of the form
    css_class: str = ""
    script: str = ""  # elsewhere; empty: our own
    verifier: str = ""
    path: str = ""
    hosts: str = ""  # from which it may load scripts, frames, styles and data


WIDGETS = {
    "altcha": Widget("altcha"),
    # Source: https://developers.cloudflare.com/turnstile/reference/content-security-policy/
    "turnstile": Widget(
        "cf-turnstile-response",
        "cf-turnstile",
        "https://challenges.cloudflare.com/turnstile/v0/api.js",
        "https://challenges.cloudflare.com",
        "/turnstile/v0/siteverify",
        "https://challenges.cloudflare.com",
    ),
    # Source: https://docs.hcaptcha.com/#content-security-policy-settings
    "hcaptcha": Widget(
        "h-captcha-response",
        "h-captcha",
        "https://js.hcaptcha.com/1/api.js",
        "https://api.hcaptcha.com",
        "/siteverify",
        "https://hcaptcha.com https://*.hcaptcha.com",
    ),
}


class Captcha:
    """The captcha of the settings."""

    def __init__(self, services: WebServices) -> None:
        """KEYTURN_FORGOT_CAPTCHA says which; `off` is none."""
        self._services, settings = services, services.settings
        self.kind = settings.forgot_captcha
        self.widget = WIDGETS.get(self.kind)
        self._transport: Transport | None = None
        if self.widget and self.widget.verifier:
            url = settings.forgot_captcha_url or self.widget.verifier
            self._transport = Transport(url, timeout_seconds=TIMEOUT_SECONDS)

    def challenge(self) -> str:
        """Return a new challenge of Altcha, as JSON; empty for the others."""
        if self.kind != "altcha":
            return ""
        made = altcha.create_challenge(
            "PBKDF2/SHA-256",
            COST,
            key_prefix=PREFIX,
            expires_at=int(time.time()) + SOLUTION_SECONDS,
            hmac_secret=self._secret(),
        )
        return orjson.dumps(made.to_dict()).decode()

    def check(self, answer: str) -> str:
        """Return what names the solution, so that it counts once; empty if its maker sees to that.

        Raises:
            CaptchaError: it is missing or wrong.
            CaptchaUnavailableError: its maker does not answer.
        """
        if self.widget is None:
            return ""
        if not 1 <= len(answer) <= MAX_ANSWER_CHARACTERS:
            raise CaptchaError
        if self._transport is None:
            return self._check_altcha(answer)
        self._check_elsewhere(self._transport, self.widget.path, answer)
        return ""

    def _check_altcha(self, answer: str) -> str:
        try:
            payload = altcha.Payload.from_base64(answer)
            is_right = altcha.verify_solution(payload, self._secret()).verified
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            is_right = False
        if not is_right:
            raise CaptchaError
        return str(payload.challenge.signature)

    def _check_elsewhere(self, maker: Transport, path: str, answer: str) -> None:
        form = {"secret": self._services.settings.forgot_captcha_secret, "response": answer}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            body = urlencode(form).encode()
            found = maker.call("POST", path, headers=headers, body=body)
            is_right = orjson.loads(found.body).get("success") if found.status == OK else None
        except (ProviderError, ValueError, AttributeError):
            is_right = None
        if not isinstance(is_right, bool):
            log.warning("captcha.unchecked", captcha=self.kind)
            raise CaptchaUnavailableError
        if not is_right:
            raise CaptchaError

    def _secret(self) -> str:
        return self._services.digests.digest("altcha", "")
