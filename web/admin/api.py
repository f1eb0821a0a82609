"""REST of the operator: pauses, limits, holds, resending, the audit trail; no rule stands here."""

from __future__ import annotations

from flask import Blueprint, Response, request

from shared.models import Caller
from shared.store.admin.pauses import Scope
from web import auth
from web.admin import actions
from web.admin.actions import AuditReason, ResendRequest, resend
from web.admin.schemas import (
    AUDIT,
    CLEAR_LIMIT,
    PAUSE,
    PAUSES,
    REASON,
    RESEND,
    RESUME,
    write_status,
)
from web.admin.status import load_status
from web.auth import SYSTEM_READ, SYSTEM_WRITE, USER_READ
from web.explain.query import check_names, read_count
from web.http import credentials, current_services, json_response, request_context
from web.middleware import read_capped_body
from web.schemas import format_timestamp, read_body, write_details

api_levers = Blueprint("api_levers", __name__)
MAX_ENTRIES = 1000


@api_levers.get("/keyturn/v1/pauses")
def list_pauses() -> Response:
    """The pauses in force, and what is being let go: those of organisations the caller may see."""
    services, caller = current_services(), caller_here()
    sees_all = services.auth.may_everywhere(caller, SYSTEM_READ)

    def may_see(scope: Scope, name: str) -> bool:
        is_theirs = scope is Scope.ORGANISATION and services.auth.may(caller, name, USER_READ)
        return sees_all or is_theirs

    pauses, releases = services.pauses.all(), services.pauses.releases()
    return json_response(
        PAUSES.dump(
            {
                "pauses": [each for each in pauses if may_see(each.scope, each.name)],
                "releases": [each for each in releases if may_see(each.scope, each.name)],
            }
        )
    )


@api_levers.post("/keyturn/v1/pauses")
def pause() -> Response:
    """Send nothing of a queue, channel, provider or organisation."""
    caller = caller_here()
    fields = read_body(read_capped_body(), PAUSE)
    scope, name = Scope(fields["scope"]), fields["name"]
    is_new = actions.pause(
        current_services(), scope, name, _why(caller, scope, name, fields["reason"])
    )
    return json_response({"scope": scope.value, "name": name, "wasPaused": not is_new})


@api_levers.post("/keyturn/v1/pauses/_resume")
def resume() -> Response:
    """Send again; what waited goes at once, or at a pace."""
    caller = caller_here()
    fields = read_body(read_capped_body(), RESUME)
    scope, name = Scope(fields["scope"]), fields["name"]
    why = _why(caller, scope, name, fields["reason"])
    rate = fields.get("rate_per_second") or 0.0
    was_paused = actions.resume(current_services(), scope, name, why, per_second=rate)
    return json_response({"scope": scope.value, "name": name, "wasPaused": was_paused})


@api_levers.post("/keyturn/v1/limits/_clear")
def clear_limit() -> Response:
    """Forget what was counted toward one limit."""
    services, caller = current_services(), caller_here()
    fields = read_body(read_capped_body(), CLEAR_LIMIT)
    limit, about = fields["limit"], fields.get("id") or ""
    if limit == "user":
        auth.require_user(services, caller, about)
    elif limit == "organisation":
        auth.require_in(services, caller, about)
    else:
        auth.require_everywhere(services, caller, SYSTEM_WRITE)
    why = AuditReason(auth.by_token(caller), actions.check_reason(fields["reason"]))
    was_counted = actions.clear_limit(services, limit, about, why)
    return json_response({"limit": limit, "id": about or None, "wasCounted": was_counted})


@api_levers.post("/keyturn/v1/resets/<reset_id>/_hold")
def hold_reset(reset_id: str) -> Response:
    """Keep one reset from going out."""
    actions.hold(current_services(), reset_id, _why_for_reset(reset_id))
    return json_response({"resetId": reset_id, "isHeld": True})


@api_levers.post("/keyturn/v1/resets/<reset_id>/_release")
def release_reset(reset_id: str) -> Response:
    """Let a reset that was held go out."""
    actions.release(current_services(), reset_id, _why_for_reset(reset_id))
    return json_response({"resetId": reset_id, "isHeld": False})


@api_levers.post("/keyturn/v1/resets/<reset_id>/_resend")
def resend_reset(reset_id: str) -> Response:
    """A fresh reset for the user of another one."""
    caller_here()
    fields = read_body(read_capped_body(), RESEND)
    beside = request_context()
    wanted = ResendRequest(
        reset_id=reset_id,
        type=fields.get("type"),
        reason=fields.get("reason"),
        idempotency_key=beside.idempotency_key,
        request_id=beside.request_id,
    )
    recorded = resend(current_services(), beside.credentials, wanted)
    told = {
        "resetId": recorded.reset_id,
        "expiresAt": format_timestamp(recorded.deadline_at),
        **write_details(recorded),
    }
    return json_response(told, headers={"Keyturn-Reset-Id": recorded.reset_id})


@api_levers.get("/keyturn/v1/status")
def show_status() -> Response:
    """Queues, providers, pauses and batches, and what is wrong first."""
    services, caller = current_services(), caller_here()
    auth.require_everywhere(services, caller, SYSTEM_READ)
    return json_response(write_status(load_status(services)))


@api_levers.get("/keyturn/v1/audit")
def show_audit() -> Response:
    """Who did what by hand, and why; the newest first."""
    services, caller = current_services(), caller_here()
    auth.require_everywhere(services, caller, SYSTEM_READ)
    check_names(request.args.keys(), "limit")
    most = read_count(request.args.get("limit"), "limit", default=100, most=MAX_ENTRIES)
    return json_response(AUDIT.dump({"entries": services.audit.newest(most=most)}))


def caller_here() -> Caller:
    """Who asks; the operator's calls look at the token before anything else.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    return auth.authenticate(current_services(), credentials())


def _why(caller: Caller, scope: Scope, name: str, reason: str) -> AuditReason:
    if scope is Scope.ORGANISATION:
        auth.require_in(current_services(), caller, name)
    else:
        auth.require_everywhere(current_services(), caller, SYSTEM_WRITE)
    return AuditReason(auth.by_token(caller), actions.check_reason(reason))


def _why_for_reset(reset_id: str) -> AuditReason:
    services, caller = current_services(), caller_here()
    fields = read_body(read_capped_body(), REASON)
    auth.require_reset(services, caller, reset_id)
    return AuditReason(auth.by_token(caller), actions.check_reason(fields["reason"]))
