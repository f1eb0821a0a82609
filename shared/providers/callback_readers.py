"""The providers that call back, and who reads what they say; a provider is one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.providers.sendgrid_events import SendGridEvents
from shared.providers.twilio_events import TwilioEvents

if TYPE_CHECKING:
    from shared.providers.callbacks import CallbackReader
    from shared.settings import Settings


def open_readers(settings: Settings) -> dict[str, CallbackReader]:
    """A reader for each path behind /callbacks/."""
    return {"sendgrid": SendGridEvents(settings), "twilio": TwilioEvents(settings)}
