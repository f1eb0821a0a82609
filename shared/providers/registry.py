"""List the providers in PROVIDERS, and the readers of their callbacks in READERS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from shared.models import Channel
from shared.providers.http import HttpProvider
from shared.providers.http_webhook import HttpWebhook
from shared.providers.outbox import Outbox
from shared.providers.sendgrid import SendGrid
from shared.providers.sendgrid_webhook import SendGridWebhook
from shared.providers.smtp import Smtp
from shared.providers.twilio import Twilio
from shared.providers.twilio_webhook import TwilioWebhook
from shared.settings import HTTP_PROVIDERS, TWILIO_PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.providers import Provider
    from shared.providers.callbacks import CallbackReader
    from shared.settings import Settings

AnyProvider: TypeAlias = "Provider[Any]"


def _twilio(name: str) -> Callable[[Settings], AnyProvider]:
    """Return the builder of one Twilio account."""
    return lambda settings: Twilio(
        settings.twilio_account(name), timeout_seconds=settings.provider_timeout_seconds
    )


def _http(channel: Channel, name: str) -> Callable[[Settings], AnyProvider]:
    """Return the builder of one HTTP gateway."""
    return lambda settings: HttpProvider(
        channel, settings.gateway(name), timeout_seconds=settings.provider_timeout_seconds
    )


def _outbox(channel: Channel) -> Callable[[Settings], AnyProvider]:
    """Return the builder of one channel of the outbox."""
    return lambda settings: Outbox(
        channel,
        settings.data_dir,
        max_files=settings.outbox_max_files,
        keep_seconds=settings.outbox_lifetime_seconds,
    )


PROVIDERS: dict[tuple[Channel, str], Callable[[Settings], AnyProvider]] = {
    (Channel.EMAIL, "sendgrid"): SendGrid,
    (Channel.EMAIL, "smtp"): Smtp,
    (Channel.EMAIL, "outbox"): _outbox(Channel.EMAIL),
    **{(Channel.SMS, name): _twilio(name) for name in TWILIO_PROVIDERS},
    **{(each, name): _http(each, name) for each in Channel for name in HTTP_PROVIDERS},
    (Channel.SMS, "outbox"): _outbox(Channel.SMS),
}
READERS: dict[str, Callable[[Settings], CallbackReader]] = {
    "sendgrid": SendGridWebhook,
    "twilio": TwilioWebhook,
    "http": HttpWebhook,
}


def build_providers(settings: Settings) -> dict[Channel, list[AnyProvider]]:
    """Return the providers of each channel in the order of the settings."""
    chosen = {Channel.EMAIL: settings.email_providers, Channel.SMS: settings.sms_providers}
    return {
        channel: [PROVIDERS[channel, name](settings) for name in names]
        for channel, names in chosen.items()
    }


def build_callback_readers(settings: Settings) -> dict[str, CallbackReader]:
    """Return a reader for each path below /callbacks/."""
    return {path: build(settings) for path, build in READERS.items()}
