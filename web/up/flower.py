"""Guard Flower: it always asks for a login, and answers under names of this installation alone.

`celery --app web.up.flower flower` finds its application here: it knows of no task.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64encode
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher
from tornado.web import RequestHandler, StaticFileHandler

from shared.queue import make_celery
from shared.settings import Settings, load_settings
from shared.settings.types import LOOPBACK

app = make_celery(load_settings(os.environ))

OPEN_PATHS = ("/healthcheck",)  # says OK and nothing else


class RefusedRequests(Matcher):
    """Matches requests to names that are not ours (DNS rebinding), and those without a login.

    With a broker that carries no events it matches all.
    """

    def __init__(self, settings: Settings, logins: list[str]) -> None:
        """Take the names from the settings."""
        own = (settings.host, urlsplit(settings.link_base).hostname, *settings.flower_hosts)
        self._names = {"localhost", *own}
        self._is_here = settings.flower_host in LOOPBACK
        self._kind = settings.broker_kind
        self._expected = [b"Basic " + b64encode(login.encode()) for login in logins]

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return the arguments of RefusalHandler; None for a request that may pass."""
        if not self._is_ours(request):
            text = "Flower has no such name; KEYTURN_FLOWER_HOSTS adds names.\n"
            return {"target_kwargs": {"status": 403, "text": text}}
        given = request.headers.get("Authorization", "").encode()
        is_known = any(hmac.compare_digest(given, expected) for expected in self._expected)
        if request.path in OPEN_PATHS or (is_known and self._kind.has_events):
            return None
        if is_known:
            text = "The broker carries no task events: `keyturn status` shows the queues.\n"
            return {"target_kwargs": {"status": 404, "text": text}}
        return {"target_kwargs": {"status": 401, "text": "Flower asks for a login.\n"}}

    def _is_ours(self, request: HTTPServerRequest) -> bool:
        """Return True for our names, and for addresses, which no site can make its own."""
        name = request.host_name.strip("[]").removesuffix(".")
        if {name, request.host.lower()} & self._names:
            return True
        try:
            return ip_address(name).is_loopback or not self._is_here
        except ValueError:
            return False


class AmendedFiles(StaticFileHandler):
    """Answers Flower's files; two with ours behind: all columns fit, ids lead to the console."""

    console = ""  # its address
    amended = ("css/flower.css", "js/flower.js")

    async def get(self, path: str, include_body: bool = True) -> None:  # noqa: FBT001, FBT002
        """Answer a file."""
        if path not in self.amended:
            return await super().get(path, include_body)
        theirs, ours = Path(self.root, path), Path(__file__).parents[1] / "templates"
        texts = [each.read_text(encoding="utf-8") for each in (theirs, ours / theirs.name)]
        kind = {".css": "text/css", ".js": "text/javascript"}[theirs.suffix]
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.absolute_path = str(theirs)  # of which its parent makes the ETag
        return self.write("\n".join(texts).replace("CONSOLE", self.console))


class RefusalHandler(RequestHandler):
    """Answers what was refused."""

    def initialize(self, status: int, text: str) -> None:
        """Take what RefusedRequests matched with."""
        self._status, self._text = status, text

    def check_xsrf_cookie(self) -> None:
        """Do nothing: a refused request changes nothing."""

    def prepare(self) -> None:
        """Answer before any method runs."""
        self.set_status(self._status)
        self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.finish(self._text)
