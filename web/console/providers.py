"""Providers: circuits, error rates, pauses; a test message."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response

from web.admin import providers
from web.auth import SYSTEM_READ, SYSTEM_WRITE
from web.console.frame import Field, Question, ask, caller_here, console, show, why
from web.explain.wording import SWITCH_REASONS
from web.http import current_services
from web.leaving.erasure import read_recipient

TO = Field(
    "to", "To", "An e-mail address, or a phone number with + and its country.", is_needed=True
)
LANGUAGE = Field("language", "Language", value="en")


@console.get("/console/providers")
def list_providers() -> Response:
    """Show every provider of every channel."""
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_READ)
    views = providers.load_providers(services, providers.read_activity(services))
    return show("providers.html", providers=views, switch_reasons=SWITCH_REASONS)


@console.route("/console/providers/<name>/test", methods=["GET", "POST"])
def send_test(name: str) -> Response:
    """Send one test message now, even if its circuit is open."""
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_WRITE)

    def act(filled: Mapping[str, str]) -> str:
        who, to = why(filled), read_recipient(filled.get("to", ""))
        trial = providers.send_test(
            services, name, to, language=filled.get("language", ""), by=who.by, reason=who.reason
        )
        detail = f" ({trial.detail})" if trial.detail else ""
        return f"{name}: {trial.outcome}{detail}, after {trial.duration_ms} ms."

    text = "One message goes out now, even if the provider is paused or its circuit open."
    title = f"Test {name}"
    return ask(Question(title, text, "Send", "/providers", (TO, LANGUAGE)), act)
