"""What an operator sees of the providers, and a test message by one of them."""

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
from shared.store.audit import Act
from shared.store.circuits import Circuit, CircuitState
from shared.store.pauses import Pause, Scope
from web.house import House
from web.levers import Why


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """A provider as it stands on a channel."""

    name: str
    channel: Channel
    place: int  # in the operator's order, from 1
    circuit: Circuit
    weight: int | None
    pause: Pause | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a test message."""

    provider: str
    recipient: Recipient
    outcome: Outcome
    reason: str | None = None
    detail: str | None = None
    provider_message_id: str | None = None
    duration_ms: int


def look_at_providers(house: House) -> list[ProviderView]:
    """Every provider of every channel, in the operator's order."""
    circuits = house.circuits.look(known_providers(house))
    pauses = {each.name: each for each in house.pauses.all() if each.scope is Scope.PROVIDER}
    weights = house.weights.all()
    return [
        ProviderView(
            name=name,
            channel=channel,
            place=place,
            circuit=circuits[name],
            weight=weights.get(name),
            pause=pauses.get(name),
        )
        for channel, names in house.provider_names.items()
        for place, name in enumerate(names, start=1)
    ]


def known_providers(house: House) -> list[str]:
    """The names of those the settings list."""
    return list(dict.fromkeys(n for names in house.provider_names.values() for n in names))


def check_provider(house: House, name: str) -> None:
    """Nothing, when the settings list it.

    Raises:
        InvalidRequestError: they do not.
    """
    known = known_providers(house)
    if name not in known:
        raise InvalidRequestError(f"there is no provider {name!r}; there are {', '.join(known)}")


def send_test(house: House, name: str, recipient: Recipient, *, language: str, by: str) -> Trial:
    """Hand one test message over, now and once; it stands in the audit trail.

    Raises:
        InvalidRequestError, RecipientSuppressedError, CountryNotAllowedError: nothing was sent.
    """
    check_provider(house, name)
    channel = recipient.channel
    if name not in house.provider_names[channel]:
        raise InvalidRequestError(f"{name} does not carry {channel}; give an address it writes to")
    if house.suppressions.find(recipient):
        raise RecipientSuppressedError
    check_country(recipient, house.sms_regions)
    provider = PROVIDERS[channel, name](house.settings)
    message = _message(house, recipient, house.languages.choose(language))
    began = time.monotonic()
    try:
        receipt = provider.send(message)
        facts = {"provider_message_id": receipt.provider_message_id}
        outcome, error = Outcome.ACCEPTED, None
    except ProviderError as failure:
        facts, outcome, error = {}, _outcome(failure), failure
    took_ms = round((time.monotonic() - began) * 1000)
    act = Act(by=by, action="provider.test", target=name, reason=outcome.value)
    house.audit.record(act)
    return Trial(
        provider=name,
        recipient=recipient,
        outcome=outcome,
        reason=error.reason if error else None,
        detail=error.detail if error else None,
        duration_ms=took_ms,
        **facts,
    )


def resume(house: House, name: str, why: Why) -> bool:
    """Call a provider again: its pause is lifted, an open circuit may be tried at once.

    False when it was neither paused nor left alone.
    """
    check_provider(house, name)
    is_paused = any(p.scope is Scope.PROVIDER and p.name == name for p in house.pauses.all())
    is_open = house.circuits.look([name])[name].state is CircuitState.OPEN
    if is_paused:
        house.pauses.resume(Scope.PROVIDER, name, by=why.by, reason=why.reason)
    if is_open:
        house.audit.record(Act(by=why.by, action="provider.try", target=name, reason=why.reason))
        house.circuits.let_try(name)
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


def _message(house: House, recipient: Recipient, language: str) -> Message:
    test_id = f"test-{secrets.token_hex(8)}"
    say, settings = house.languages.say, house.settings
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
