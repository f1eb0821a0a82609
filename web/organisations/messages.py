"""Show an organisation's messages before anyone gets them, and send a test as they are sent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from shared import validation
from shared.codes import Code
from shared.errors import IdentifierError, InvalidRequestError
from shared.gsm7 import segments
from shared.messages.rendering import MessageRenderer
from shared.messages.samples import sample_reset
from shared.models import Channel, Email, Message, Organisation, Outcome, Recipient, User
from shared.organisations.profile import Profile
from shared.organisations.providers import AccountBuilder
from shared.policies import route_of, sms_regions
from shared.providers.registry import PROVIDERS, AnyProvider
from shared.store.admin.pauses import Scope
from shared.store.limits import Limit
from web.admin.actions import AuditReason
from web.admin.providers import Trial, check_may_try, try_message
from web.organisations import service
from web.services import WebServices

NAMES: Mapping[str, str] = {  # of the person in a preview
    "usual": "Ada Lovelace",
    "long": "Maximiliane Alexandra von Hohenstaufen-Weißenburg-Brandenburg",
    "foreign": "さくら 田中",
    "none": "",
}
OTHER_FOREIGN = "Ольга Петренко"  # where さくら is not
SAMPLE_CODE = Code("ABCD2345", "ABCD2345ABCD2345ABCD")
SAMPLE_RECIPIENTS = {
    Channel.EMAIL: Recipient(Channel.EMAIL, "ada@example.com"),
    Channel.SMS: Recipient(Channel.SMS, "+41790000000"),
}
MAX_TESTS, TESTS_WINDOW_SECONDS = 20, 3600  # of an organisation
DARK_QUERY = re.compile(r"\(prefers-color-scheme: dark\)")


def preview(
    services: WebServices,
    profile: Profile,
    *,
    channel: str = "email",
    language: str | None = None,
    name: str = "usual",
) -> dict[str, Any]:
    """Return what goes out, with a sample code, as PreviewSchema has it.

    Raises:
        InvalidRequestError: there is no such channel or name.
        ProfileError: the language is not supported.
    """
    for what, given, known in (("channel", channel, [*Channel]), ("name", name, [*NAMES])):
        if given not in known:
            raise InvalidRequestError(f"{what}: must be one of {', '.join(known)}")
    language, settings = _language(services, profile, language), services.settings
    unfilled: list[str] = []
    renderer = MessageRenderer(
        settings, services.languages, lambda _org_id, _language, key: unfilled.append(key)
    )
    shown_name = OTHER_FOREIGN if name == "foreign" and language == "ja" else NAMES[name]
    message = renderer.render_reset(
        sample_reset(settings, profile.org_id, language, Channel(channel)),
        User("sample", profile.org_id, display_name=shown_name),
        SAMPLE_RECIPIENTS[Channel(channel)],
        profile,
        SAMPLE_CODE,
        seconds_left=settings.lifetime_seconds(Channel(channel)),
    )
    shown = {
        "org_id": profile.org_id,
        "language": language,
        "channel": channel,
        "name": name,
        "text_version": service.find_text(services, profile, language).version,
        "unfilled": sorted(unfilled),
    }
    if isinstance(message, Email):
        return shown | {
            "sender": f"{message.from_name} <{message.from_address}>",
            "reply_to": message.reply_to or None,
            "subject": message.subject,
            "text": message.text,
            "html": message.whole_html,
        }
    number, encoding = segments(message.body)
    prices = {region: round(price * number, 6) for region, price in settings.sms_prices}
    return shown | {
        "text": message.body,
        "segments": number,
        "encoding": encoding,
        "price": prices,
        "currency": settings.sms_currency if prices else None,
    }


def _language(services: WebServices, profile: Profile, wanted: str | None) -> str:
    """Return the language of a sample: as wanted, else that of people who wish for none of ours."""
    if wanted:
        return service.find_text(services, profile, wanted).language
    branding = profile.branding
    return services.languages.choose(allowed=branding.languages, default=branding.language)


def read_address(text: str) -> Recipient:
    """Return the recipient of an e-mail address or a phone number.

    Raises:
        IdentifierError: it is neither.
    """
    is_email = "@" in text
    try:
        address = validation.email(text) if is_email else validation.phone(text)
    except ValueError as error:
        raise IdentifierError(f"to: {error}") from None
    return Recipient(Channel.EMAIL if is_email else Channel.SMS, address)


def in_mode(html: str, mode: str) -> str:
    """Return a mail or page as a reader sees it who prefers `light` or `dark`."""
    query = "all" if mode == "dark" else "not all"
    return DARK_QUERY.sub(query, html).replace("color-scheme: light dark", f"color-scheme: {mode}")


def send_test(
    services: WebServices,
    profile: Profile,
    recipient: Recipient,
    why: AuditReason,
    *,
    language: str | None = None,
) -> list[Trial]:
    """Send a test by the providers in their order until one takes it; return each call.

    It goes the way of a person's message: the organisation's look and From, its own providers and
    those it falls back to, but for the ones that are paused.

    Raises:
        InvalidRequestError: a pause stops all that the organisation sends, or no provider is left.
        RecipientSuppressedError, CountryNotAllowedError, TooManyRequestsError: nothing was sent.
        ProfileError: the language is not supported.
    """
    org_id, channel = profile.org_id, recipient.channel
    language = _language(services, profile, language)
    organisation = services.callers.find_organisation(org_id)
    paused = _check_pauses(services, org_id, channel)
    check_may_try(services, recipient, sms_regions(organisation, services.sms_regions))
    limit = Limit("test_messages", org_id, MAX_TESTS, TESTS_WINDOW_SECONDS)
    services.limits.count_change([limit], version=-1)
    message = _render_test(services, profile, recipient, language)
    trials: list[Trial] = []
    with services.audit.acting(why.act("organisation.send_test", org_id)) as ending:
        for provider in _carriers(services, organisation, channel):
            if provider.name not in paused:
                trials.append(try_message(provider, message))
                if trials[-1].outcome in (Outcome.ACCEPTED, Outcome.DOUBT):
                    break
        last = trials[-1] if trials else None
        if last is None or last.outcome is not Outcome.ACCEPTED:
            ending["outcome"] = f"failed: {last.reason if last else 'no provider'}"
    if not trials:
        raise InvalidRequestError(f"no provider carries {channel} now: none is set, or all paused")
    return trials


def _check_pauses(services: WebServices, org_id: str, channel: Channel) -> set[str]:
    """Return the names of the paused providers; raise if nothing goes out at all."""
    pauses = services.pauses.all()
    for pause in pauses:
        if (pause.scope, pause.name) in ((Scope.CHANNEL, channel), (Scope.ORGANISATION, org_id)):
            raise InvalidRequestError(f"the {pause.scope} {pause.name} is paused by {pause.by}")
    return {pause.name for pause in pauses if pause.scope is Scope.PROVIDER}


def _carriers(
    services: WebServices, organisation: Organisation | None, channel: Channel
) -> Iterator[AnyProvider]:
    """Yield the providers that carry an organisation's messages, as worker/routing.py has them."""
    route = route_of(organisation, channel)
    if organisation and route:
        org_id = organisation.org_id
        unseal = partial(services.senders.unseal, org_id)
        yield from AccountBuilder(services.settings, org_id, channel, unseal).providers(route)
    if route is None or route.has_fallback:
        for name in services.provider_names[channel]:
            yield PROVIDERS[channel, name](services.settings)


def _render_test(
    services: WebServices, profile: Profile, recipient: Recipient, language: str
) -> Message:
    renderer = MessageRenderer(services.settings, services.languages)
    reset = sample_reset(
        services.settings,
        profile.org_id,
        language,
        recipient.channel,
        reset_id=f"test-{secrets.token_hex(8)}",
    )
    return renderer.render_test(reset, recipient, profile)
