"""Now: what is wrong first, queues, providers, workers, pauses; pause and resume."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from flask import Response, g

from shared.errors import InvalidRequestError, NotFoundError
from shared.models import DUE_QUEUES
from shared.store.admin.pauses import Scope
from web.admin import actions, providers
from web.admin.alerts import find_alerts
from web.admin.schemas import MAX_PER_SECOND
from web.admin.status import load_status
from web.auth import SYSTEM_READ
from web.console.frame import Field, Question, ask, caller_here, console, go, show, why
from web.http import current_services

RATE = Field("rate", "How many a second", "Empty: all that waited, at once.", kind="number")
CHART_HEIGHT = 24


@console.get("/console")
@console.get("/console/")
def show_now() -> Response:
    """Show the state of the installation; those who may not see it are led to the resets."""
    services = current_services()
    if not services.auth.may_everywhere(caller_here(), SYSTEM_READ):
        return go("/resets", g.console_session.note)
    status = load_status(services)
    names = [f"{way}:{queue.value}" for queue in DUE_QUEUES for way in ("in", "out")]
    return show(
        "now.html",
        now=status,
        alerts=find_alerts(status),
        rates=services.samples.rates(*names),
        draw=draw,
        workers=[read_worker(name) for name in services.dues.workers_seen()],
    )


def draw(values: list[float], highest: float) -> str:
    """Return the points of a line, a step of four for each value, for an SVG."""
    scale = CHART_HEIGHT / (highest or 1)
    return " ".join(f"{4 * n},{CHART_HEIGHT - v * scale:.1f}" for n, v in enumerate(values))


def read_worker(name: str) -> dict[str, str | datetime | None]:
    """Return what a worker's name tells: its queues, process, version, and when it started."""
    queues, process, version, started, *_ = [*name.split(" "), "", "", ""]
    at = datetime.fromtimestamp(int(started), UTC) if started.isdigit() else None
    return {"queues": queues.replace(",", ", "), "name": process, "version": version, "at": at}


@console.route("/console/pauses/<scope>/<path:name>/pause", methods=["GET", "POST"])
def pause(scope: str, name: str) -> Response:
    """Pause a queue, channel, provider or organisation."""
    services, what = current_services(), _read_scope(scope, name)

    def act(filled: Mapping[str, str]) -> str:
        is_new = actions.pause(services, what, name, why(filled))
        return f"The {scope} {name} is paused." if is_new else f"{name} was paused already."

    text = "Resets are still recorded; those that would use it wait until you resume it."
    if what is Scope.PROVIDER:
        text = "Other providers of its channel carry its messages; without one they wait."
    return ask(Question(f"Pause the {scope} {name}", text, "Pause", _back(what)), act)


@console.route("/console/pauses/<scope>/<path:name>/resume", methods=["GET", "POST"])
def resume(scope: str, name: str) -> Response:
    """Resume it; a provider's circuit lets one message through at once."""
    services, what = current_services(), _read_scope(scope, name)
    is_provider = what is Scope.PROVIDER

    def act(filled: Mapping[str, str]) -> str:
        if is_provider:
            was_shut = providers.resume(services, name, why(filled))
            return f"{name} is tried again." if was_shut else f"{name} was neither paused nor shut."
        rate = _read_rate(filled.get("rate", ""))
        was_paused = actions.resume(services, what, name, why(filled), per_second=rate)
        return f"The {scope} {name} works again." if was_paused else f"{name} was not paused."

    text = "What waits for it is sent."
    if is_provider:
        text = "Its pause is lifted, and its circuit lets the next message through to see."
    fields = () if is_provider else (RATE,)
    title = f"Resume the {scope} {name}"
    return ask(Question(title, text, "Resume", _back(what), fields), act)


def _read_rate(text: str) -> float:
    try:
        rate = float(text or 0)
    except ValueError as error:
        raise InvalidRequestError("the rate must be a number") from error
    if not 0 <= rate <= MAX_PER_SECOND:
        raise InvalidRequestError(f"the rate must be from 0 to {MAX_PER_SECOND}")
    return rate


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
