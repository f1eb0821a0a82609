"""An organisation's mail, SMS and page, as people get them."""

from __future__ import annotations

from flask import Response, g, request

from shared.errors import NotFoundError
from shared.organisations.profile import Profile
from web.auth import ORG_READ
from web.console.frame import HEADERS, caller_here, console, show
from web.http import current_services
from web.organisations.message_api import CONTENT_SECURITY_POLICY, render_page
from web.organisations.messages import NAMES, in_mode, preview

FRAMES = "frame-src 'self'; "
FRAMED = CONTENT_SECURITY_POLICY.replace("frame-ancestors 'none'", "frame-ancestors 'self'")
CHOSEN = ("language", "name")


@console.get("/console/preview")
def show_messages() -> Response:
    """Show mail, SMS and page of an organisation; mail and page in frames of their own."""
    services, caller = current_services(), caller_here()
    profile = _find(request.args.get("org") or g.console_session.org_id or caller.org_id)
    chosen = {name: request.args[name] for name in CHOSEN if request.args.get(name)}
    mail = preview(services, profile, **chosen)
    response = show(
        "messages.html",
        profile=profile,
        mail=mail,
        sms=preview(services, profile, channel="sms", **chosen),
        names=NAMES,
        languages=sorted(services.languages.tags),
        mode=_mode(),
    )
    response.headers["Content-Security-Policy"] = FRAMES + HEADERS["Content-Security-Policy"]
    return response


@console.get("/console/preview/<org_id>/<part>")
def show_part(org_id: str, part: str) -> Response:
    """Return the mail or the page alone, without scripts, for a frame."""
    services, profile = current_services(), _find(org_id)
    chosen = {name: request.args[name] for name in CHOSEN if request.args.get(name)}
    if part not in ("mail", "page"):
        raise NotFoundError
    shown = preview(services, profile, **chosen)
    html = shown["html"] if part == "mail" else render_page(profile, shown["language"])
    headers = {"Content-Security-Policy": f"sandbox; {FRAMED}", "X-Frame-Options": "SAMEORIGIN"}
    return Response(in_mode(html, _mode()), headers=headers, mimetype="text/html")


def _mode() -> str:
    return "dark" if request.args.get("mode") == "dark" else "light"


def _find(org_id: str) -> Profile:
    services = current_services()
    return services.auth.authorize_profile(caller_here(), services.profiles.find(org_id), ORG_READ)
