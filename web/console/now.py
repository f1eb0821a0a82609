"""Now: what is wrong first, queues, providers, pauses; pause and resume."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response

from shared.errors import NotFoundError
from shared.store.admin.pauses import Scope
from web.admin import actions, providers
from web.admin.alerts import find_alerts
from web.admin.status import load_status
from web.auth import SYSTEM_READ
from web.console.frame import Field, Question, ask, caller_here, console, show, why
from web.http import current_services

RATE = Field("rate", "How many a second", "Empty: all at once.")


@console.get("/console")
def show_now() -> Response:
    """Show the state of the installation."""
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_READ)
    status = load_status(services)
    return show("now.html", now=status, alerts=find_alerts(status))


@console.route("/console/pauses/<scope>/<path:name>/pause", methods=["GET", "POST"])
def pause(scope: str, name: str) -> Response:
    """Pause a queue, channel, provider or organisation."""
    services, what = current_services(), _read_scope(scope, name)

    def act(filled: Mapping[str, str]) -> str:
        is_new = actions.pause(services, what, name, why(filled))
        return f"The {scope} {name} is paused." if is_new else f"{name} was paused already."

    text = "Resets are still recorded; those that would use it wait until you resume it."
    return ask(Question(f"Pause the {scope} {name}", text, "Pause", _back(what)), act)


@console.route("/console/pauses/<scope>/<path:name>/resume", methods=["GET", "POST"])
def resume(scope: str, name: str) -> Response:
    """Resume it; a provider's circuit lets one message through at once."""
    services, what = current_services(), _read_scope(scope, name)

    def act(filled: Mapping[str, str]) -> str:
        if what is Scope.PROVIDER:
            was_paused = providers.resume(services, name, why(filled))
        else:
            was_paused = actions.resume(services, what, name, why(filled))
        return f"The {scope} {name} works again." if was_paused else f"{name} was not paused."

    text = "What waits is sent."
    return ask(Question(f"Resume the {scope} {name}", text, "Resume", _back(what)), act)


def _read_scope(scope: str, name: str) -> Scope:
    """Return the scope of a path, if the caller may pause and resume that.

    Raises:
        NotFoundError, MembershipMissingError, PermissionDeniedError.
    """
    if scope not in list(Scope):
        raise NotFoundError
    what = Scope(scope)
    org_id = name if what is Scope.ORGANISATION else None
    current_services().auth.authorize_operator(caller_here(), org_id)
    return what


def _back(scope: Scope) -> str:
    return "/providers" if scope is Scope.PROVIDER else ""
