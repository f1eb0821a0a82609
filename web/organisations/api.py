"""REST of an organisation's branding and texts.

Each answer has an ETag. A change of what exists needs it as If-Match, so that two editors do not
overwrite each other.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from shared.errors import (
    InvalidRequestError,
    ProfileError,
    VersionConflictError,
    VersionMissingError,
)
from shared.organisations.logos import check_logo
from shared.organisations.profile import Logo, Profile
from web.admin.actions import AuditReason, check_reason
from web.admin.api import caller_here
from web.auth import ORG_READ, ORG_WRITE, audit_name
from web.explain.query import check_names
from web.http import count_changes, current_services, json_response
from web.middleware import read_capped_body
from web.organisations import service
from web.organisations.schemas import (
    BRANDING,
    BRANDING_REQUEST,
    HISTORY,
    ORGANISATION,
    ROLLBACK_REQUEST,
    SENTENCES_REQUEST,
    TEXT_VERSION,
    TEXTS,
)
from web.schemas import WireSchema, read_body

api_organisations = Blueprint("api_organisations", __name__)
api_organisations.before_request(count_changes)

PATH = "/keyturn/v1/organisations/<org_id>"
MAX_BODY_BYTES = 1024 * 1024  # of a logo, so that one a little too large is refused by its name


@api_organisations.get(PATH)
def show_organisation(org_id: str) -> Response:
    """Show branding, and which languages have texts of their own."""
    profile = read_profile(org_id, ORG_READ)
    return answer(ORGANISATION.dump(profile), profile.version)


@api_organisations.get(f"{PATH}/branding")
def show_branding(org_id: str) -> Response:
    """Show the branding."""
    return _answer_branding(read_profile(org_id, ORG_READ))


@api_organisations.route(f"{PATH}/branding", methods=["PUT", "PATCH"])
def change_branding(org_id: str) -> Response:
    """Replace the branding (PUT), or change the fields that are given (PATCH)."""
    profile = read_profile(org_id, ORG_WRITE)
    given = read_request(BRANDING_REQUEST)
    why = read_reason(given.pop("reason"))
    check_if_match(profile.branding.version, is_set=profile.branding.is_set)
    is_whole = request.method == "PUT"
    service.change_branding(current_services(), profile, given, why, is_whole=is_whole)
    return _answer_branding(read_profile(org_id, ORG_WRITE))


@api_organisations.put(f"{PATH}/branding/logo")
def change_logo(org_id: str) -> Response:
    """Replace the logo; the body is the file."""
    profile = read_profile(org_id, ORG_WRITE)
    return _change_logo(profile, check_logo(read_capped_body(max_bytes=MAX_BODY_BYTES)))


@api_organisations.delete(f"{PATH}/branding/logo")
def remove_logo(org_id: str) -> Response:
    """Remove the logo."""
    return _change_logo(read_profile(org_id, ORG_WRITE), None)


@api_organisations.get(f"{PATH}/texts")
def list_texts(org_id: str) -> Response:
    """List the texts of all languages."""
    profile = read_profile(org_id, ORG_READ)
    texts = sorted(profile.texts.values(), key=lambda text: text.language)
    return answer(TEXTS.dump({"texts": texts}), profile.version)


@api_organisations.get(f"{PATH}/texts/<language>")
def show_texts(org_id: str, language: str) -> Response:
    """Show the texts of one language, beside the built-in ones."""
    return _answer_text(read_profile(org_id, ORG_READ), language)


@api_organisations.put(f"{PATH}/texts/<language>")
def change_texts(org_id: str, language: str) -> Response:
    """Replace the texts of one language."""
    profile = read_profile(org_id, ORG_WRITE)
    given = read_request(SENTENCES_REQUEST)
    return _change_texts(profile, language, given["sentences"], read_reason(given["reason"]))


@api_organisations.delete(f"{PATH}/texts/<language>")
def remove_texts(org_id: str, language: str) -> Response:
    """Go back to the built-in texts of one language."""
    profile = read_profile(org_id, ORG_WRITE)
    return _change_texts(profile, language, {}, read_reason_in_query())


@api_organisations.get(f"{PATH}/texts/history")
def show_history(org_id: str) -> Response:
    """List the last versions of all texts, the newest first."""
    profile = read_profile(org_id, ORG_READ)
    versions = current_services().profiles.history(org_id)
    return answer(HISTORY.dump({"versions": versions}), profile.version)


@api_organisations.post(f"{PATH}/texts/_rollback")
def roll_back(org_id: str) -> Response:
    """Make an earlier version of one language's texts the newest."""
    profile = read_profile(org_id, ORG_WRITE)
    given = read_request(ROLLBACK_REQUEST)
    why = read_reason(given["reason"])
    text = service.find_version(current_services(), profile, given["version"])
    return _change_texts(
        profile, text.language, text.sentences, why, action="organisation.rollback"
    )


def read_profile(org_id: str, permission: str) -> Profile:
    """Return the profile if the caller has the permission there."""
    services, caller = current_services(), caller_here()
    found = services.profiles.find(org_id)
    return services.auth.authorize_profile(caller, found, permission)


def read_request(schema: WireSchema) -> dict[str, Any]:
    """Return the request's body; raise ProfileError if it is not as described."""
    body = read_capped_body()
    try:
        return read_body(body, schema)
    except InvalidRequestError as error:
        raise ProfileError(error.message) from error


def _change_logo(profile: Profile, logo: Logo | None) -> Response:
    why = read_reason_in_query()
    check_if_match(profile.branding.version, is_set=profile.branding.is_set)
    service.change_logo(current_services(), profile, logo, why)
    return _answer_branding(read_profile(profile.org_id, ORG_WRITE))


def _change_texts(
    profile: Profile, language: str, sentences: Any, why: AuditReason, **action: str
) -> Response:
    services = current_services()
    text = service.find_text(services, profile, language)
    check_if_match(text.version, is_set=bool(text.version))
    service.change_texts(services, profile, language, sentences, why, **action)
    return _answer_text(read_profile(profile.org_id, ORG_WRITE), language)


def read_reason(reason: str) -> AuditReason:
    """Return who acts, and why."""
    return AuditReason(audit_name(caller_here()), check_reason(reason))


def read_reason_in_query() -> AuditReason:
    """Return who acts, and why, of a call without a JSON body."""
    check_names(request.args.keys(), "reason")
    return read_reason(request.args.get("reason", ""))


def check_if_match(version: int, *, is_set: bool) -> None:
    """Raise an error unless the header If-Match allows to change what has this version.

    Raises:
        VersionMissingError: there is no such header, and it `is_set` already.
        VersionConflictError: it names another version.
    """
    if "If-Match" not in request.headers:
        if is_set:
            raise VersionMissingError
    elif not request.if_match.contains(str(version)):
        raise VersionConflictError


def _answer_branding(profile: Profile) -> Response:
    return answer(BRANDING.dump(profile.branding), profile.branding.version)


def _answer_text(profile: Profile, language: str) -> Response:
    services = current_services()
    text = service.find_text(services, profile, language)
    body = TEXT_VERSION.dump(text) | {"builtIn": service.built_in(services, language)}
    return answer(body, text.version)


def answer(body: dict[str, Any], version: int | str) -> Response:
    """Return a body with its version as the ETag."""
    return json_response(body, headers={"ETag": f'"{version}"'})
