"""The settings: environment variables parsed once, frozen, refused with a sentence that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared import validation
from shared.errors import SettingsError
from shared.settings import types as read
from shared.settings.types import prices


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAccount:
    """What it takes to send by an account, and to know its callbacks."""

    provider: str  # the name of the provider that sends by it
    account_sid: str
    auth_token: str = field(repr=False)  # verifies callbacks; sends when there is no API key
    api_key_sid: str
    api_key_secret: str = field(repr=False)
    sender_number: str
    messaging_service_sid: str
    api_url: str

    @property
    def prefix(self) -> str:
        """What the names of its settings begin with."""
        return f"KEYTURN_{self.provider.upper()}"

    @property
    def login(self) -> tuple[str, str]:
        """User and secret: the API key's where there is one, else the account's."""
        if self.api_key_sid and self.api_key_secret:
            return self.api_key_sid, self.api_key_secret
        return self.account_sid, self.auth_token

    def missing(self) -> list[str]:
        """The settings without which nothing can be sent by it."""
        has_login = self.auth_token or (self.api_key_sid and self.api_key_secret)
        needs = {
            f"{self.prefix}_ACCOUNT_SID": self.account_sid,
            f"{self.prefix}_API_KEY_SID and _SECRET, or _AUTH_TOKEN": has_login,
            f"{self.prefix}_FROM or _MESSAGING_SERVICE_SID": self.sender_number
            or self.messaging_service_sid,
        }
        return [name for name, value in needs.items() if not value]


PREFIX = "KEYTURN_"
EMAIL_PROVIDERS = ("sendgrid", "smtp", "outbox")
SMS_PROVIDERS = ("twilio", "twilio2", "outbox")
TWILIO_ACCOUNTS = ("twilio", "twilio2")
SECRET_KEYS_FILE = "secret_keys"  # noqa: S105 - a file's name
LEASE_SLACK_SECONDS = 5.0

ROLE_PERMISSIONS = (
    "IAM_OWNER=user.read+user.write+system.read+system.write,IAM_ORG_MANAGER=user.read+user.write,"
    "IAM_USER_MANAGER=user.read+user.write,IAM_LOGIN_CLIENT=user.read+user.write,"
    "ORG_OWNER=user.read+user.write,ORG_USER_MANAGER=user.read+user.write,"
    "IAM_OWNER_VIEWER=user.read+system.read,ORG_OWNER_VIEWER=user.read"
)


def _setting(
    parse: Callable[[str], Any], default: Any, meaning: str, *, is_secret: bool = False
) -> Any:
    facts = {"parse": parse, "meaning": meaning, "is_secret": is_secret}
    return field(default=default, metadata=facts, repr=not is_secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. The variable of a field is `KEYTURN_` and its name in upper case."""

    # fmt: off
    host: str = _setting(read.text, "127.0.0.1", "address the processes listen on")
    port: int = _setting(read.port, 8080, "REST and pages")
    grpc_port: int = _setting(read.port, 8081, "gRPC")
    flower_port: int = _setting(read.port, 5555, "Flower")
    flower_basic_auth: tuple[str, ...] = _setting(validation.logins, (), "user:password, more between commas; without it Flower listens on this machine alone", is_secret=True)
    web_processes: int = _setting(read.positive, 1, "server processes of `web`")
    web_threads: int = _setting(read.positive, 16, "requests one server process works on at a time; gRPC: at least 40")
    worker_threads: int = _setting(read.positive, 128, "messages one worker sends at a time")
    data_dir: Path = _setting(read.path, Path(".keyturn"), "where `up` keeps the embedded server's data, the keys and the outbox")
    redis_url: str = _setting(read.text, "", "where records live; unset: the embedded server in the data directory", is_secret=True)
    broker_url: str = _setting(read.text, "", "where hints travel; unset: the same server", is_secret=True)
    public_url: str = _setting(read.url, "", "base of every link, never taken from a request; unset: http://HOST:PORT")
    secret_keys: tuple[str, ...] = _setting(read.secret_keys, (), "comma-separated keys of at least 32 printable characters; the first signs codes, all verify; unset: the file `secret_keys` in the data directory, written by `up`", is_secret=True)
    directory: str = _setting(read.one_of("redis"), "redis", "where users come from")
    email_providers: tuple[str, ...] = _setting(read.names(EMAIL_PROVIDERS), ("outbox",), "ordered, of `sendgrid` `smtp` `outbox`; unset: outbox; empty: none")
    sms_providers: tuple[str, ...] = _setting(read.names(SMS_PROVIDERS), ("outbox",), "ordered, of `twilio` `twilio2` `outbox`; unset: outbox; empty: none")
    email_from: str = _setting(read.email, "no-reply@keyturn.example", "sender of mails")
    email_from_name: str = _setting(read.line, "Keyturn", "sender's name, also named in messages")
    sendgrid_api_key: str = _setting(read.text, "", "SendGrid API key", is_secret=True)
    sendgrid_api_url: str = _setting(read.provider_url, "https://api.sendgrid.com", "base of SendGrid's API")
    sendgrid_webhook_public_key: str = _setting(read.webhook_public_key, "", "verification key of SendGrid's signed Event Webhook (base64); without it every callback is refused")
    twilio_account_sid: str = _setting(read.text, "", "Twilio account")
    twilio_auth_token: str = _setting(read.text, "", "Twilio auth token; sends when there is no API key", is_secret=True)
    twilio_api_key_sid: str = _setting(read.text, "", "Twilio API key that sends")
    twilio_api_key_secret: str = _setting(read.text, "", "its secret", is_secret=True)
    twilio_from: str = _setting(read.phone, "", "sender number, E.164")
    twilio_messaging_service_sid: str = _setting(read.text, "", "messaging service, in place of the sender number")
    twilio_api_url: str = _setting(read.provider_url, "https://api.twilio.com", "base of Twilio's API")
    twilio2_account_sid: str = _setting(read.text, "", "second Twilio account, for the provider `twilio2`")
    twilio2_auth_token: str = _setting(read.text, "", "its auth token; sends when there is no API key", is_secret=True)
    twilio2_api_key_sid: str = _setting(read.text, "", "its API key that sends")
    twilio2_api_key_secret: str = _setting(read.text, "", "that key's secret", is_secret=True)
    twilio2_from: str = _setting(read.phone, "", "its sender number, E.164")
    twilio2_messaging_service_sid: str = _setting(read.text, "", "its messaging service, in place of the sender number")
    twilio2_api_url: str = _setting(read.provider_url, "https://api.twilio.com", "base of Twilio's API for it")
    smtp_url: str = _setting(read.text, "", "smtp://user:password@host:port (STARTTLS when offered, required by ?starttls=required) or smtps://…", is_secret=True)
    provider_timeout_seconds: float = _setting(read.positive_number, 10.0, "whole call to a provider")
    code_lifetime_seconds: float = _setting(read.positive_number, 3600.0, "life of a code sent by e-mail")
    sms_code_lifetime_seconds: float = _setting(read.positive_number, 600.0, "life of a code sent by SMS")
    user_cooldown_seconds: float = _setting(read.number, 60.0, "pause between two resets of one user; 0: off")
    user_limit_per_hour: int = _setting(read.count, 5, "resets of one user; 0: off")
    user_limit_per_day: int = _setting(read.count, 10, "resets of one user; 0: off")
    org_limit_per_minute: int = _setting(read.count, 3000, "resets of one organisation; 0: off")
    caller_limit_per_minute: int = _setting(read.count, 6000, "resets of one caller; 0: off")
    sms_budget_per_day: int = _setting(read.count, 0, "SMS of the whole installation; 0: off")
    link_hosts: tuple[str, ...] = _setting(read.hosts, (), "hosts a caller's url template may lead to")
    allow_unverified: bool = _setting(read.boolean, False, "write to unverified addresses too")
    sms_countries: tuple[str, ...] = _setting(read.countries, (), "allowed dial regions, for example CH,DE,AT; empty: those of the sender numbers")
    sms_prices: tuple[tuple[str, float], ...] = _setting(prices, (), "what a segment costs by region, for example CH=0.07,DE=0.08,*=0.10; plans of batches tell the sum")
    sms_currency: str = _setting(read.line, "EUR", "what those prices are in")
    retry_delays_seconds: tuple[float, ...] = _setting(read.numbers, (), "pauses between attempts, the last repeats; unset: a schedule per channel")
    lease_seconds: float = _setting(read.positive_number, 60.0, "life of a worker's claim; more than 5 s above the provider timeout")
    sweep_seconds: float = _setting(read.positive_number, 0.5, "pace of the sweepers")
    doubt_seconds: float = _setting(read.number, 0.0, "wait before a doubtful attempt is looked at; unset: 30 for e-mail, 20 for SMS")
    email_on_doubt: str = _setting(read.one_of("resend", "hold"), "resend", "a mail in doubt that no callback settles: sent once more with the same code, or held until its code ends")
    sms_on_doubt: str = _setting(read.one_of("resend", "hold"), "resend", "the same for an SMS that Twilio's list does not show either")
    offer_other_channel: bool = _setting(read.boolean, False, "a reset that did not arrive is followed by a fresh one on the user's other channel, where it has a verified address")
    record_lifetime_seconds: float = _setting(read.positive_number, 259200.0, "how long a finished reset can be explained; at least the 24 h of an Idempotency-Key")
    webhook_delays_seconds: tuple[float, ...] = _setting(read.numbers, (5, 30, 120, 600, 3600, 21600, 86400), "pauses between the tries to tell a subscriber; after the last try a webhook is a dead letter")
    webhook_allow_private: bool = _setting(read.boolean, False, "let subscribers be at private, loopback and link-local addresses, and at http:// ones")
    password_min_characters: int = _setting(read.positive, 8, "shortest password taken; lower, upper, number and symbol are always asked for")
    role_permissions: tuple[tuple[str, frozenset[str]], ...] = _setting(read.role_permissions, read.role_permissions(ROLE_PERMISSIONS), "what each role may")
    oidc_issuer: str = _setting(read.issuer, "", "accept JWTs of this OpenID Connect issuer, spelled as its tokens spell it")
    oidc_audience: str = _setting(read.text, "", "the audience those JWTs must have; with ZITADEL the id of Keyturn's own project")
    durability: str = _setting(read.one_of("memory", "replica", "disk"), "memory", "what Redis must confirm before a caller gets its 200: memory: nothing more; replica: WAIT; disk: WAITAOF")
    time_zone: str = _setting(read.time_zone, "UTC", "time zone of the moments in messages, for example Europe/Zurich")
    dev_inbox: str = _setting(read.one_of("auto", "on", "off"), "auto", "who sees /dev/inbox while the outbox is in use; auto: callers on this machine")
    log_level: str = _setting(read.one_of("debug", "info", "warning", "error"), "info", "lowest level that is logged")
    # fmt: on

    @property
    def link_base(self) -> str:
        """The base of every link, without a slash at its end."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def flower_host(self) -> str:
        """Where Flower listens: beyond this machine only with a login."""
        is_here = self.host in read.LOOPBACK
        return self.host if is_here or self.flower_basic_auth else read.LOOPBACK[0]

    @property
    def server_url(self) -> str:
        """The store's server: the one that was set, else the embedded one."""
        return self.redis_url or f"unix://{socket_path(self.data_dir)}"

    @property
    def hint_url(self) -> str:
        """The broker's server in Celery's spelling."""
        url = self.broker_url or self.server_url
        return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url

    @property
    def twilio_accounts(self) -> tuple[TwilioAccount, ...]:
        """The accounts at Twilio that have an id, in use or not: callbacks may come from each."""
        accounts = (self.twilio_account(name) for name in TWILIO_ACCOUNTS)
        return tuple(account for account in accounts if account.account_sid)

    def twilio_account(self, provider: str) -> TwilioAccount:
        """The account of `twilio` or `twilio2`, with whatever was set of it."""
        login = ("account_sid", "auth_token", "api_key_sid", "api_key_secret")
        names = (*login, "messaging_service_sid", "api_url")
        facts = {name: getattr(self, f"{provider}_{name}") for name in names}
        sender = getattr(self, f"{provider}_from")
        return TwilioAccount(provider=provider, sender_number=sender, **facts)

    def holds_doubt(self, channel: str) -> bool:
        """True where a message in doubt is never sent again."""
        return (self.sms_on_doubt if channel == "sms" else self.email_on_doubt) == "hold"

    def lifetime_seconds(self, channel: str) -> float:
        """How long a code sent on a channel lives."""
        return self.sms_code_lifetime_seconds if channel == "sms" else self.code_lifetime_seconds


def socket_path(data_dir: Path) -> Path:
    """Where the embedded server listens; moved to a short path where the directory's is too long.

    Source: unix(7): a socket's path has at most 107 bytes.
    """
    path = data_dir.resolve() / "valkey.sock"
    return path if len(str(path).encode()) <= 100 else read.short_socket_path(path)  # noqa: PLR2004


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment.

    Raises:
        SettingsError: a value is missing, malformed or contradicts another; the text says which.
    """
    values = {
        entry.name: _parse(entry.name, entry.metadata["parse"], raw)
        for entry in fields(Settings)
        if (raw := _raw_value(environ, entry.name)) is not None
    }
    data_dir = values.get("data_dir", Settings.data_dir)
    if "secret_keys" not in values and (data_dir / SECRET_KEYS_FILE).exists():
        stored = (data_dir / SECRET_KEYS_FILE).read_text().strip()
        values["secret_keys"] = _parse("secret_keys", read.secret_keys, stored)
    settings = Settings(**values)
    _refuse_contradictions(settings)
    return settings


def _raw_value(environ: Mapping[str, str], name: str) -> str | None:
    variable = PREFIX + name.upper()
    if variable in environ:
        return environ[variable]
    path = environ.get(f"{variable}_FILE")
    if path is None:
        return None
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: {path} cannot be read: {error.strerror}") from error


def _parse(name: str, parse: Callable[[str], Any], raw: str) -> Any:
    try:
        return parse(raw)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name.upper()}: {error}") from error


def _refuse_contradictions(settings: Settings) -> None:
    if settings.lease_seconds <= settings.provider_timeout_seconds + LEASE_SLACK_SECONDS:
        raise SettingsError(
            "KEYTURN_LEASE_SECONDS must exceed KEYTURN_PROVIDER_TIMEOUT_SECONDS by more than 5 s; "
            f"they are {settings.lease_seconds:g} and {settings.provider_timeout_seconds:g}"
        )
    for provider, missing in _missing_credentials(settings):
        raise SettingsError(f"the provider {provider} needs {missing}; set it, or take {provider} "
                            "out of KEYTURN_EMAIL_PROVIDERS or KEYTURN_SMS_PROVIDERS")  # fmt: skip
    if bool(settings.oidc_issuer) != bool(settings.oidc_audience):
        raise SettingsError(
            "KEYTURN_OIDC_ISSUER and KEYTURN_OIDC_AUDIENCE belong together: set both, or neither"
        )
    if urlsplit(settings.link_base).scheme not in ("http", "https"):
        raise SettingsError("KEYTURN_PUBLIC_URL must begin with http:// or https://")


def _missing_credentials(settings: Settings) -> list[tuple[str, str]]:
    needs = {
        "sendgrid": [] if settings.sendgrid_api_key else ["KEYTURN_SENDGRID_API_KEY"],
        "smtp": [] if settings.smtp_url else ["KEYTURN_SMTP_URL"],
        **{name: settings.twilio_account(name).missing() for name in TWILIO_ACCOUNTS},
    }
    chosen = (*settings.email_providers, *settings.sms_providers)
    return [(provider, name) for provider in chosen for name in needs.get(provider, [])]
