"""The pages in one process: an installation with the user `ada`, and a visitor's browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, NoReturn

import redis

from shared.codes import Code
from shared.links import default_link, short_link
from shared.models import Channel
from shared.recording import ResetRequest, record_reset
from shared.store.topology.cluster import StoreCluster
from shared.wiring import build_services
from tests.support.builders import a_settings, a_user, an_organisation
from tests.support.fakes import FakeHints
from web.app import create_app
from web.pages.enumeration import UniformDelay
from web.pages.routes import UNIFORM_DELAY
from web.services import build_web_services

PATH = "/ui/password/reset"
FRESH_PATH = "/ui/password/reset/fresh"
PASSWORD = "Correct-horse-7"
NO_DELAY = UniformDelay(slots=50, min_seconds=0)


@dataclass
class Seen:
    """A page as a reader meets it."""

    language: str | None = None
    words: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def find(self, **fields: str) -> dict[str, str | None]:
        """The one tag with these attributes."""
        wanted = {name.rstrip("_"): value for name, value in fields.items()}
        found = [its for _, its in self.tags if wanted.items() <= its.items()]
        assert len(found) == 1, (fields, found)
        return found[0]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen, self._is_style = Seen(), False

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self.seen.tags.append((tag, fields))
        self._is_style = tag == "style"
        if tag == "html":
            self.seen.language = fields.get("lang")
        if tag == "form":
            self.seen.forms.append({})
            self.seen.actions.append(fields["action"])
        if tag == "input" and fields.get("name"):
            self.seen.forms[-1][fields["name"]] = fields.get("value") or ""

    def handle_endtag(self, tag):
        self._is_style = False

    def handle_data(self, data):
        if not self._is_style:
            self.seen.words.append(data)


def see(response: Any) -> Seen:
    """The page of an answer."""
    assert response.mimetype == "text/html", response.get_data(as_text=True)
    reader = _Reader()
    reader.feed(response.get_data(as_text=True))
    return reader.seen


def _refuse(address: object) -> NoReturn:
    raise redis.ConnectionError(f"{address}: refused")


class Visit:
    """A visitor, and the installation behind the pages."""

    def __init__(self, client: Any, *, delay: UniformDelay = NO_DELAY, **settings: Any) -> None:
        self.redis = client
        self.hints = FakeHints()
        fields = {"sms_countries": ("CH",)} | settings
        self.services = build_services(a_settings(**fields), client=client, hints=self.hints)
        self.app = create_app(self.services)
        self.app.extensions[UNIFORM_DELAY] = delay
        self.browser = self.app.test_client()
        an_organisation(self.services)
        a_user(self.services, language="de")

    def lose_redis(self) -> None:
        """Redis, or the whole cluster, refuses connections from now on."""
        if isinstance(self.redis, StoreCluster):
            self.redis._node = _refuse
        else:
            self.redis.connection_pool.connection_kwargs["server"].connected = False

    def record(self, user_id: str = "ada", channel: Channel = Channel.EMAIL) -> tuple[str, Code]:
        """A reset as it stands after the call: its id and its code."""
        services = self.services
        user = services.directory.find_user(user_id)
        reset_id = services.digests.new_reset_id(user_id)
        order = ResetRequest(user=user, organisation=None, channel=channel, reset_id=reset_id)
        record_reset(build_web_services(services), order)
        return reset_id, services.codes.code(reset_id, services.codes.signing_key_id)

    def link(self, code: Code, user_id: str = "ada", **more: str) -> str:
        return default_link("", user_id=user_id, code=code, org_id="acme", **more)

    def short_link(self, reset_id: str, code: Code) -> str:
        return short_link("", reset_id=reset_id, code=code)

    def open(self, path: str, *, method: str = "GET", **headers: str):
        return self.browser.open(path, method=method, headers=_spelled(headers))

    def post(self, form: dict[str, str], *, path: str = PATH, **headers: str):
        return self.browser.post(path, data=form, headers=_spelled(headers))

    def fill(self, link: str, **changes: str) -> dict[str, str]:
        """The form behind a link as somebody fills it in."""
        form = see(self.open(link)).forms[0]
        return form | {"password": PASSWORD, "passwordConfirm": PASSWORD} | changes

    def save(self, link: str, **changes: str):
        """Open a link and post its form."""
        return self.post(self.fill(link, **changes))

    def has_password(self, password: str = PASSWORD, user_id: str = "ada") -> bool:
        directory = self.services.directory
        return directory.has_password(directory.find_user(user_id), password)

    def everything_stored(self) -> dict[str, Any]:
        """The whole store as bytes."""
        return {key: self.redis.dump(key) for key in self.redis.keys("*")}


def _spelled(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
