"""The providers as an operator sees them, and a test message by one of them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    InvalidRequestError,
    PermanentProviderError,
    ProviderError,
    RecipientSuppressedError,
)
from shared.models import Channel, Email, Message, Outcome, Recipient, Sms
from shared.policies import check_country
from shared.providers.registry import PROVIDERS
from shared.store.admin.audit import Act
from shared.store.admin.circuits import Circuit, CircuitState
from shared.store.admin.pauses import Pause, Scope
from web.admin.actions import AuditReason
from web.services import WebServices


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """A provider of a channel."""

    name: str
    channel: Channel
    place: int  # in the configured order, from 1
    circuit: Circuit
    weight: int | None
    pause: Pause | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of a test message."""

    provider: str
    recipient: Recipient
    outcome: Outcome
    reason: str | None = None
    detail: str | None = None
    provider_message_id: str | None = None
    duration_ms: int


def load_providers(services: WebServices) -> list[ProviderView]:
    """Return every provider of every channel, in the configured order."""
    circuits = services.circuits.read(known_providers(services))
    pauses = {each.name: each for each in services.pauses.all() if each.scope is Scope.PROVIDER}
    weights = services.weights.all()
    return [
        ProviderView(
            name=name,
            channel=channel,
            place=place,
            circuit=circuits[name],
            weight=weights.get(name),
            pause=pauses.get(name),
        )
        for channel, names in services.provider_names.items()
        for place, name in enumerate(names, start=1)
    ]


def known_providers(services: WebServices) -> list[str]:
    """Return the names of the configured providers."""
    return list(dict.fromkeys(n for names in services.provider_names.values() for n in names))


def check_provider(services: WebServices, name: str) -> None:
    """Raise InvalidRequestError if the settings do not list it."""
    known = known_providers(services)
    if name not in known:
        raise InvalidRequestError(f"there is no provider {name!r}; there are {', '.join(known)}")


def send_test(
    services: WebServices, name: str, recipient: Recipient, *, language: str, by: str
) -> Trial:
    """Send one test message now, once; it is audited.

    Raises:
        InvalidRequestError, RecipientSuppressedError, CountryNotAllowedError: nothing was sent.
    """
    check_provider(services, name)
    channel = recipient.channel
    if name not in services.provider_names[channel]:
        raise InvalidRequestError(f"{name} does not carry {channel}; give an address it writes to")
    if services.suppressions.find(recipient):
        raise RecipientSuppressedError
    check_country(recipient, services.sms_regions)
    provider = PROVIDERS[channel, name](services.settings)
    message = _message(services, recipient, services.languages.choose(language))
    began = time.monotonic()
    try:
        receipt = provider.send(message)
        facts = {"provider_message_id": receipt.provider_message_id}
        outcome, error = Outcome.ACCEPTED, None
    except ProviderError as failure:
        facts, outcome, error = {}, _outcome(failure), failure
    took_ms = round((time.monotonic() - began) * 1000)
    act = Act(by=by, action="provider.test", target=name, reason=outcome.value)
    services.audit.record(act)
    return Trial(
        provider=name,
        recipient=recipient,
        outcome=outcome,
        reason=error.reason if error else None,
        detail=error.detail if error else None,
        duration_ms=took_ms,
        **facts,
    )


def resume(services: WebServices, name: str, why: AuditReason) -> bool:
    """Lift a provider's pause, and half-open its circuit at once.

    Return False if it is neither paused nor its circuit open.
    """
    check_provider(services, name)
    is_paused = any(p.scope is Scope.PROVIDER and p.name == name for p in services.pauses.all())
    is_open = services.circuits.read([name])[name].state is CircuitState.OPEN
    if is_paused:
        services.pauses.resume(Scope.PROVIDER, name, by=why.by, reason=why.reason)
    if is_open:
        services.audit.record(Act(by=why.by, action="provider.try", target=name, reason=why.reason))
        services.circuits.allow_probe(name)
    return is_paused or is_open


def _outcome(error: ProviderError) -> Outcome:
    match error:
        case AccountProviderError():
            return Outcome.ACCOUNT
        case PermanentProviderError():
            return Outcome.PERMANENT
        case DoubtfulProviderError():
            return Outcome.DOUBT
        case _:
            return Outcome.TRANSIENT


def _message(services: WebServices, recipient: Recipient, language: str) -> Message:
    test_id = f"test-{secrets.token_hex(8)}"
    say, settings = services.languages.say, services.settings
    if recipient.channel is Channel.SMS:
        return Sms(test_id, recipient, say(language, "sms.test"), validity_seconds=600)
    text = say(language, "provider_test.text")
    domain = settings.email_from.rpartition("@")[2]
    return Email(
        reset_id=test_id,
        recipient=recipient,
        from_address=settings.email_from,
        from_name=settings.email_from_name,
        subject=say(language, "provider_test.subject"),
        text=f"{text}\n",
        html=f"<p>{text}</p>",
        message_id=f"<{test_id}@{domain}>",
        language=language,
    )
