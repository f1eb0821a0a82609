"""REST of the operator: pauses, limits, holds, resends, status, audit trail."""

from __future__ import annotations

from flask import Blueprint, Response, request

from shared.models import Caller
from shared.store.admin.pauses import Scope
from shared.validation import format_timestamp
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
    serialise_status,
)
from web.admin.status import load_status
from web.auth import SYSTEM_READ, USER_WRITE, audit_name
from web.explain.query import check_names, read_count
from web.http import (
    CallResponse,
    count_changes,
    credentials,
    current_services,
    json_response,
    request_context,
    respond,
)
from web.middleware import read_capped_body
from web.schemas import read_body, write_details

api_admin = Blueprint("api_admin", __name__)
api_admin.before_request(count_changes)
MAX_ENTRIES = 1000


@api_admin.get("/keyturn/v1/pauses")
def list_pauses() -> Response:
    """List the pauses in force and the releases under way, as far as the caller may see them."""
    services, caller = current_services(), caller_here()

    def may_see(scope: Scope, name: str) -> bool:
        return services.auth.may_see_pauses(caller, _org_id(scope, name))

    pauses, releases = services.pauses.all(), services.pauses.releases()
    return json_response(
        PAUSES.dump(
            {
                "pauses": [each for each in pauses if may_see(each.scope, each.name)],
                "releases": [each for each in releases if may_see(each.scope, each.name)],
            }
        )
    )


@api_admin.post("/keyturn/v1/pauses")
def pause() -> Response:
    """Pause a queue, channel, provider or organisation."""
    caller = caller_here()
    fields = read_body(read_capped_body(), PAUSE)
    scope, name = Scope(fields["scope"]), fields["name"]
    is_new = actions.pause(
        current_services(), scope, name, _why(caller, scope, name, fields["reason"])
    )
    return json_response({"scope": scope.value, "name": name, "wasPaused": not is_new})


@api_admin.post("/keyturn/v1/pauses/_resume")
def resume() -> Response:
    """Resume; what waited is released at once, or at a rate."""
    caller = caller_here()
    fields = read_body(read_capped_body(), RESUME)
    scope, name = Scope(fields["scope"]), fields["name"]
    why = _why(caller, scope, name, fields["reason"])
    rate = fields.get("rate_per_second") or 0.0
    was_paused = actions.resume(current_services(), scope, name, why, per_second=rate)
    return json_response({"scope": scope.value, "name": name, "wasPaused": was_paused})


@api_admin.post("/keyturn/v1/limits/_clear")
def clear_limit() -> Response:
    """Clear the count of one limit."""
    services, caller = current_services(), caller_here()
    fields = read_body(read_capped_body(), CLEAR_LIMIT)
    limit, about = fields["limit"], fields.get("id") or ""
    if limit == "user":
        services.auth.authorize_user(caller, services.directory.find_user(about))
    else:
        services.auth.authorize_operator(caller, about if limit == "organisation" else None)
    why = AuditReason(audit_name(caller), actions.check_reason(fields["reason"]))
    cleared = actions.clear_limit(services, limit, about, why)
    answer = {"limit": limit, "id": about or None, "wasCounted": bool(cleared), "cleared": cleared}
    return json_response(answer)


@api_admin.post("/keyturn/v1/resets/<reset_id>/_hold")
def hold_reset(reset_id: str) -> Response:
    """Hold one reset."""
    actions.hold(current_services(), reset_id, _why_for_reset(reset_id))
    return json_response({"resetId": reset_id, "isHeld": True})


@api_admin.post("/keyturn/v1/resets/<reset_id>/_release")
def release_reset(reset_id: str) -> Response:
    """Release a held reset."""
    actions.release(current_services(), reset_id, _why_for_reset(reset_id))
    return json_response({"resetId": reset_id, "isHeld": False})


@api_admin.post("/keyturn/v1/resets/<reset_id>/_void")
def void_reset(reset_id: str) -> Response:
    """End the code of one reset."""
    actions.void(current_services(), reset_id, _why_for_reset(reset_id))
    return json_response({"resetId": reset_id, "isVoided": True})


@api_admin.post("/keyturn/v1/resets/<reset_id>/_resend")
def resend_reset(reset_id: str) -> Response:
    """Record a fresh reset for the user of another one."""
    caller_here()
    fields = read_body(read_capped_body(), RESEND)
    beside = request_context()
    wanted = ResendRequest(
        reset_id=reset_id,
        type=fields.get("type"),
        reason=fields.get("reason"),
        idempotency_key=beside.idempotency_key,
    )
    recorded = resend(current_services(), beside.credentials, wanted)
    body = {
        "resetId": recorded.reset_id,
        "expiresAt": format_timestamp(recorded.deadline_at),
        **write_details(recorded),
    }
    return respond(CallResponse(body, recorded.reset_id, not recorded.is_new))


@api_admin.get("/keyturn/v1/status")
def show_status() -> Response:
    """Show alerts, queues, providers, pauses and batches."""
    services, caller = current_services(), caller_here()
    services.auth.authorize_instance(caller, SYSTEM_READ)
    return json_response(serialise_status(load_status(services)))


@api_admin.get("/keyturn/v1/audit")
def show_audit() -> Response:
    """List the entries of the audit trail, the newest first."""
    services, caller = current_services(), caller_here()
    services.auth.authorize_instance(caller, SYSTEM_READ)
    check_names(request.args.keys(), "limit")
    most = read_count(request.args.get("limit"), "limit", default=100, most=MAX_ENTRIES)
    return json_response(AUDIT.dump({"entries": services.audit.newest(most=most)}))


def caller_here() -> Caller:
    """Return the caller; the operator's calls check the token before anything else.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    return current_services().auth.authenticate(credentials())


def _org_id(scope: Scope, name: str) -> str | None:
    return name if scope is Scope.ORGANISATION else None


def _why(caller: Caller, scope: Scope, name: str, reason: str) -> AuditReason:
    current_services().auth.authorize_operator(caller, _org_id(scope, name))
    return AuditReason(audit_name(caller), actions.check_reason(reason))


def _why_for_reset(reset_id: str) -> AuditReason:
    services, caller = current_services(), caller_here()
    fields = read_body(read_capped_body(), REASON)
    services.auth.authorize_reset(caller, services.resets.find(reset_id), USER_WRITE)
    return AuditReason(audit_name(caller), actions.check_reason(fields["reason"]))
