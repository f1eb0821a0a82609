"""Show the providers to an operator, pause and resume one, send a test message."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    InvalidRequestError,
    PermanentProviderError,
    ProviderError,
    RecipientSuppressedError,
)
from shared.languages import direction
from shared.models import Channel, Email, Message, Outcome, Recipient, Sms
from shared.policies import check_country, check_line
from shared.providers.callbacks import has_callbacks
from shared.providers.registry import PROVIDERS, AnyProvider
from shared.store.admin.audit import Act
from shared.store.admin.circuits import Circuit, CircuitState
from shared.store.admin.pauses import Pause, Scope
from shared.store.admin.statistics import LAST_CALLBACK, RecentCounts
from shared.store.resets import DURATION_BUCKETS_MS
from shared.validation import moment
from web.admin.actions import AuditReason, known_providers
from web.services import WebServices

MINUTE_SECONDS, WINDOW_SECONDS = 60, 300
# A permanent refusal is about the recipient, and no error of the provider.
BAD = (Outcome.TRANSIENT, Outcome.ACCOUNT, Outcome.DOUBT)


@dataclass(frozen=True, slots=True)
class Activity:
    """The counts of the last minute, of the last five, and of all time."""

    minute: RecentCounts | None  # None: there is no sample yet
    window: RecentCounts | None
    totals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """A provider of a channel, and the outcomes of its calls in the last five minutes."""

    name: str
    channel: Channel
    place: int  # in the configured order, from 1
    circuit: Circuit
    pause: Pause | None
    calls: int | None = None
    error_rate: float | None = None  # 0 to 1
    refusal_rate: float | None = None  # 0 to 1, of permanent refusals: normal while rare
    p95_ms: int | None = None  # an upper bound
    reportable: int = 0  # messages accepted at least a minute ago: callbacks should have come
    callbacks: int = 0
    refused_callbacks: int = 0
    last_callback_at: datetime | None = None  # a genuine one, however long ago
    has_callbacks: bool = False  # it calls back and can prove that it does


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


def read_activity(services: WebServices) -> Activity:
    """Return what was counted lately.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    minute, window = services.samples.recent(MINUTE_SECONDS, WINDOW_SECONDS)
    return Activity(minute, window, services.counters.totals())


def load_providers(services: WebServices, activity: Activity) -> list[ProviderView]:
    """Return every provider of every channel, in the operator's order."""
    circuits = services.circuits.read(known_providers(services))
    pauses = {each.name: each for each in services.pauses.all() if each.scope is Scope.PROVIDER}
    return [
        ProviderView(
            name=name,
            channel=channel,
            place=place,
            circuit=circuits[name],
            pause=pauses.get(name),
            has_callbacks=has_callbacks(services.settings, name),
            **_figures(services, name, activity),
        )
        for channel, names in services.provider_names.items()
        for place, name in enumerate(names, start=1)
    ]


def _figures(services: WebServices, name: str, activity: Activity) -> dict[str, Any]:
    """Return the counted fields of a view."""
    last_ms = activity.totals.get(f"{LAST_CALLBACK}{name}")
    figures: dict[str, Any] = {"last_callback_at": moment(last_ms) if last_ms else None}
    if activity.window is None or activity.minute is None:
        return figures
    counts, before = activity.window.counts, f"p:{name}:"
    by_name = {n.removeprefix(before): v for n, v in counts.items() if n.startswith(before)}
    by_outcome = {outcome: by_name.get(f"{outcome}:n", 0) for outcome in Outcome}
    just_taken = activity.minute.counts.get(f"{before}accepted:n", 0)
    calls, bad = sum(by_outcome.values()), sum(by_outcome[outcome] for outcome in BAD)
    return figures | {
        "calls": calls,
        "error_rate": bad / calls if calls else None,
        "refusal_rate": by_outcome[Outcome.PERMANENT] / calls if calls else None,
        "p95_ms": _p95_ms(
            by_name, slowest_ms=round(services.settings.provider_timeout_seconds * 1000)
        ),
        "reportable": by_outcome[Outcome.ACCEPTED] - just_taken,
        "callbacks": counts.get(f"cb:{name}:received", 0),
        "refused_callbacks": counts.get(f"cb:{name}:refused", 0),
    }


def _p95_ms(by_name: Mapping[str, int], *, slowest_ms: int) -> int | None:
    """Return the upper bound of the bucket that holds the 95th percentile."""
    buckets = [
        (bound, sum(by_name.get(f"{outcome}:b{bound}", 0) for outcome in Outcome))
        for bound in DURATION_BUCKETS_MS
    ]
    buckets.append((slowest_ms, sum(by_name.get(f"{outcome}:binf", 0) for outcome in Outcome)))
    total, running = sum(number for _, number in buckets), 0
    for bound, number in buckets:
        running += number
        if total and running >= total * 0.95:
            return min(bound, slowest_ms)
    return None


def check_provider(services: WebServices, name: str) -> None:
    """Raise InvalidRequestError if the settings do not list it."""
    known = known_providers(services, name)
    if name not in known:
        raise InvalidRequestError(f"there is no provider {name!r}; there are {', '.join(known)}")


def send_test(
    services: WebServices,
    name: str,
    recipient: Recipient,
    *,
    language: str,
    by: str,
    reason: str = "",
) -> Trial:
    """Send one test message now, once; it is audited.

    Raises:
        InvalidRequestError, RecipientSuppressedError, CountryNotAllowedError, LineTypeError:
            nothing was sent.
    """
    check_provider(services, name)
    channel = recipient.channel
    if name not in services.provider_names[channel]:
        raise InvalidRequestError(f"{name} does not carry {channel}; give an address it writes to")
    check_may_try(services, recipient, services.sms_regions)
    provider = PROVIDERS[channel, name](services.settings)
    act = Act(by=by, action="provider.test", target=name, reason=reason)
    with services.audit.acting(act) as ending:
        trial = try_message(provider, _message(services, recipient, language))
        if trial.outcome is not Outcome.ACCEPTED:
            ending["outcome"] = f"failed: {trial.reason or trial.outcome}"
    return trial


def check_may_try(
    services: WebServices, recipient: Recipient, regions: frozenset[str] | None
) -> None:
    """Raise RecipientSuppressedError or CountryNotAllowedError if nothing may be sent to it."""
    if services.suppressions.find(recipient):
        raise RecipientSuppressedError
    check_country(recipient, regions)
    check_line(recipient, services.settings.sms_allow_lines)


def try_message(provider: AnyProvider, message: Message) -> Trial:
    """Send a message by a provider, once, and close it."""
    began = time.monotonic()
    try:
        receipt = provider.send(message)
        values = {"provider_message_id": receipt.provider_message_id}
        outcome, error = Outcome.ACCEPTED, None
    except ProviderError as failure:
        values, outcome, error = {}, _outcome(failure), failure
    finally:
        provider.close()
    took_ms = round((time.monotonic() - began) * 1000)
    return Trial(
        provider=provider.name,
        recipient=message.recipient,
        outcome=outcome,
        reason=error.reason if error else None,
        detail=error.detail if error else None,
        duration_ms=took_ms,
        **values,
    )


def resume(services: WebServices, name: str, why: AuditReason) -> bool:
    """Lift a provider's pause, and half-open its circuit at once.

    Return False if it is neither paused nor its circuit open.
    """
    check_provider(services, name)
    is_paused = any(p.scope is Scope.PROVIDER and p.name == name for p in services.pauses.all())
    is_open = services.circuits.read([name])[name].state is CircuitState.OPEN
    if is_paused:
        with services.audit.acting(why.act("provider.resume", name)):
            services.pauses.resume(Scope.PROVIDER, name, by=why.by, reason=why.reason)
    if is_open:
        with services.audit.acting(why.act("provider.try", name)):
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
    test_id, language = f"test-{secrets.token_hex(8)}", services.languages.choose(language)
    translate, settings = services.languages.translate, services.settings
    if recipient.channel is Channel.SMS:
        text = translate(language, "sms.test")
        return Sms(test_id, recipient, text, from_name=settings.email_from_name, language=language)
    text = translate(language, "provider_test.text")
    domain = settings.email_from.rpartition("@")[2]
    return Email(
        reset_id=test_id,
        recipient=recipient,
        from_address=settings.email_from,
        from_name=settings.email_from_name,
        subject=translate(language, "provider_test.subject"),
        text=f"{text}\n",
        html=f'<p lang="{language}" dir="{direction(language)}">{text}</p>',
        message_id=f"<{test_id}@{domain}>",
        language=language,
    )
