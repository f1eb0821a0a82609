"""Build organisations' own providers and the readers of their callbacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import quote

from cachetools import TTLCache

from shared.models import Channel
from shared.organisations.sender import Account, Route, own_name
from shared.organisations.sender_checks import FACTS
from shared.providers.callbacks import TWILIO_PATH, CallbackReader
from shared.providers.registry import PROVIDERS, READERS, AnyProvider, HttpProvider, Smtp, Twilio
from shared.settings import Gateway, Settings, TwilioAccount
from shared.store.organisations.senders import SenderStore
from shared.webhooks import is_public

MAX_BUILT = 1024  # routes of organisations whose providers are kept
KEEP_SECONDS = 60.0  # since their last use, with their idle connections


@dataclass(frozen=True, slots=True)
class AccountBuilder:
    """Builds what sends by an organisation's account, and what reads its callbacks."""

    settings: Settings
    org_id: str
    channel: Channel
    unseal: Callable[[str], str]

    def providers(self, route: Route) -> list[AnyProvider]:
        """Return the organisation's own providers, in order."""
        return [self._provider(name, route.accounts[name]) for name in route.providers]

    def _provider(self, name: str, account: Account) -> AnyProvider:
        settings = self._applied(name, account)
        timeout_seconds = settings.provider_timeout_seconds
        may_reach = None if settings.webhook_allow_private else is_public
        match name:
            case "sendgrid":
                provider: AnyProvider = PROVIDERS[Channel.EMAIL, name](settings)
            case "smtp":
                provider = Smtp(settings, may_reach=may_reach)
            case "twilio":
                provider = Twilio(
                    settings.twilio_accounts[0],
                    timeout_seconds=timeout_seconds,
                    callback_path=_twilio_path(self.org_id),
                )
            case _:
                provider = HttpProvider(
                    self.channel,
                    settings.gateways[0],
                    timeout_seconds=timeout_seconds,
                    may_reach=may_reach,
                )
        provider.name = own_name(self.org_id, self.channel, name)
        return provider

    def reader(self, name: str, account: Account) -> CallbackReader:
        """Return the reader of an account's callbacks."""
        settings = self._applied(name, account)
        options = {"path": _twilio_path(self.org_id)} if name == "twilio" else {}
        return READERS[name](settings, **options)

    def _applied(self, name: str, account: Account) -> Settings:
        """Return the installation's settings with this account in place of its own."""
        fields: dict[str, Any] = {}
        for key, found in account.items():
            fact = FACTS[name][key]
            texts = tuple(self.unseal(v.text) if fact.is_secret else v.text for v in found)
            fields[_setting(key)] = texts if fact.most > 1 else texts[0]
        match name:
            case "twilio":
                api_url = self.settings.twilio_account("twilio").api_url
                return replace(
                    self.settings, twilio_accounts=(TwilioAccount(**fields, api_url=api_url),)
                )
            case "http":
                return replace(self.settings, gateways=(Gateway(**fields),))
            case _:
                own = {f"{name}_{field}": value for field, value in fields.items()}
                return replace(self.settings, **{"sendgrid_webhook_public_key": ()} | own)


def _setting(key: str) -> str:
    return "from_" if key == "from" else re.sub("(?=[A-Z])", "_", key).lower()


def _twilio_path(org_id: str) -> str:
    return f"{TWILIO_PATH}/{quote(org_id, safe='')}"


class OwnProviders:
    """Organisations' own providers, built at the first use; any number of threads may share it."""

    def __init__(self, settings: Settings, senders: SenderStore) -> None:
        """Build nothing."""
        self._settings, self._senders = settings, senders
        # A call under way keeps what is dropped here; its connections close with it.
        self._built: TTLCache[tuple[str, Channel], tuple[Route, list[AnyProvider]]] = TTLCache(
            MAX_BUILT, KEEP_SECONDS
        )
        self._lock = Lock()

    def of(self, org_id: str, channel: Channel, route: Route) -> list[AnyProvider]:
        """Return the providers of a route, in order; the same while nothing changes.

        Raises:
            StoreUnavailableError: the key of the secrets cannot be read.
        """
        with self._lock:
            known, providers = self._built.get((org_id, channel), (None, []))
            if known != route:
                for each in providers:
                    each.close()
                unseal = partial(self._senders.unseal, org_id)
                builder = AccountBuilder(self._settings, org_id, channel, unseal)
                providers = builder.providers(route)
            self._built[org_id, channel] = route, providers  # for another minute
            return providers
