"""The services of the web side: those of shared/wiring.py, authentication, callback readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from shared.directories.gate import leave_threads
from shared.providers.callbacks import CallbackReader
from shared.providers.registry import CallbackReaders
from shared.wiring import Services
from web.auth import Authenticator
from web.problems import limit_policy


@dataclass(frozen=True, kw_only=True)
class WebServices(Services):
    """The services of REST, RPC and the pages."""

    auth: Authenticator
    callbacks: Mapping[str, CallbackReader]  # by the last segment of their path
    limit_policy: dict[str, str]  # the header that names the limits of resets


def build_web_services(services: Services) -> WebServices:
    """Add the web side to the services."""
    leave_threads(services.directory, services.settings.web_threads)
    parts = {part.name: getattr(services, part.name) for part in fields(Services)}
    issuer = None
    if services.settings.oidc_issuer:
        from web.oidc import Issuer  # noqa: PLC0415 - with PyJWT

        issuer = Issuer(services.settings)
    return WebServices(
        **parts,
        auth=Authenticator(services.callers, services.settings, issuer=issuer),
        callbacks=CallbackReaders(services.settings),
        limit_policy=limit_policy(services.settings),
    )
