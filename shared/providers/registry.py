"""List the providers in PROVIDERS, and the readers of their callbacks in READERS."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from shared.models import Channel
from shared.settings import HTTP_PROVIDERS, TWILIO_PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.providers import Provider
    from shared.providers.callbacks import CallbackReader
    from shared.settings import Settings

AnyProvider: TypeAlias = "Provider[Any]"


def _later(module: str, name: str) -> Callable[..., Any]:
    """Return the builder of a class whose module is loaded when it is first built."""

    def build(*arguments: Any, **options: Any) -> Any:
        found = import_module(f"shared.providers.{module}")
        return getattr(found, name)(*arguments, **options)

    return build


Outbox = _later("outbox", "Outbox")
HttpProvider = _later("http", "HttpProvider")
Smtp = _later("smtp", "Smtp")
Twilio = _later("twilio", "Twilio")


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
    (Channel.EMAIL, "sendgrid"): _later("sendgrid", "SendGrid"),
    (Channel.EMAIL, "smtp"): Smtp,
    (Channel.EMAIL, "outbox"): _outbox(Channel.EMAIL),
    **{(Channel.SMS, name): _twilio(name) for name in TWILIO_PROVIDERS},
    **{(each, name): _http(each, name) for each in Channel for name in HTTP_PROVIDERS},
    (Channel.SMS, "outbox"): _outbox(Channel.SMS),
}
READERS: dict[str, Callable[..., CallbackReader]] = {
    "sendgrid": _later("sendgrid_webhook", "SendGridWebhook"),
    "twilio": _later("twilio_webhook", "TwilioWebhook"),
    "http": _later("http_webhook", "HttpWebhook"),
}


def build_providers(settings: Settings) -> dict[Channel, list[AnyProvider]]:
    """Return the providers of each channel in the order of the settings."""
    chosen = {Channel.EMAIL: settings.email_providers, Channel.SMS: settings.sms_providers}
    return {
        channel: [PROVIDERS[channel, name](settings) for name in names]
        for channel, names in chosen.items()
    }


class CallbackReaders(dict[str, "CallbackReader"]):
    """A reader for each path below /callbacks/, built with its first callback."""

    def __init__(self, settings: Settings) -> None:
        """Build none."""
        self._settings = settings

    def __missing__(self, path: str) -> CallbackReader:
        """Return the reader of a path."""
        self[path] = reader = READERS[path](self._settings)
        return reader
