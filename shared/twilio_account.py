"""An account at Twilio as the settings give it; the second is the spare of the first."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAccount:
    """What it takes to send by an account, and to know its callbacks."""

    provider: str  # the name of the provider that sends by it
    account_sid: str
    auth_token: str = field(repr=False)  # verifies callbacks; sends when there is no API key
    api_key_sid: str
    api_key_secret: str = field(repr=False)
    sender_number: str
    messaging_service_sid: str
    api_url: str

    @property
    def prefix(self) -> str:
        """What the names of its settings begin with."""
        return f"KEYTURN_{self.provider.upper()}"

    @property
    def login(self) -> tuple[str, str]:
        """User and secret: the API key's where there is one, else the account's."""
        if self.api_key_sid and self.api_key_secret:
            return self.api_key_sid, self.api_key_secret
        return self.account_sid, self.auth_token

    def missing(self) -> list[str]:
        """The settings without which nothing can be sent by it."""
        has_login = self.auth_token or (self.api_key_sid and self.api_key_secret)
        needs = {
            f"{self.prefix}_ACCOUNT_SID": self.account_sid,
            f"{self.prefix}_API_KEY_SID and _SECRET, or _AUTH_TOKEN": has_login,
            f"{self.prefix}_FROM or _MESSAGING_SERVICE_SID": self.sender_number
            or self.messaging_service_sid,
        }
        return [name for name, value in needs.items() if not value]
