"""What the web side adds to the services: who the caller is."""

from __future__ import annotations

from dataclasses import dataclass, fields

from shared.wiring import Services
from web.auth import Authenticator
from web.oidc import open_issuer


@dataclass(frozen=True, kw_only=True)
class House(Services):
    """The services as the faces use them."""

    auth: Authenticator


def open_house(services: Services) -> House:
    """The services, and who may use them."""
    parts = {part.name: getattr(services, part.name) for part in fields(Services)}
    issuer = open_issuer(services.settings)
    return House(**parts, auth=Authenticator(services.callers, services.settings, issuer=issuer))
