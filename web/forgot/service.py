"""Use case: a person who forgot the password asks for a message; no token is needed.

Nothing is looked up here: a worker does it later, so that answer and time say nothing.
Source: docs/decisions/0030-forgotten-passwords-are-looked-up-later.md
"""

from __future__ import annotations

from shared.errors import IdentifierError
from shared.queue import HINT_AT_FORGOTTEN
from shared.store.forgot import ForgotRequest
from shared.tracing import current_request_id
from shared.validation import identifiers, identity
from web.forgot.captcha import SOLUTION_SECONDS, Captcha
from web.services import WebServices


def ask(
    services: WebServices,
    captcha: Captcha,
    identifier: str,
    org_id: str,
    *,
    answer: str,
    source: str,
) -> None:
    """Keep the request for a worker; an identifier beyond its budget is dropped without a word.

    `org_id` empty: all organisations; `answer`: to the captcha.

    Raises:
        IdentifierError: it is no identifier, or no organisation can have this id.
        CaptchaError, CaptchaUnavailableError.
        TooManyRequestsError: the source has asked too often.
        StoreUnavailableError: it could not be kept.
    """
    try:
        readings = identifiers(identifier, _region(services))
    except ValueError as error:
        raise IdentifierError(f"identifier {error}") from None  # its cause may hold an address
    try:
        org_id = org_id and identity(org_id)
    except ValueError as error:
        raise IdentifierError(f"organisationId {error}") from None
    solution = captcha.check(answer)
    request = ForgotRequest(
        identifiers=readings, org_id=org_id, request_id=current_request_id() or ""
    )
    services.forgot.ask(
        request,
        source=source,
        solution=solution,
        solution_seconds=SOLUTION_SECONDS if solution else 0,
    )
    services.hints.publish(HINT_AT_FORGOTTEN)


def _region(services: WebServices) -> str | None:
    """Return the region of numbers without their country; the only one that SMS may go to."""
    only = services.sms_regions if len(services.sms_regions or ()) == 1 else ()
    return services.settings.phone_region or next(iter(only or ()), None)


def organisation_of(services: WebServices, host: str) -> str:
    """Return the organisation of a host, with its port or without; empty: all of them."""
    by_host = dict(services.settings.forgot_hosts)
    bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    names = (host.lower(), bare.lower(), "*")
    return next((by_host[name] for name in names if name in by_host), "")
