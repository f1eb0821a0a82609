"""Read the settings from environment variables; refuse a wrong one with its remedy.

docs/configuration.md says what each means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from shared import validation
from shared.errors import SettingsError
from shared.guard import rules
from shared.policies import dial_region
from shared.settings import types
from shared.validation import MAX_PASSWORD_CHARACTERS

PREFIX = "KEYTURN_"
TWILIO_PROVIDERS = ("twilio", *(f"twilio-{number}" for number in range(2, 10)))
DURABILITIES = ("memory", "replica", "replica:2", "replica:3", "disk", "service")
DIRECTORIES = ("redis", "sql", "http")
HTTP_PROVIDERS = ("http", *(f"http-{number}" for number in range(2, 10)))
EMAIL_PROVIDERS = ("sendgrid", "smtp", *HTTP_PROVIDERS, "outbox")
SMS_PROVIDERS = (*TWILIO_PROVIDERS, *HTTP_PROVIDERS, "outbox")
# Former name → present one. Records may still hold the former.
RENAMED_PROVIDERS = {"twilio2": "twilio-2"}
CAPTCHAS = ("turnstile", "hcaptcha")  # those that a provider checks
SECRET_KEYS_FILE = "secret_keys"  # noqa: S105 - a file's name
# Variables of the tests, of deploy/haproxy.cfg, and those that Kubernetes sets for a service whose
# name begins with keyturn (beside KEYTURN_…_PORT=tcp://…, which its value tells).
NO_SETTING = re.compile(
    r"KEYTURN_(TEST_.+|CONTRACTS_DIR|CHECKOUT|WEB_SERVER|GRPC_SERVER"
    r"|PUBLIC_BIND|PUBLIC_SHOW_INTERNAL"
    r"|(.+_)?SERVICE_(HOST|PORT)(_.+)?|(.+_)?PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?)$"
)
LEASE_SLACK_SECONDS = 5.0
WITHOUT_BROKER = "memory://localhost/"
PASSWORD_NEEDS = ("lower", "upper", "number", "symbol")  # below 15 characters
WEBHOOK_DELAYS_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0, 86400.0)

ROLE_PERMISSIONS = types.role_permissions(
    "IAM_OWNER=user.read+user.write+user.delete+org.read+org.write+system.read+system.write,"
    "IAM_ORG_MANAGER=user.read+user.write,"
    "IAM_USER_MANAGER=user.read+user.write,IAM_LOGIN_CLIENT=user.read+user.write,"
    "ORG_OWNER=user.read+user.write+user.delete+org.read+org.write,"
    "ORG_USER_MANAGER=user.read+user.write+user.delete,"
    "ORG_SETTINGS_MANAGER=org.read+org.write,"
    "IAM_OWNER_VIEWER=user.read+org.read+system.read,ORG_OWNER_VIEWER=user.read+org.read"
)


def setting(parse: Callable[[str], Any], default: Any, *, is_secret: bool = False) -> Any:
    """Return a dataclass field with its parser; a secret is left out of the repr."""
    return field(default=default, metadata={"parse": parse}, repr=not is_secret)


def _parse_sms_providers(raw: str) -> tuple[str, ...]:
    for former in set(types.words(raw)) & set(RENAMED_PROVIDERS):
        name = RENAMED_PROVIDERS[former]
        raise ValueError(f"{former} is now called {name}; its settings begin with {_prefix(name)}")
    return types.names(SMS_PROVIDERS)(raw)


def _prefix(provider: str) -> str:
    """Return what the names of a provider's settings begin with."""
    return f"{PREFIX}{provider.upper().replace('-', '_')}_"


@dataclass(frozen=True, kw_only=True)
class TwilioAccount:
    """One Twilio account: KEYTURN_TWILIO_… is the first, KEYTURN_TWILIO_2_… the second."""

    provider: str = "twilio"  # the name in KEYTURN_SMS_PROVIDERS: twilio, twilio-2, …
    account_sid: str = setting(types.text, "")
    auth_token: tuple[str, ...] = setting(
        types.secrets, (), is_secret=True
    )  # any verifies callbacks
    api_key_sid: str = setting(types.text, "")  # sends; without it the auth token does
    api_key_secret: str = setting(types.text, "", is_secret=True)
    from_: str = setting(types.phone, "")  # E.164
    messaging_service_sid: str = setting(types.text, "")  # used instead of the sender number
    api_url: str = setting(types.provider_url, "https://api.twilio.com")
    risk_check: str = setting(types.one_of("enable", "disable"), "")  # empty: not sent
    max_price: float = setting(types.number, 0.0)  # 0: not sent

    @property
    def prefix(self) -> str:
        """Return what the names of this account's settings begin with."""
        return _prefix(self.provider)

    @property
    def login(self) -> tuple[str, str]:
        """User and secret: of the API key if there is one, else of the account."""
        if self.api_key_sid and self.api_key_secret:
            return self.api_key_sid, self.api_key_secret
        return self.account_sid, next(iter(self.auth_token), "")

    def missing(self) -> list[str]:
        """Return the settings without which this account cannot send."""
        has_login = self.auth_token or (self.api_key_sid and self.api_key_secret)
        needs = {
            "ACCOUNT_SID": self.account_sid,
            "API_KEY_SID and _SECRET, or _AUTH_TOKEN": has_login,
            "FROM or _MESSAGING_SERVICE_SID": self.from_ or self.messaging_service_sid,
        }
        return [self.prefix + name for name, value in needs.items() if not value]


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One HTTP gateway: KEYTURN_HTTP_… is the first, KEYTURN_HTTP_2_… the second."""

    provider: str = "http"  # the name in the lists of providers: http, http-2, …
    url: str = setting(types.https_url, "")
    secret: tuple[str, ...] = setting(
        types.signing_secrets, (), is_secret=True
    )  # all sign, any verifies reports

    def missing(self) -> list[str]:
        """Return the settings without which this gateway cannot be called."""
        prefix, needs = _prefix(self.provider), {"URL": self.url, "SECRET": self.secret}
        return [prefix + name for name, value in needs.items() if not value]


ACCOUNTS: tuple[tuple[type[TwilioAccount | Gateway], tuple[str, ...]], ...] = (
    (TwilioAccount, TWILIO_PROVIDERS),
    (Gateway, HTTP_PROVIDERS),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. The variable of a field is `KEYTURN_` and its name in upper case."""

    # Processes and where they listen.
    host: str = setting(types.text, "127.0.0.1")
    port: int = setting(types.port, 8080)  # REST and pages
    grpc_port: int = setting(types.port, 8081)
    flower_port: int = setting(types.port, 5555)
    flower_basic_auth: tuple[str, ...] = setting(validation.logins, (), is_secret=True)
    flower_hosts: tuple[str, ...] = setting(types.hosts, ())  # beside its own names
    web_processes: int = setting(types.positive, 1)
    web_threads: int = setting(types.positive, 16)  # gRPC: at least 40
    worker_threads: int = setting(types.positive, 128)

    # Where data is stored; the default is the embedded server.
    data_dir: Path = setting(types.path, Path(".keyturn"))  # noqa: RUF009
    redis_url: str = setting(types.text, "", is_secret=True)
    redis_ca_path: str = setting(types.text, "")  # of an authority of one's own
    redis_credentials: str = setting(types.text, "")  # package.module:name, for tokens that expire
    broker_url: str = setting(types.broker_url, "", is_secret=True)
    sqs_region: str = setting(types.text, "")  # unset: as AWS's own variables say
    sqs_prefix: str = setting(types.sqs_prefix, "keyturn-")  # of the queues' names
    sqs_queues: tuple[tuple[str, str], ...] = setting(types.sqs_queues, ())  # urgent=https://…
    durability: str = setting(types.one_of(*DURABILITIES), "memory")
    secret_keys: tuple[str, ...] = setting(types.secret_keys, (), is_secret=True)
    directory: str = setting(types.one_of(*DIRECTORIES), "redis")
    directory_url: str = setting(
        types.text, "", is_secret=True
    )  # of the database, or the application
    directory_preset: str = setting(types.text, "")  # sql: django, devise, laravel, or a file
    directory_org: str = setting(types.org, "")  # of users whose row or answer names none
    directory_pepper: str = setting(types.text, "", is_secret=True)  # sql: Devise's
    directory_secret: str = setting(types.webhook_secret, "", is_secret=True)  # http
    directory_timeout_seconds: float = setting(types.positive_number, 2.0)  # of one call
    public_url: str = setting(types.url, "")  # unset: http://HOST:PORT

    # Providers, in order. The outbox is the default while neither channel has a real one.
    email_providers: tuple[str, ...] = setting(types.names(EMAIL_PROVIDERS), ("outbox",))
    sms_providers: tuple[str, ...] = setting(_parse_sms_providers, ("outbox",))
    unset_channels: tuple[str, ...] = ()  # those left without a provider, beside a real one
    email_from: str = setting(types.email, "no-reply@keyturn.example")
    email_from_name: str = setting(types.line, "Keyturn")
    sendgrid_api_key: str = setting(types.text, "", is_secret=True)
    sendgrid_api_url: str = setting(types.provider_url, "https://api.sendgrid.com")
    sendgrid_webhook_public_key: tuple[str, ...] = setting(types.webhook_public_keys, ())  # any
    twilio_accounts: tuple[TwilioAccount, ...] = ()  # those with an id, in use or not
    gateways: tuple[Gateway, ...] = ()  # those with a URL, in use or not
    smtp_url: str = setting(types.text, "", is_secret=True)
    smtp_ehlo_name: str = setting(types.ehlo_name, "")  # unset: the public URL's host
    provider_timeout_seconds: float = setting(types.positive_number, 10.0)  # of a whole call

    # Codes, and limits of how many are sent; a limit of 0 is off.
    code_lifetime_seconds: float = setting(types.positive_number, 3600.0)  # by e-mail
    sms_code_lifetime_seconds: float = setting(types.positive_number, 600.0)
    user_cooldown_seconds: float = setting(types.number, 60.0)
    user_limit_per_hour: int = setting(types.count, 5)
    user_limit_per_day: int = setting(types.count, 10)
    page_limit_per_hour: int = setting(types.count, 2)  # fewer than a user's live codes
    org_limit_per_minute: int = setting(types.count, 3000)
    caller_limit_per_minute: int = setting(types.count, 6000)
    sms_budget_per_day: int = setting(types.count, 0)
    forgot_hosts: tuple[tuple[str, str], ...] = setting(types.forgot_hosts, ())  # HOST=org,*=org
    forgot_shared_address: str = setting(types.one_of("each", "list"), "each")
    forgot_captcha: str = setting(types.one_of("off", *CAPTCHAS, "altcha"), "off")
    forgot_captcha_site_key: str = setting(types.text, "")
    forgot_captcha_secret: str = setting(types.text, "", is_secret=True)
    forgot_captcha_url: str = setting(types.provider_url, "")  # unset: the provider's own
    phone_region: str = setting(types.region, "")  # of numbers typed without their country
    link_hosts: tuple[str, ...] = setting(types.hosts, ())
    allow_unverified: bool = setting(types.boolean, False)
    sms_countries: tuple[str, ...] = setting(types.countries, ())  # empty: of the sender numbers
    sms_prices: tuple[tuple[str, float], ...] = setting(types.prices, ())  # CH=0.07,DE=0.08,*=0.10
    sms_currency: str = setting(types.line, "EUR")
    sms_max_segments: int = setting(types.count, 0)  # of own texts; 0: of the built-in one
    sms_budgets: tuple[rules.Budget, ...] = setting(rules.parse_budgets, ())
    sms_guard: tuple[tuple[str, str], ...] = setting(rules.parse_levels, rules.DEFAULT_LEVELS)
    sms_guard_numbers: int = setting(types.positive, 12)  # open in an hour, of a country
    sms_allow_lines: tuple[str, ...] = setting(types.names(rules.LINES), ())
    password_min_characters: int = setting(types.password_length, 8)
    password_needs: tuple[str, ...] = setting(types.names(PASSWORD_NEEDS), PASSWORD_NEEDS)
    password_range_url: str = setting(types.https_url, "")  # empty: no look-up of leaked ones

    # Delivery.
    retry_delays_seconds: tuple[float, ...] = setting(types.numbers, ())  # unset: by channel
    lease_seconds: float = setting(types.positive_number, 60.0)
    sweep_seconds: float = setting(types.positive_number, 0.5)
    doubt_seconds: float = setting(types.number, 0.0)  # unset: 30 for e-mail, 20 for SMS
    email_on_doubt: str = setting(types.one_of("resend", "hold"), "resend")
    sms_on_doubt: str = setting(types.one_of("resend", "hold"), "resend")
    offer_other_channel: bool = setting(types.boolean, False)
    record_lifetime_seconds: float = setting(types.positive_number, 259200.0)
    refusal_lifetime_seconds: float = setting(types.number, 0.0)  # 0: as records
    audit_max_entries: int = setting(types.positive, 100_000)  # of each of the two streams
    audit_lifetime_seconds: float = setting(types.number, 0.0)  # 0: by number alone
    webhook_lifetime_seconds: float = setting(types.positive_number, 1209600.0)
    outbox_max_files: int = setting(types.positive, 1000)
    outbox_lifetime_seconds: float = setting(types.number, 0.0)  # 0: by number alone
    webhook_delays_seconds: tuple[float, ...] = setting(types.numbers, WEBHOOK_DELAYS_SECONDS)
    webhook_allow_private: bool = setting(types.boolean, False)
    time_zone: str = setting(types.time_zone, "UTC")  # of times in messages

    # Who may do what.
    role_permissions: tuple[tuple[str, frozenset[str]], ...] = setting(
        types.role_permissions, ROLE_PERMISSIONS
    )
    oidc_issuer: str = setting(types.https_url, "")
    oidc_audience: str = setting(types.text, "")
    oidc_client_id: str = setting(types.text, "")  # of the console
    oidc_max_lifetime_seconds: float = setting(types.positive_number, 86400.0)  # of a JWT
    cors_origins: tuple[str, ...] = setting(types.origins, ("*",))  # whose scripts may call
    security_contact: str = setting(types.contact, "")  # for /.well-known/security.txt
    trusted_proxies: tuple[types.Network, ...] = setting(types.networks, ())  # believed: none
    dev_inbox: str = setting(types.one_of("auto", "on", "off"), "auto")  # auto: this machine only
    console: str = setting(types.one_of("on", "off"), "on")
    log_addresses: str = setting(types.one_of("cut", "none", "whole"), "cut")  # of clients
    log_level: str = setting(types.one_of("debug", "info", "warning", "error"), "info")

    @property
    def link_base(self) -> str:
        """Return the base of every link, without a slash at its end."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def flower_host(self) -> str:
        """Return the address Flower listens on: beyond this machine only if a login was set."""
        is_here = self.host in types.LOOPBACK
        return self.host if is_here or self.flower_basic_auth else types.LOOPBACK[0]

    @property
    def server_url(self) -> str:
        """URL of the store: the one that was set, else the embedded server's."""
        return self.redis_url or f"unix://{socket_path(self.data_dir)}"

    @property
    def hint_url(self) -> str:
        """URL of the broker, as Celery writes it; without one, of this process's memory."""
        if self.broker_kind is types.BrokerKind.NONE:
            return WITHOUT_BROKER
        url = self.broker_url or self.server_url
        if self.redis_ca_path and not self.broker_url:
            certificates = urlencode(
                {"ssl_cert_reqs": "required", "ssl_ca_certs": self.redis_ca_path}
            )
            return f"{url}{'&' if '?' in url else '?'}{certificates}"
        return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url

    @property
    def broker_kind(self) -> types.BrokerKind:
        """Return what carries the hints."""
        return types.broker_kind(self.broker_url or self.server_url)

    def twilio_account(self, provider: str) -> TwilioAccount:
        """Return the account of `twilio`, `twilio-2`, …; an empty one if it has no id."""
        accounts = {account.provider: account for account in self.twilio_accounts}
        return accounts.get(provider) or TwilioAccount(provider=provider)

    def gateway(self, provider: str) -> Gateway:
        """Return the gateway of `http`, `http-2`, …; an empty one if it has no URL."""
        gateways = {gateway.provider: gateway for gateway in self.gateways}
        return gateways.get(provider) or Gateway(provider=provider)

    def holds_doubt(self, channel: str) -> bool:
        """Return True if a message in doubt is never sent again."""
        return (self.sms_on_doubt if channel == "sms" else self.email_on_doubt) == "hold"

    def lifetime_seconds(self, channel: str) -> float:
        """Return how long a code sent on a channel lives."""
        return self.sms_code_lifetime_seconds if channel == "sms" else self.code_lifetime_seconds


def socket_path(data_dir: Path) -> Path:
    """Return the embedded server's socket; a short path if the directory's is too long.

    Source: unix(7): a socket's path has at most 107 bytes.
    """
    path = data_dir.resolve() / "valkey.sock"
    return path if len(str(path).encode()) <= 100 else types.short_socket_path(path)  # noqa: PLR2004


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings of an environment.

    Raises:
        SettingsError: a value is missing, malformed or contradicts another.
    """
    _refuse_former_names(environ)
    _refuse_unknown_names(environ)
    values = _read_fields(Settings, PREFIX, environ)
    data_dir = values.get("data_dir", Settings.data_dir)
    if "secret_keys" not in values and (data_dir / SECRET_KEYS_FILE).exists():
        stored = (data_dir / SECRET_KEYS_FILE).read_text().strip()
        values["secret_keys"] = _parse(f"{PREFIX}SECRET_KEYS", types.secret_keys, stored)
    accounts = [
        TwilioAccount(provider=name, **_read_fields(TwilioAccount, _prefix(name), environ))
        for name in TWILIO_PROVIDERS
    ]
    gateways = [
        Gateway(provider=name, **_read_fields(Gateway, _prefix(name), environ))
        for name in HTTP_PROVIDERS
    ]
    _leave_no_channel_to_the_outbox(values)
    settings = Settings(
        **values,
        twilio_accounts=tuple(account for account in accounts if account.account_sid),
        gateways=tuple(gateway for gateway in gateways if gateway.url),
    )
    _refuse_contradictions(settings)
    return settings


def _leave_no_channel_to_the_outbox(values: dict[str, Any]) -> None:
    """Empty a channel that is not set while the other one has a real provider."""
    for channel, other in (("email", "sms"), ("sms", "email")):
        is_unset = f"{channel}_providers" not in values
        if is_unset and set(values.get(f"{other}_providers", ())) - {"outbox"}:
            values |= {f"{channel}_providers": (), "unset_channels": (channel,)}


def _read_fields(
    table: type[Settings | TwilioAccount | Gateway], prefix: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    values = {}
    for variable, entry in _variables(table, prefix):
        if (raw := _raw_value(environ, variable)) is not None:
            values[entry.name] = _parse(variable, entry.metadata["parse"], raw)
    return values


def _variables(
    table: type[Settings | TwilioAccount | Gateway], prefix: str
) -> Iterator[tuple[str, Field[Any]]]:
    """Yield each setting's variable and field."""
    for entry in fields(table):
        if entry.metadata:
            yield prefix + entry.name.rstrip("_").upper(), entry


def _refuse_former_names(environ: Mapping[str, str]) -> None:
    for former, name in RENAMED_PROVIDERS.items():
        for variable in sorted(environ):
            if variable.startswith(_prefix(former)):
                present = variable.replace(_prefix(former), _prefix(name))
                raise SettingsError(
                    f"{variable} is now called {present}, and the provider {former} in "
                    f"KEYTURN_SMS_PROVIDERS is now {name}"
                )


def _refuse_unknown_names(environ: Mapping[str, str]) -> None:
    accounts = ((table, _prefix(name)) for table, names in ACCOUNTS for name in names)
    tables = ((Settings, PREFIX), *accounts)
    known = [name for table, prefix in tables for name, _ in _variables(table, prefix)]
    for variable in sorted(environ):
        name = variable.removesuffix("_FILE")
        is_known = name in known or NO_SETTING.match(variable)
        if name.startswith(PREFIX) and not is_known and "://" not in environ[variable][:6]:
            near = validation.nearest(name, known) + variable.removeprefix(name)
            raise SettingsError(f"{variable} is no setting; the nearest is {near}")


def _raw_value(environ: Mapping[str, str], variable: str) -> str | None:
    if variable in environ:
        return environ[variable]
    path = environ.get(f"{variable}_FILE")
    if path is None:
        return None
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: {path} cannot be read: {error.strerror}") from error


def _parse(variable: str, parse: Callable[[str], Any], raw: str) -> Any:
    try:
        return parse(raw)
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}") from error


def _refuse_contradictions(settings: Settings) -> None:
    if settings.lease_seconds <= settings.provider_timeout_seconds + LEASE_SLACK_SECONDS:
        raise SettingsError(
            "KEYTURN_LEASE_SECONDS must exceed KEYTURN_PROVIDER_TIMEOUT_SECONDS by more than 5 s; "
            f"they are {settings.lease_seconds:g} and {settings.provider_timeout_seconds:g}"
        )
    _refuse_brokers(settings)
    for provider, missing in _missing_credentials(settings):
        raise SettingsError(
            f"the provider {provider} needs {missing}; set it, or take {provider} "
            "out of KEYTURN_EMAIL_PROVIDERS or KEYTURN_SMS_PROVIDERS"
        )
    _refuse_what_refuses_all(settings)
    has_login = settings.forgot_captcha_site_key and settings.forgot_captcha_secret
    if settings.forgot_captcha in CAPTCHAS and not has_login:
        raise SettingsError(
            f"KEYTURN_FORGOT_CAPTCHA={settings.forgot_captcha} needs "
            "KEYTURN_FORGOT_CAPTCHA_SITE_KEY and KEYTURN_FORGOT_CAPTCHA_SECRET; set both, or take "
            "altcha, which needs no provider"
        )
    needs = {
        "sql": ("directory_url", "directory_preset"),
        "http": ("directory_url", "directory_secret"),
    }
    for name in needs.get(settings.directory, ()):
        if not getattr(settings, name):
            raise SettingsError(
                f"KEYTURN_DIRECTORY={settings.directory} needs {PREFIX}{name.upper()}"
            )
    if bool(settings.oidc_issuer) != bool(settings.oidc_audience):
        raise SettingsError(
            "KEYTURN_OIDC_ISSUER and KEYTURN_OIDC_AUDIENCE belong together: set both, or neither"
        )
    if settings.oidc_client_id and not settings.oidc_issuer:
        raise SettingsError("KEYTURN_OIDC_CLIENT_ID needs KEYTURN_OIDC_ISSUER beside it")
    if urlsplit(settings.link_base).scheme not in ("http", "https"):
        raise SettingsError("KEYTURN_PUBLIC_URL must begin with http:// or https://")


def _refuse_brokers(settings: Settings) -> None:
    url = (settings.broker_url or settings.redis_url).lower()
    is_none = any(kind in url for kind in ("+cluster://", "+sentinel://"))
    if is_none or (settings.redis_credentials and not settings.broker_url):
        raise SettingsError(
            "KEYTURN_BROKER_URL must be set to a Redis of its own (redis://…), RabbitMQ "
            "(amqp://…), or none: Celery's hints do not travel through a cluster, through "
            "Sentinel, or with KEYTURN_REDIS_CREDENTIALS"
        )


def _refuse_what_refuses_all(settings: Settings) -> None:
    used = [each for each in settings.twilio_accounts if each.provider in settings.sms_providers]
    foreign = [each.prefix for each in used if not dial_region(each.from_)]
    if foreign and not settings.sms_countries:
        names = ", ".join(f"{prefix}FROM" for prefix in foreign)
        raise SettingsError(
            f"{names}: a sender without a dial region (a name, a short code, a messaging service) "
            "says nothing about where SMS may go; set KEYTURN_SMS_COUNTRIES, for example CH,DE,AT"
        )
    has_gateway = not used and any(name in HTTP_PROVIDERS for name in settings.sms_providers)
    if has_gateway and not settings.sms_countries:
        raise SettingsError(
            "an HTTP gateway says nothing about where SMS may go; set KEYTURN_SMS_COUNTRIES, for "
            "example CH,DE,AT"
        )
    _refuse_budgets_without_prices(settings)
    if settings.password_min_characters > MAX_PASSWORD_CHARACTERS:
        raise SettingsError(
            f"KEYTURN_PASSWORD_MIN_CHARACTERS must be at most {MAX_PASSWORD_CHARACTERS}, the "
            "longest password that is taken"
        )


def _refuse_budgets_without_prices(settings: Settings) -> None:
    currencies = {each.currency for each in settings.sms_budgets if each.currency}
    priced = {region for region, _ in settings.sms_prices}
    if foreign := currencies - {settings.sms_currency}:
        raise SettingsError(
            f"KEYTURN_SMS_BUDGETS: {', '.join(sorted(foreign))} is not KEYTURN_SMS_CURRENCY, "
            f"which is {settings.sms_currency}; prices have one currency"
        )
    if currencies and "*" not in priced and not set(settings.sms_countries or "?") <= priced:
        raise SettingsError(
            "KEYTURN_SMS_BUDGETS: a budget in money needs a price for every country; "
            "add one for all others to KEYTURN_SMS_PRICES, such as *=0.10"
        )


def _missing_credentials(settings: Settings) -> list[tuple[str, str]]:
    needs = {
        "sendgrid": [] if settings.sendgrid_api_key else ["KEYTURN_SENDGRID_API_KEY"],
        "smtp": [] if settings.smtp_url else ["KEYTURN_SMTP_URL"],
        **{name: settings.twilio_account(name).missing() for name in TWILIO_PROVIDERS},
        **{name: settings.gateway(name).missing() for name in HTTP_PROVIDERS},
    }
    chosen = (*settings.email_providers, *settings.sms_providers)
    return [(provider, name) for provider in chosen for name in needs.get(provider, [])]
