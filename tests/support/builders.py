"""People, organisations, callers and settings for tests: what is not named has a sound default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.models import Organisation
from shared.settings import Settings
from shared.store.callers import Grants
from shared.wiring import Services, build_services
from tests.support.fakes import FakeHints

SECRET = "a secret key of more than thirty-two characters"
PUBLIC_URL = "https://reset.example.com"
NO_LIMITS = {
    "user_cooldown_seconds": 0.0,
    "user_limit_per_hour": 0,
    "user_limit_per_day": 0,
    "org_limit_per_minute": 0,
    "caller_limit_per_minute": 0,
    "sms_budget_per_day": 0,
}


def a_settings(**changes: Any) -> Settings:
    """Settings without limits; name those that the test is about."""
    fields = {
        "secret_keys": (SECRET,),
        "public_url": PUBLIC_URL,
        "data_dir": Path("/nonexistent"),
        **NO_LIMITS,
    }
    return Settings(**(fields | changes))


def some_services(client: Any, **changes: Any) -> Services:
    """Services over a client, with hints that go nowhere."""
    return build_services(a_settings(**changes), client=client, hints=FakeHints())


def an_organisation(services: Services, org_id: str = "acme", **fields: Any) -> Organisation:
    """An organisation that exists."""
    organisation = Organisation(org_id, fields.pop("name", org_id.title()), **fields)
    services.callers.save_organisation(organisation)
    return organisation


def a_user(services: Services, user_id: str = "ada", **changes: Any) -> str:
    """A user of the built-in directory, with both addresses verified; gives the id."""
    fields = {
        "userId": user_id,
        "orgId": "acme",
        "displayName": "Ada Lovelace",
        "email": "ada@example.com",
        "emailVerified": True,
        "phone": "+41791234567",
        "phoneVerified": True,
    }
    services.directory.import_users([json.dumps(fields | changes)])
    return user_id


def a_token(
    services: Services,
    *roles: str,
    org_id: str = "acme",
    instance: tuple[str, ...] = (),
    memberships: dict[str, tuple[str, ...]] | None = None,
    **fields: Any,
) -> str:
    """A token with roles in its own organisation, in others, or in all."""
    held = {name: frozenset(its) for name, its in (memberships or {}).items()}
    if roles:
        held[org_id] = frozenset(roles)
    grants = Grants(frozenset(instance), held)
    return services.callers.create_token(org_id, grants, **fields)[0]
