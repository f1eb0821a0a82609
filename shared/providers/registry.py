"""Which providers there are: one line each. `build_providers` makes those the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from shared.models import Channel
from shared.providers.outbox import Outbox
from shared.providers.sendgrid import SendGrid
from shared.providers.sendgrid_webhook import SendGridEvents
from shared.providers.smtp import Smtp
from shared.providers.twilio import Twilio
from shared.providers.twilio_webhook import TwilioEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.providers import Provider
    from shared.providers.callbacks import CallbackReader
    from shared.settings import Settings

AnyProvider: TypeAlias = "Provider[Any]"

PROVIDERS: dict[tuple[Channel, str], Callable[[Settings], AnyProvider]] = {
    (Channel.EMAIL, "sendgrid"): SendGrid,
    (Channel.EMAIL, "smtp"): Smtp,
    (Channel.EMAIL, "outbox"): lambda settings: Outbox(Channel.EMAIL, settings.data_dir),
    (Channel.SMS, "twilio"): lambda settings: _twilio(settings, "twilio"),
    (Channel.SMS, "twilio2"): lambda settings: _twilio(settings, "twilio2"),
    (Channel.SMS, "outbox"): lambda settings: Outbox(Channel.SMS, settings.data_dir),
}


def _twilio(settings: Settings, name: str) -> Twilio:
    account = settings.twilio_account(name)
    return Twilio(account, timeout_seconds=settings.provider_timeout_seconds)


def build_providers(settings: Settings) -> dict[Channel, list[AnyProvider]]:
    """The providers of each channel in the order the settings give."""
    chosen = {Channel.EMAIL: settings.email_providers, Channel.SMS: settings.sms_providers}
    return {
        channel: [PROVIDERS[channel, name](settings) for name in names]
        for channel, names in chosen.items()
    }


def open_readers(settings: Settings) -> dict[str, CallbackReader]:
    """A reader for each path behind /callbacks/."""
    return {"sendgrid": SendGridEvents(settings), "twilio": TwilioEvents(settings)}
