"""Read a sender as an organisation writes it; each refusal begins with the field's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from shared.errors import ProfileError, SettingsError
from shared.models import Channel
from shared.organisations.sender import Account, From, Route, Sender, Value
from shared.policies import dial_region
from shared.providers.message_checks import MAX_NAME_CHARACTERS, clean_name
from shared.providers.smtp import parse_relay
from shared.settings import types
from shared.validation import is_host_name, nearest
from shared.webhooks import is_public, read_url

MAX_CHARACTERS = 1000
MAX_SELECTORS = 5
HINT_CHARACTERS = 4
MIN_HINTED_CHARACTERS = 16  # of a secret whose end may be shown
_FIELD = re.compile(r"[A-Za-z0-9_]{1,40}")
_SELECTOR = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,3}")
Parser: TypeAlias = Callable[[str], str]


class Fact(NamedTuple):
    """A field of an account; of `most` values any verifies reports, and the first sends."""

    parse: Parser
    is_secret: bool = False
    most: int = 1
    check_public: Callable[[str], object] | None = None  # raises ValueError for a private address


def _key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of ASCII characters")
    return text


def _sid(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise ValueError("must be letters and digits, such as AC…")
    return text


def _one_of(parse: Callable[[str], tuple[str, ...]]) -> Parser:
    def read(text: str) -> str:
        found = parse(text)
        if len(found) != 1:
            raise ValueError("must be one value; several stand in a list")
        return found[0]

    return read


def _relay(text: str) -> str:
    try:
        parse_relay(text)
    except SettingsError as error:
        raise ValueError(str(error).partition(" ")[2]) from None
    return text


def _check_public_relay(text: str) -> None:
    """A name is judged by its addresses at each connection."""
    relay = parse_relay(text)
    is_here = relay.is_loopback or relay.host.endswith(".localhost")
    if is_here or not (is_host_name(relay.host) or is_public(relay.host.strip("[]"))):
        raise ValueError("leads to a private address (see KEYTURN_WEBHOOK_ALLOW_PRIVATE)")


FACTS: dict[str, dict[str, Fact]] = {
    "sendgrid": {
        "apiKey": Fact(_key, is_secret=True),
        "webhookPublicKey": Fact(_one_of(types.webhook_public_keys), most=2),
    },
    "smtp": {"url": Fact(_relay, is_secret=True, check_public=_check_public_relay)},
    "twilio": {
        "accountSid": Fact(_sid),
        "authToken": Fact(_key, is_secret=True, most=2),
        "apiKeySid": Fact(_sid),
        "apiKeySecret": Fact(_key, is_secret=True),
        "from": Fact(lambda text: types.phone(types.line(text))),
        "messagingServiceSid": Fact(_sid),
    },
    "http": {
        "url": Fact(
            partial(read_url, allow_private=True),
            check_public=partial(read_url, allow_private=False),
        ),
        "secret": Fact(_one_of(types.signing_secrets), is_secret=True, most=2),
    },
}
# What an account needs: of each group at least one field.
NEEDS = {
    "sendgrid": (("apiKey",),),
    "smtp": (("url",),),
    "twilio": (
        ("accountSid",),
        ("authToken", "apiKeySecret"),
        ("from", "messagingServiceSid"),
    ),
    "http": (("url",), ("secret",)),
}
PROVIDERS = {Channel.EMAIL: ("sendgrid", "smtp", "http"), Channel.SMS: ("twilio", "http")}
OF_CHANNEL = {
    Channel.EMAIL: ("fromAddress", "fromName", "dkimSelectors"),
    Channel.SMS: ("countries",),
}


@dataclass(frozen=True, slots=True)
class SenderReader:
    """Reads what an organisation writes; what it leaves out of the secrets stays as it was."""

    former: Sender | None
    seal: Callable[[str], str]
    unseal: Callable[[str], str]
    now_ms: int
    allow_private: bool

    def read(self, body: Mapping[str, Any]) -> Sender:
        """Return the sender of a body.

        Raises:
            ProfileError: it names the field, and repeats no value.
        """
        _refuse_unknown(body, tuple(Channel), "")
        routes: dict[Channel, Route] = {}
        for channel in Channel:
            fields = _section(body.get(channel), channel)
            known = ("providers", "fallback", *OF_CHANNEL[channel], *PROVIDERS[channel])
            _refuse_unknown(fields, known, f"{channel}.")
            route = self._route(channel, fields)
            if route.providers:
                routes[channel] = route
        version = self.former.version if self.former else 0
        return Sender(version, routes, self._from(_section(body.get("email"), "email")))

    def _from(self, fields: Mapping[str, Any]) -> From | None:
        address = _text(fields, "email", "fromAddress", types.email)
        name = _text(fields, "email", "fromName", types.line)
        selectors = _texts(fields, "email", "dkimSelectors")
        if name and clean_name(name, of_organisation=True) != " ".join(name.split()):
            raise _refusal(
                "email.fromName",
                f"must have at most {MAX_NAME_CHARACTERS} characters, and hold no address",
            )
        if not address:
            if name or selectors:
                raise _refusal("email.fromAddress", "is missing")
            return None
        if len(selectors) > MAX_SELECTORS or not all(map(_SELECTOR.fullmatch, selectors)):
            raise _refusal(
                "email.dkimSelectors", f"must be at most {MAX_SELECTORS} names, such as s1"
            )
        former = self.former.from_ if self.former else None
        if former and former.address.rpartition("@")[2] == address.rpartition("@")[2]:
            return replace(former, address=address, name=name, dkim_selectors=selectors)
        return From(address, name, selectors)

    def _route(self, channel: Channel, fields: Mapping[str, Any]) -> Route:
        accounts = {
            name: self._account(channel, name, _section(fields[name], f"{channel}.{name}"))
            for name in PROVIDERS[channel]
            if fields.get(name) is not None
        }
        providers = _texts(fields, channel, "providers") or tuple(accounts)
        for each in providers:
            if each not in PROVIDERS[channel] or providers.count(each) > 1:
                raise _refusal(
                    f"{channel}.providers",
                    f"must list each of {', '.join(PROVIDERS[channel])} at "
                    "most once, and nothing else",
                )
            if each not in accounts:
                raise _refusal(f"{channel}.{each}", "is missing, and in the list of providers")
        fallback = fields.get("fallback", False)
        if not isinstance(fallback, bool):
            raise _refusal(f"{channel}.fallback", "must be true or false")
        if not providers:
            for name in {"fallback", "countries"} & fields.keys():
                if fields[name]:
                    raise _refusal(f"{channel}.{name}", "says nothing without an own account")
            return Route((), {})
        countries = _countries(fields, accounts) if channel is Channel.SMS else ()
        return Route(providers, accounts, fallback, countries)

    def _account(self, channel: Channel, name: str, fields: Mapping[str, Any]) -> Account:
        path, facts = f"{channel}.{name}", FACTS[name]
        _refuse_unknown(fields, tuple(facts), f"{path}.")
        route = self.former.routes.get(channel) if self.former else None
        former = route.accounts.get(name, {}) if route else {}
        account = {
            key: self._values(f"{path}.{key}", fact, fields.get(key, ...), former.get(key, ()))
            for key, fact in facts.items()
        }
        for group in NEEDS[name]:
            if not any(account[key] for key in group):
                others = "".join(f", and so is {key}" for key in group[1:])
                raise _refusal(f"{path}.{group[0]}", f"is missing{others}")
        if account.get("apiKeySecret") and not account.get("apiKeySid"):
            raise _refusal(f"{path}.apiKeySid", "is missing beside apiKeySecret")
        return {key: values for key, values in account.items() if values}

    def _values(
        self, path: str, fact: Fact, given: object, former: tuple[Value, ...]
    ) -> tuple[Value, ...]:
        """Return the values of a field; one text goes before the former ones, a list replaces."""
        if given is ... and fact.is_secret:
            return former
        texts = given if isinstance(given, list) else [given] if given not in (None, ...) else []
        if len(texts) > fact.most:
            raise _refusal(path, f"must have at most {fact.most} values")
        read = tuple(self._value(path, fact, each, former) for each in texts)
        if fact.most > 1 and isinstance(given, str):  # the one before still verifies
            return (*read, *(each for each in former if each not in read))[: fact.most]
        return read

    def _value(self, path: str, fact: Fact, given: object, former: tuple[Value, ...]) -> Value:
        if not isinstance(given, str) or not given.strip() or len(given) > MAX_CHARACTERS:
            raise _refusal(path, f"must be a text of at most {MAX_CHARACTERS} characters")
        try:
            text = fact.parse(given.strip())
            if fact.check_public and not self.allow_private:
                fact.check_public(text)
        except ValueError as error:
            raise _refusal(path, str(error)) from None
        plain = self.unseal if fact.is_secret else str
        for each in former:
            if plain(each.text) == text:
                return each
        if not fact.is_secret:
            return Value(text, self.now_ms)
        hint = text[-HINT_CHARACTERS:] if len(text) >= MIN_HINTED_CHARACTERS else ""
        if fact.parse is _relay:
            hint = parse_relay(text).host
        return Value(self.seal(text), self.now_ms, hint)


def _countries(fields: Mapping[str, Any], accounts: Mapping[str, Account]) -> tuple[str, ...]:
    """Return the regions that are named, else that of the sender number."""
    try:
        named = types.countries(",".join(_texts(fields, "sms", "countries")))
    except ValueError as error:
        raise _refusal("sms.countries", str(error)) from None
    senders = accounts.get("twilio", {}).get("from", ())
    if regions := named or tuple(filter(None, (dial_region(each.text) for each in senders))):
        return regions
    raise _refusal(
        "sms.countries",
        "is missing, and the sender says nothing about where SMS may go; list regions such as "
        "CH, DE",
    )


def _refusal(path: str, why: str) -> ProfileError:
    return ProfileError(f"{path}: {why}")


def _section(given: object, path: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _refusal(path, "must be an object")
    return given


def _refuse_unknown(fields: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for name in fields:
        if name not in known:
            shown = name if _FIELD.fullmatch(name) else "?"
            raise _refusal(path + shown, f"is no field; the nearest is {nearest(name, known)}")


def _text(fields: Mapping[str, Any], path: str, name: str, parse: Callable[[str], str]) -> str:
    given = fields.get(name)
    if given in (None, ""):
        return ""
    if not isinstance(given, str) or len(given) > MAX_CHARACTERS:
        raise _refusal(f"{path}.{name}", "must be a text")
    try:
        return parse(given)
    except ValueError as error:
        raise _refusal(f"{path}.{name}", str(error)) from None


def _texts(fields: Mapping[str, Any], path: str, name: str) -> tuple[str, ...]:
    given = fields.get(name)
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise _refusal(f"{path}.{name}", "must be a list of texts")
    return tuple(given)
