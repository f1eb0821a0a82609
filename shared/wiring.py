"""Build the services from settings; tests pass fakes instead."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from shared.codes import CodeBook
from shared.directories import Directory
from shared.directories.gate import OutsideDirectory
from shared.directories.registry import build_directory
from shared.errors import SettingsError, StoreUnavailableError
from shared.languages import Languages
from shared.models import Channel, Queue
from shared.passwords.breaches import LeakedPasswords
from shared.policies import allowed_regions
from shared.settings import Settings
from shared.store.admin.audit import AuditStore
from shared.store.admin.circuits import CircuitStore
from shared.store.admin.erasures import ErasureStore
from shared.store.admin.pauses import PauseStore
from shared.store.admin.prefixes import PrefixStore
from shared.store.admin.refusals import RefusalStore
from shared.store.admin.statistics import CounterStore, SampleStore, ServerStore
from shared.store.batches import BatchStore
from shared.store.batches.lists import BatchLists
from shared.store.batches.resets import BatchResets
from shared.store.callers import CallerStore
from shared.store.codes import CodeStore
from shared.store.connection import Client, connect
from shared.store.digests import Digests
from shared.store.due_sets import DueStore, WaitingStore
from shared.store.forgot import ForgotStore
from shared.store.history import HistoryStore
from shared.store.idempotency import IdempotencyStore
from shared.store.limits import LimitStore
from shared.store.organisations.profiles import ProfileStore
from shared.store.organisations.senders import SenderStore
from shared.store.receipts import ReceiptStore
from shared.store.resets import ResetStore
from shared.store.scripts import NamedCall, check_durability
from shared.store.suppressions import SuppressionStore
from shared.store.webhooks.deliveries import WebhookStore
from shared.store.webhooks.subscriptions import SubscriptionStore

if TYPE_CHECKING:
    from redis.credentials import CredentialProvider

    from shared.queue import Hint

log = structlog.get_logger()


class Hints(Protocol):
    """Publishes hints to workers; hints may be lost."""

    def publish(self, hint: Hint) -> bool:
        """Publish a hint without waiting; never fail; return False if it is surely lost."""

    def call(self, hint: Hint) -> NamedCall | None:
        """Return the script that publishes a hint; None where `publish` must."""

    def is_connected(self) -> bool:
        """Return True if the broker answers now."""

    def is_failing(self) -> bool:
        """Return True from a failure to publish until a hint is published, or for a while."""

    def waiting(self, queue: Queue) -> int:
        """Return how many hints wait in the broker.

        Raises:
            BrokerAwayError: the broker does not answer.
        """

    def close(self) -> None:
        """Publish the waiting hints."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything a use case may need."""

    settings: Settings
    languages: Languages
    codes: CodeBook
    digests: Digests
    directory: Directory
    callers: CallerStore
    profiles: ProfileStore
    senders: SenderStore
    resets: ResetStore
    receipts: ReceiptStore
    code_store: CodeStore
    limits: LimitStore
    idempotency: IdempotencyStore
    suppressions: SuppressionStore
    dues: DueStore
    counters: CounterStore
    samples: SampleStore
    history: HistoryStore
    forgot: ForgotStore
    batches: BatchStore
    batch_lists: BatchLists
    batch_resets: BatchResets
    audit: AuditStore
    pauses: PauseStore
    prefixes: PrefixStore
    waiting: WaitingStore
    refusals: RefusalStore
    circuits: CircuitStore
    subscriptions: SubscriptionStore
    webhooks: WebhookStore
    erasures: ErasureStore
    server: ServerStore
    hints: Hints
    provider_names: dict[Channel, tuple[str, ...]]
    sms_regions: frozenset[str] | None
    leaked_passwords: LeakedPasswords | None


def connect_store(settings: Settings) -> Client:
    """Return a client of the store's server; it connects on first use.

    Raises:
        SettingsError: KEYTURN_REDIS_URL, …_CA_FILE or …_CREDENTIALS is wrong.
    """
    ca_file, name = settings.redis_ca_path, settings.redis_credentials
    if ca_file and not os.access(ca_file, os.R_OK):
        raise SettingsError("KEYTURN_REDIS_CA_PATH: must be a file that can be read")
    if ca_file and not settings.server_url.startswith("rediss"):
        raise SettingsError("KEYTURN_REDIS_CA_PATH: needs a KEYTURN_REDIS_URL with TLS: rediss://…")
    credentials = _credentials(name) if name else None
    try:
        return connect(settings.server_url, ca_file=ca_file, credentials=credentials)
    except (TypeError, ValueError):  # the error's text may contain the password
        raise SettingsError(
            "KEYTURN_REDIS_URL: must look like redis://host:6379/0, rediss://…, unix:///path, "
            "redis+sentinel://host1,host2,host3/name or redis+cluster://host1,host2,host3"
        ) from None


def _credentials(name: str) -> CredentialProvider:
    """Return what `package.module:name` makes: redis-py asks it at every new connection."""
    module, _, attribute = name.partition(":")
    try:
        made: CredentialProvider = getattr(importlib.import_module(module), attribute)()
        made.get_credentials  # noqa: B018
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingsError(
            "KEYTURN_REDIS_CREDENTIALS: must be package.module:Name of a class that can be "
            "imported and has get_credentials() -> (user, password)"
        ) from error
    return made


def build_services(settings: Settings, *, client: Client, hints: Hints) -> Services:
    """Build the services over one Redis client.

    Raises:
        SettingsError: there are no secret keys.
    """
    if not settings.secret_keys:
        raise SettingsError(
            "KEYTURN_SECRET_KEYS is not set and the data directory holds no secret_keys; "
            "`keyturn up` writes them, or make one with `openssl rand -hex 32`"
        )
    digests = Digests(client, settings.secret_keys)
    resets = ResetStore(client, digests, settings)
    return Services(
        settings=settings,
        languages=Languages(),
        codes=CodeBook(settings.secret_keys),
        digests=digests,
        directory=build_directory(settings, client, digests),
        callers=CallerStore(client, digests),
        profiles=ProfileStore(client, digests, settings.durability),
        senders=SenderStore(client, digests, settings.durability),
        resets=resets,
        receipts=ReceiptStore(client, settings),
        code_store=CodeStore(client, digests, settings),
        limits=LimitStore(client),
        idempotency=IdempotencyStore(client, digests, settings.durability),
        suppressions=SuppressionStore(client, digests),
        dues=DueStore(client),
        counters=CounterStore(client),
        samples=SampleStore(client, CounterStore(client)),
        history=HistoryStore(client, keep_seconds=settings.record_lifetime_seconds),
        forgot=ForgotStore(client, digests, settings),
        batches=BatchStore(client, settings),
        batch_lists=BatchLists(client, digests),
        batch_resets=BatchResets(client, digests, resets),
        audit=_audit(client, digests, settings),
        pauses=PauseStore(client),
        prefixes=PrefixStore(client),
        waiting=WaitingStore(client),
        refusals=RefusalStore(client, digests, settings),
        circuits=CircuitStore(client, sole_providers=_sole_providers(settings)),
        subscriptions=SubscriptionStore(
            client, digests, keep_seconds=settings.webhook_lifetime_seconds
        ),
        erasures=ErasureStore(client, digests),
        webhooks=WebhookStore(client),
        server=ServerStore(client),
        hints=hints,
        provider_names={
            Channel.EMAIL: settings.email_providers,
            Channel.SMS: settings.sms_providers,
        },
        sms_regions=_sms_regions(settings),
        leaked_passwords=LeakedPasswords(settings.password_range_url, CounterStore(client))
        if settings.password_range_url
        else None,
    )


def _audit(client: Client, digests: Digests, settings: Settings) -> AuditStore:
    return AuditStore(
        client,
        digests,
        settings.durability,
        max_kept=settings.audit_max_entries,
        keep_seconds=settings.audit_lifetime_seconds,
    )


def _sole_providers(settings: Settings) -> frozenset[str]:
    """Return the providers that are the only one of their channel."""
    channels = (settings.email_providers, settings.sms_providers)
    return frozenset(names[0] for names in channels if len(names) == 1)


def _sms_regions(settings: Settings) -> frozenset[str] | None:
    providers, accounts = settings.sms_providers, settings.twilio_accounts
    senders = [each.from_ for each in accounts if each.provider in providers]
    return allowed_regions(settings.sms_countries, senders, providers)


def check_server(settings: Settings) -> None:
    """Raise an error if the server cannot provide KEYTURN_DURABILITY, or the keys are not its own.

    Raises:
        SettingsError: it cannot, or no key opens what it has sealed; a server that does not answer
            is not an error.
    """
    with connect_store(settings) as client:
        check_durability(client, settings.durability)
        check_keys(Digests(client, settings.secret_keys))


def check_directory(settings: Settings) -> None:
    """Raise an error if the application's users cannot be read as the settings say.

    Raises:
        SettingsError: a table, a column or a statement is wrong; a directory that does not answer
            is not an error.
    """
    with connect_store(settings) as client:
        digests = Digests(client, settings.secret_keys)
        directory = build_directory(settings, client, digests)
        if isinstance(directory, OutsideDirectory):
            found = list(directory.inspect())
            directory.close()  # before this process is forked
            for each in found:
                if each.level == "error":
                    raise SettingsError(f"KEYTURN_DIRECTORY={settings.directory}: {each.text}")


def check_keys(digests: Digests) -> None:
    """Raise an error if the secret keys are not those of this store.

    Raises:
        SettingsError: no key opens what the store has sealed; a store that does not answer is not
            an error.
    """
    try:
        digests.digest("start", "")
    except StoreUnavailableError:
        log.warning("store.unavailable", during="start")
