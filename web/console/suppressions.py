"""Suppressions: who is not written to, and why; add and lift them."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, request

from shared.errors import NotFoundError
from web.admin import actions
from web.auth import SYSTEM_READ
from web.console.frame import Field, Question, ask, caller_here, console, show, why
from web.http import current_services
from web.organisations.messages import read_address

ON_A_PAGE, MAX_FIRST = 50, 10**9
ADDRESS = Field("to", "E-mail address or phone number", is_needed=True)


@console.get("/console/suppressions")
def list_suppressions() -> Response:
    """List the recipients by digest, the newest first; addresses are not stored."""
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_READ)
    first = max(0, min(request.args.get("from", 0, int), MAX_FIRST))
    rows, total = services.suppressions.page(first, ON_A_PAGE)
    further = first + ON_A_PAGE if total > first + ON_A_PAGE else 0
    return show("suppressions.html", rows=rows, total=total, further=further)


@console.route("/console/suppressions/<verb>", methods=["GET", "POST"])
@console.route("/console/suppressions/<verb>/<digest>", methods=["GET", "POST"])
def change_suppression(verb: str, digest: str = "") -> Response:
    """Suppress an address, or lift its suppression, by the address or by its digest."""
    services = current_services()
    services.auth.authorize_operator(caller_here(), None)
    if verb not in ("add", "lift") or (digest and verb != "lift"):
        raise NotFoundError

    def act(filled: Mapping[str, str]) -> str:
        if digest:
            actions.lift_digest(services, digest, why(filled))
            return "The suppression is lifted."
        recipient = read_address(filled.get("to", ""))
        if verb == "lift":
            actions.lift(services, recipient, why(filled))
            return f"The suppression of {recipient.masked} is lifted."
        is_new = actions.suppress(services, recipient, why(filled))
        return f"{recipient.masked} {'is suppressed' if is_new else 'was suppressed already'}."

    title, text = ("Lift a suppression", "The recipient gets messages again, from the next reset.")
    if verb != "lift":
        title, text = ("Suppress an address", "Nothing is sent to it any more.")
    fields = () if digest else (ADDRESS,)
    return ask(Question(title, text, title.split()[0], "/suppressions", fields), act)
