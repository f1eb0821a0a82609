"""REST of the operator: pauses, limits, holds, resending, the audit trail; no rule stands here."""

from __future__ import annotations

from flask import Blueprint, Response, request

from shared.models import Caller
from shared.store.pauses import Scope
from web import lever_rights, levers
from web.api import answer, asked, credentials, house
from web.json_bodies import read_body
from web.lever_rights import SYSTEM_READ, SYSTEM_WRITE, USER_READ
from web.lever_schemas import (
    CLEAR_LIMIT,
    PAUSE,
    REASON,
    RESEND,
    RESUME,
    write_entry,
    write_pause,
    write_release,
)
from web.levers import Why
from web.listing import check_names, read_count
from web.requests import read_capped_body
from web.resending import WantedResend, resend
from web.schemas import spell, write_details
from web.status import look_at_status
from web.status_schemas import write_status

api_levers = Blueprint("api_levers", __name__)
MOST_ENTRIES = 1000


@api_levers.get("/keyturn/v1/pauses")
def list_pauses() -> Response:
    """The pauses in force, and what is being let go: those of organisations the caller may see."""
    services, caller = house(), caller_here()
    sees_all = services.auth.may_everywhere(caller, SYSTEM_READ)

    def may_see(scope: Scope, name: str) -> bool:
        is_theirs = scope is Scope.ORGANISATION and services.auth.may(caller, name, USER_READ)
        return sees_all or is_theirs

    pauses, releases = services.pauses.all(), services.pauses.releases()
    return answer(
        {
            "pauses": [write_pause(each) for each in pauses if may_see(each.scope, each.name)],
            "releases": [write_release(r) for r in releases if may_see(r.scope, r.name)],
        }
    )


@api_levers.post("/keyturn/v1/pauses")
def pause() -> Response:
    """Send nothing of a queue, channel, provider or organisation."""
    caller = caller_here()
    fields = read_body(read_capped_body(), PAUSE)
    scope, name = Scope(fields["scope"]), fields["name"]
    is_new = levers.pause(house(), scope, name, _why(caller, scope, name, fields["reason"]))
    return answer({"scope": scope.value, "name": name, "wasPaused": not is_new})


@api_levers.post("/keyturn/v1/pauses/_resume")
def resume() -> Response:
    """Send again; what waited goes at once, or at a pace."""
    caller = caller_here()
    fields = read_body(read_capped_body(), RESUME)
    scope, name = Scope(fields["scope"]), fields["name"]
    why = _why(caller, scope, name, fields["reason"])
    rate = fields.get("rate_per_second") or 0.0
    was_paused = levers.resume(house(), scope, name, why, per_second=rate)
    return answer({"scope": scope.value, "name": name, "wasPaused": was_paused})


@api_levers.post("/keyturn/v1/limits/_clear")
def clear_limit() -> Response:
    """Forget what was counted toward one limit."""
    services, caller = house(), caller_here()
    fields = read_body(read_capped_body(), CLEAR_LIMIT)
    limit, about = fields["limit"], fields.get("id") or ""
    if limit == "user":
        lever_rights.require_user(services, caller, about)
    elif limit == "organisation":
        lever_rights.require_in(services, caller, about)
    else:
        lever_rights.require_everywhere(services, caller, SYSTEM_WRITE)
    why = Why(lever_rights.by_token(caller), levers.check_reason(fields["reason"]))
    was_counted = levers.clear_limit(services, limit, about, why)
    return answer({"limit": limit, "id": about or None, "wasCounted": was_counted})


@api_levers.post("/keyturn/v1/resets/<reset_id>/_hold")
def hold_reset(reset_id: str) -> Response:
    """Keep one reset from going out."""
    levers.hold(house(), reset_id, _why_for_reset(reset_id))
    return answer({"resetId": reset_id, "isHeld": True})


@api_levers.post("/keyturn/v1/resets/<reset_id>/_release")
def release_reset(reset_id: str) -> Response:
    """Let a reset that was held go out."""
    levers.let_go(house(), reset_id, _why_for_reset(reset_id))
    return answer({"resetId": reset_id, "isHeld": False})


@api_levers.post("/keyturn/v1/resets/<reset_id>/_resend")
def resend_reset(reset_id: str) -> Response:
    """A fresh reset for the user of another one."""
    caller_here()
    fields = read_body(read_capped_body(), RESEND)
    beside = asked()
    wanted = WantedResend(
        reset_id=reset_id,
        type=fields.get("type"),
        reason=fields.get("reason"),
        idempotency_key=beside.idempotency_key,
        request_id=beside.request_id,
    )
    recorded = resend(house(), beside.credentials, wanted)
    told = {
        "resetId": recorded.reset_id,
        "expiresAt": spell(recorded.deadline_at),
        **write_details(recorded),
    }
    return answer(told, headers={"Keyturn-Reset-Id": recorded.reset_id})


@api_levers.get("/keyturn/v1/status")
def show_status() -> Response:
    """Queues, providers, pauses and batches, and what is wrong first."""
    services, caller = house(), caller_here()
    lever_rights.require_everywhere(services, caller, SYSTEM_READ)
    return answer(write_status(look_at_status(services)))


@api_levers.get("/keyturn/v1/audit")
def show_audit() -> Response:
    """Who did what by hand, and why; the newest first."""
    services, caller = house(), caller_here()
    lever_rights.require_everywhere(services, caller, SYSTEM_READ)
    check_names(request.args.keys(), "limit")
    most = read_count(request.args.get("limit"), "limit", default=100, most=MOST_ENTRIES)
    entries = services.audit.newest(most=most)
    return answer({"entries": [write_entry(entry) for entry in entries]})


def caller_here() -> Caller:
    """Who asks; the operator's calls look at the token before anything else.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    return lever_rights.authenticate(house(), credentials())


def _why(caller: Caller, scope: Scope, name: str, reason: str) -> Why:
    if scope is Scope.ORGANISATION:
        lever_rights.require_in(house(), caller, name)
    else:
        lever_rights.require_everywhere(house(), caller, SYSTEM_WRITE)
    return Why(lever_rights.by_token(caller), levers.check_reason(reason))


def _why_for_reset(reset_id: str) -> Why:
    services, caller = house(), caller_here()
    fields = read_body(read_capped_body(), REASON)
    lever_rights.require_reset(services, caller, reset_id)
    return Why(lever_rights.by_token(caller), levers.check_reason(fields["reason"]))
