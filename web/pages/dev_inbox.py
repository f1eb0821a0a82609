"""Serve /dev/inbox: the messages in the outbox, and / with what else there is: for development."""

from __future__ import annotations

import re
import shlex
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
# Headers that a proxy adds.
PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
# The mails' own styles are inline, and a frame made of text obeys the policy of its page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@inbox.get("/")
def show_start() -> Response:
    """Show what a development start has: a call to copy, inbox, console, documentation, queues."""
    count, settings = len(_read()), current_services().settings
    token_file = settings.data_dir / "demo_token"
    page = render_template(
        "start.html",
        count=count,
        base=settings.link_base,
        settings=settings,
        # The file, not the token: who may read this page may not read that by it.
        token=f"$(cat {shlex.quote(str(token_file))})" if token_file.exists() else "TOKEN",
    )
    return _answer(page)


@inbox.get("/dev/inbox")
def show_inbox() -> Response:
    """Show the last messages, newest first, with their links."""
    page = render_template(
        "inbox.html",
        entries=_read(),
        split_at_links=LINK.split,
        open_links_in_new_window=_open_links_in_new_window,
    )
    return _answer(page)


def _answer(page: str) -> Response:
    headers = {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
    }
    return Response(page, headers=headers, mimetype="text/html")


@inbox.get("/dev/inbox.json")
def list_inbox() -> Response:
    """Return the same as JSON, for tests and tools."""
    return Response(orjson.dumps(_read()), mimetype="application/json")


def _read() -> list[dict[str, Any]]:
    settings = current_services().settings
    is_in_use = "outbox" in (*settings.email_providers, *settings.sms_providers)
    is_open = settings.dev_inbox == "on" or (
        settings.dev_inbox == "auto" and _is_from_this_machine(settings)
    )
    if not is_in_use or not is_open:
        raise NotFoundError
    return read_outbox(settings.data_dir)


def _is_from_this_machine(settings: Settings) -> bool:
    """Return True for a request from loopback, without a proxy, where links lead to loopback too.

    Links that lead elsewhere are those of an installation for others. The Host header is checked
    because of DNS rebinding: a site can make its own name resolve to 127.0.0.1.
    """
    if any(name in request.headers for name in PROXY_HEADERS):
        return False
    names = [urlsplit(url).hostname or "" for url in (settings.link_base, f"//{request.host}")]
    return all(map(_is_loopback, [request.remote_addr or "", *names]))


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address("127.0.0.1" if address == "localhost" else address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


def _open_links_in_new_window(html: str) -> str:
    """Return the mail with links that leave the frame: our pages refuse to be framed."""
    return html.replace("<head>", '<head><base target="_blank">', 1)
