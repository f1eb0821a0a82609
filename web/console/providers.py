"""Providers: circuits, error rates, pauses."""

from __future__ import annotations

from flask import Response

from web.admin import providers
from web.auth import SYSTEM_READ
from web.console.frame import caller_here, console, show
from web.http import current_services


@console.get("/console/providers")
def list_providers() -> Response:
    """Show every provider of every channel."""
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_READ)
    views = providers.load_providers(services, providers.read_activity(services))
    return show("providers.html", providers=views)
