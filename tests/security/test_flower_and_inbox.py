"""Flower asks everybody for a login and answers under its own names; who reads /dev/inbox."""

from __future__ import annotations

import http.client
import os
import re
import stat
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress

import pytest

from shared.errors import SettingsError
from shared.settings import load_settings
from tests import CHECKOUT
from tests.journeys.stack import free_ports
from tests.support.front_door import HAPROXY, FrontDoor, ask
from tests.support.pages import Visit
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS, wait_until

SET = "operator:a long password"
GET = "GET"
PAGES = ["/", "/workers", "/tasks", "/broker", "/task/x", "/worker/x", "/metrics", "/nothing"]
API = ["/api/tasks", "/api/workers", "/api/task/info/x", "/api/task/types", "/api/queues/length"]
EVIL = ["evil.example", "evil.example:5555", "localhost.evil.example", "127.0.0.1.evil.example"]
EVIL += ["localhost@evil.example", "evil.example,localhost", "127.0.0.1.nip.io", "0x7f.1", "a b"]


class Flower:
    """A Flower of its own, as the Procfile starts it, with no broker behind it."""

    def __init__(self, folder, **settings):
        (self.port,) = free_ports(1)
        self.login_path = folder / "flower_login"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        given = {
            "KEYTURN_FLOWER_PORT": str(self.port),
            "KEYTURN_DATA_DIR": str(folder),
            "KEYTURN_REDIS_URL": f"unix://{folder}/none.sock",
            "FLOWER_UNAUTHENTICATED_API": "true",  # an environment cannot open it again
        }
        command = ["-m", "celery", "--quiet", "--app", "web.up.flower", "flower"]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--conf=deploy/flowerconfig.py"],
            env=inherited | given | settings,
            cwd=CHECKOUT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def login(self):
        return self.login_path.read_text().strip()

    def ask(self, path, *, method=GET, login=None, host="127.0.0.1", raw=None, **headers):
        if login or raw:
            headers["Authorization"] = raw or f"Basic {b64encode(login.encode()).decode()}"
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_SECONDS)
        try:
            line.request(method, path, headers={"Host": host, **headers})
            answer = line.getresponse()
            answer.read()
            return answer
        finally:
            line.close()

    def is_there(self):
        assert self.process.poll() is None
        with suppress(OSError):
            return self.ask("/healthcheck").status == 200
        return False


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """One as it comes; one with a login, names of its own, and open to other machines."""
    running = [
        Flower(tmp_path_factory.mktemp("plain")),
        Flower(
            tmp_path_factory.mktemp("named"),
            KEYTURN_HOST="0.0.0.0",
            KEYTURN_FLOWER_BASIC_AUTH=f"eve:another password,{SET}",
            KEYTURN_FLOWER_HOSTS="queues.example.com,other.example.com:444",
            KEYTURN_PUBLIC_URL="https://reset.example.com",
        ),
    ]
    for each in running:
        wait_until(each.is_there, what="Flower")
    yield running
    for each in running:
        each.process.kill()
        each.process.wait(HANG_SECONDS)


@pytest.fixture
def flower(flowers):
    return flowers[0]


@pytest.fixture
def named(flowers):
    return flowers[1]


# ---- Flower: a login always


@pytest.mark.parametrize("path", [*PAGES, *API])
def test_flower_asks_for_a_login_that_it_made(flower, path):
    answer = flower.ask(path)

    assert answer.status == 401
    assert answer.getheader("WWW-Authenticate").startswith("Basic ")
    assert flower.ask(path, login=flower.login).status != 401


def test_the_login_is_long_and_for_its_owner_alone(flower, named):
    user, _, password = flower.login.partition(":")

    assert (user, len(password) >= 32) == ("operator", True)
    assert stat.S_IMODE(flower.login_path.stat().st_mode) == 0o600
    assert not named.login_path.exists()


@pytest.mark.parametrize(
    "raw",
    ["Basic", "Basic !", "Bearer x", "Basic Og==", "Basic w7w6w7w=", "Basic /////w==", "x" * 5000,
     f"Basic {b64encode(b'operator:').decode()}", f"Digest {b64encode(SET.encode()).decode()}"],
)  # fmt: skip
def test_what_is_no_login_is_refused_and_breaks_nothing(flower, named, raw):
    for each in (flower, named):
        assert each.ask("/tasks", raw=raw).status == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_no_method_goes_round_the_login(flower, method):
    assert flower.ask("/api/task/revoke/x", method=method).status == 401


def test_each_login_that_was_set_opens_flower(named):
    statuses = [
        named.ask("/tasks", login=login).status for login in (SET, "eve:another password", "a:b")
    ]

    assert statuses == [200, 200, 401]


def test_a_broker_without_events_leaves_flower_with_a_sentence(tmp_path):
    lonely = Flower(tmp_path, KEYTURN_BROKER_URL="none")
    try:
        wait_until(lonely.is_there, what="Flower")
        assert lonely.ask("/workers").status == 401
        assert lonely.ask("/workers", login=lonely.login).status == 404
        assert lonely.ask("/healthcheck").status == 200
    finally:
        lonely.process.kill()
        lonely.process.wait(HANG_SECONDS)


@pytest.mark.parametrize("text", ["", "\n", "operator:short", "no colon at all"])
def test_a_login_file_that_holds_none_opens_nothing(tmp_path, text):
    from web.up.demo import read_logins

    (tmp_path / "flower_login").write_text(text)

    with pytest.raises(SettingsError, match=r"flower_login.*remove the file for a new one"):
        read_logins(load_settings({"KEYTURN_DATA_DIR": str(tmp_path)}))


# ---- Flower: other origins, other names


@pytest.mark.parametrize("path", ["/tasks", "/api/tasks", "/healthcheck", "/nothing"])
@pytest.mark.parametrize("method", [GET, "OPTIONS"])
def test_no_other_origin_may_read(flower, named, path, method):
    for each, login in ((flower, flower.login), (named, SET)):
        for sent in (login, None):
            answer = each.ask(path, method=method, login=sent, Origin="https://evil.example")

            assert answer.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("host", EVIL)
@pytest.mark.parametrize("path", ["/tasks", "/api/tasks", "/healthcheck", "/metrics"])
def test_a_name_that_was_rebound_is_refused_even_with_the_login(flower, named, host, path):
    for each, login in ((flower, flower.login), (named, SET)):
        assert each.ask(path, login=login, host=host).status in (400, 403)


@pytest.mark.parametrize(
    ("host", "plain_status", "named_status"),
    [
        ("localhost:5555", 200, 200),
        ("LOCALHOST", 200, 200),
        ("localhost.", 200, 200),
        ("[::1]:5555", 200, 200),
        ("127.0.0.2", 200, 200),
        ("192.0.2.7:5555", 403, 200),  # an address is no name; this one is not this machine
        ("reset.example.com:5556", 403, 200),
        ("queues.example.com", 403, 200),
        ("queues.example.com:1", 403, 200),
        ("other.example.com:444", 403, 200),
        ("other.example.com:445", 403, 403),
    ],
)
def test_flower_answers_under_its_own_names(flower, named, host, plain_status, named_status):
    assert flower.ask("/tasks", login=flower.login, host=host).status == plain_status
    assert named.ask("/tasks", login=SET, host=host).status == named_status


# ---- /dev/inbox


@pytest.mark.parametrize("path", ["/dev/inbox", "/dev/inbox.json"])
@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1:8080", 200),
        ("http://localhost:8080", 200),
        ("http://[::1]:8080", 200),
        ("http://127.9.9.9", 200),
        ("https://reset.example.com", 404),
        ("http://192.0.2.7:8080", 404),
        ("http://10.0.0.7:8080", 404),
        ("http://0.0.0.0:8080", 404),
        ("http://localhost.example.com", 404),
        ("http://127.0.0.1.nip.io", 404),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost"])
def test_the_inbox_is_shut_where_links_lead_elsewhere(
    fake_client, tmp_path, path, url, status, host
):
    def ask_with(choice):
        visit = Visit(fake_client, data_dir=tmp_path, public_url=url, dev_inbox=choice)
        return visit.browser.get(path, headers={"Host": host}).status_code

    assert [ask_with(choice) for choice in ("auto", "on", "off")] == [status, 200, 404]


def test_the_inbox_is_shut_where_all_addresses_are_listened_on(fake_client, tmp_path):
    visit = Visit(fake_client, data_dir=tmp_path, public_url="", host="0.0.0.0")

    assert visit.browser.get("/dev/inbox").status_code == 404


@pytest.mark.real_server
@pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")
def test_behind_haproxy_the_inbox_needs_both_switches(tmp_path):
    server = start_server(tmp_path / "redis.sock")
    seen = {}
    try:
        for choice in ("auto", "on"):
            url = {"KEYTURN_PUBLIC_URL": "http://127.0.0.1:8080", "KEYTURN_DEV_INBOX": choice}
            door = FrontDoor(tmp_path, tmp_path / "redis.sock", **url)
            try:
                (port,) = free_ports(1)
                door.start().start_haproxy(("127.0.0.1", port), KEYTURN_PUBLIC_SHOW_INTERNAL="yes")
                for shown, address in (("no", door.proxied), ("yes", ("127.0.0.1", port))):
                    head = b"GET /dev/inbox.json HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
                    seen[choice, shown] = ask(address, head).status
            finally:
                door.stop()
    finally:
        server.terminate()
        server.wait(HANG_SECONDS)

    assert seen == {
        ("auto", "no"): 404,
        ("auto", "yes"): 404,
        ("on", "no"): 404,
        ("on", "yes"): 200,
    }


def test_variables_of_the_proxy_are_no_unknown_settings():
    proxy = {"KEYTURN_PUBLIC_SHOW_INTERNAL": "yes", "KEYTURN_PUBLIC_BIND": ":8080"}

    assert load_settings(proxy) == load_settings({})


# ---- docker-compose.yml


def test_compose_opens_neither_inbox_nor_flower_for_everybody():
    compose = (CHECKOUT / "docker-compose.yml").read_text()

    names = (CHECKOUT / "deploy" / "settings.env").read_text().splitlines()
    assert {"KEYTURN_DEV_INBOX", "KEYTURN_FLOWER_BASIC_AUTH"} <= set(names)  # without a value
    assert not re.search(r"^ +KEYTURN_(DEV_INBOX|FLOWER_BASIC_AUTH):", compose, re.MULTILINE)
    published = re.findall(r"ports: \[(.*)\]", compose)
    assert [each for each in published if not each.startswith('"127.0.0.1:')] == []
