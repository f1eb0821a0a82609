"""Serve /dev/inbox: the messages in the outbox, for development."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Response, render_template, request

from shared.errors import NotFoundError
from shared.providers.outbox import read_outbox
from shared.settings import Settings
from web.http import current_services

inbox = Blueprint("inbox", __name__, template_folder="templates")

LINK = re.compile(r"(https?://[^\s<>\"]+)")
# Any of these says that somebody else's request was passed on.
PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
# The mails' own styles are inline, and a frame made of text obeys the policy of its page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@inbox.get("/dev/inbox")
def show_inbox() -> Response:
    """The last messages, newest first, with their links."""
    entries = _read()
    page = render_template(
        "inbox.html", entries=entries, find_links=_find_links, in_new_window=_in_new_window
    )
    headers = {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
    }
    return Response(page, headers=headers, mimetype="text/html")


@inbox.get("/dev/inbox.json")
def list_inbox() -> Response:
    """The same, for tests and tools."""
    return Response(orjson.dumps(_read()), mimetype="application/json")


def _read() -> list[dict[str, Any]]:
    settings = current_services().settings
    is_in_use = "outbox" in (*settings.email_providers, *settings.sms_providers)
    if not is_in_use or not _may_look(settings):
        raise NotFoundError
    return read_outbox(settings.data_dir)


def _may_look(settings: Settings) -> bool:
    if settings.dev_inbox == "auto":
        return _is_from_this_machine(settings)
    return settings.dev_inbox == "on"


def _is_from_this_machine(settings: Settings) -> bool:
    """True for a caller on loopback who was not passed on, and who asked for us by name.

    The name matters: a foreign site may have its own name lead a visitor's browser to 127.0.0.1.
    """
    if any(name in request.headers for name in PASSED_ON):
        return False
    name = urlsplit(f"//{request.host}").hostname or ""
    own_names = ("localhost", urlsplit(settings.link_base).hostname)
    return _is_loopback(request.remote_addr or "") and (name in own_names or _is_loopback(name))


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


def _find_links(text: str) -> list[str]:
    """Words, link, words, link, …, words."""
    return LINK.split(text)


def _in_new_window(html: str) -> str:
    """A mail whose links open beside the inbox, for no page of ours lets itself be framed."""
    return html.replace("<head>", '<head><base target="_blank">', 1)
