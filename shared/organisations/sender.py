"""How an organisation sends: its From, its own accounts, their order, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from shared.models import Channel

OWN = "org:"  # what the names of organisations' own providers begin with
IN_USE = ("verified", "trusted")  # states of a From that is sent with


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an account, sealed if it is a secret."""

    text: str = field(repr=False)
    at_ms: int  # when it was set
    hint: str = ""  # of a secret: its last four characters, of a relay its host


Account: TypeAlias = Mapping[str, tuple[Value, ...]]  # by field; the newest first


@dataclass(frozen=True, slots=True)
class Route:
    """An organisation's own providers of a channel, in order."""

    providers: tuple[str, ...]
    accounts: Mapping[str, Account]
    has_fallback: bool = False  # to the installation's providers
    countries: tuple[str, ...] = ()  # where its SMS may go


@dataclass(frozen=True, slots=True)
class From:
    """The From of an organisation's mails; the installation's is used until this is verified."""

    address: str
    name: str = ""
    dkim_selectors: tuple[str, ...] = ()
    state: str = "unverified"  # verified (by DNS), trusted (by an operator), unknown (DNS is away)
    checked_at_ms: int = 0
    findings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sender:
    """How an organisation sends; `version` is another after every change."""

    version: int
    routes: Mapping[Channel, Route]
    from_: From | None = None


def own_name(org_id: str, channel: Channel, provider: str) -> str:
    """Return the name of an organisation's own provider in records, circuits and pauses."""
    return (
        f"{OWN}{org_id}:{provider}-{channel}" if provider == "http" else f"{OWN}{org_id}:{provider}"
    )


def label(provider: str) -> str:
    """Return what counters call a provider: the own ones of all organisations are one."""
    return OWN[:-1] if provider.startswith(OWN) else provider


def write_sender(sender: Sender) -> str:
    """Return a sender as it is stored."""
    return orjson.dumps(sender, option=orjson.OPT_NON_STR_KEYS).decode()


def parse_sender(text: str) -> Sender:
    """Return a stored sender."""
    fields: dict[str, Any] = orjson.loads(text)
    routes = {Channel(name): _parse_route(each) for name, each in fields["routes"].items()}
    found = fields["from_"]
    from_ = From(**found | {"dkim_selectors": tuple(found["dkim_selectors"])}) if found else None
    return Sender(fields["version"], routes, from_)


def _parse_route(fields: dict[str, Any]) -> Route:
    accounts = {
        name: {key: tuple(Value(**each) for each in values) for key, values in account.items()}
        for name, account in fields["accounts"].items()
    }
    providers, countries = tuple(fields["providers"]), tuple(fields["countries"])
    return Route(providers, accounts, fields["has_fallback"], countries)
