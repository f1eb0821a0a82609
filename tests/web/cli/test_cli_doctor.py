"""`keyturn doctor`, against parts that are as they should be, wrong, and away."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from shared.settings import load_settings
from shared.store import keys
from shared.store.admin import inspection
from shared.store.admin.inspection import inspect_nodes
from shared.store.connection import connect
from tests.support.builders import SECRET
from tests.support.dns_server import DnsServer
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS
from web.cli import doctor as room

SENDGRID = {
    "KEYTURN_PUBLIC_URL": "https://reset.example.com",
    "KEYTURN_EMAIL_PROVIDERS": "sendgrid",
    "KEYTURN_SENDGRID_API_KEY": "SG.x",
    "KEYTURN_EMAIL_FROM": "no-reply@acme.test",
}
RIGHT = {
    "acme.test": ["v=spf1 include:relay.test -all"],
    "s1._domainkey.acme.test": ["v=DKIM1; k=rsa; p=MIGf"],
    "_dmarc.acme.test": ["v=DMARC1; p=reject"],
}


def without(name):
    return {each: texts for each, texts in RIGHT.items() if each != name}


@pytest.fixture
def ask(run):
    """Runs `keyturn doctor --json`; the exit status, and (about, level) → text."""

    def ask(*arguments, **environ):
        done = run("doctor", "--json", *arguments, **environ)
        lines = json.loads(done.stdout)
        return done.returncode, {(each["about"], each["level"]): each["text"] for each in lines}

    return ask


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A server of this file's own, whose configuration tests may change."""
    path = Path(tmp_path_factory.mktemp("node")) / "node.sock"
    server = start_server(path)
    yield f"unix://{path}"
    server.kill()
    server.wait(HANG_SECONDS)


@pytest.fixture
def configured(node):
    """Changes the configuration of that server for one test."""
    with connect(node) as client:
        before = client.config_get("*")

        def change(**options):
            for name, value in options.items():
                client.config_set(name.replace("_", "-"), value)

        change.client = client
        yield change
        for name in ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync"):
            client.config_set(name, before[name])
        client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "+@all")
        client.flushall()


@pytest.mark.one_server  # its server is the broker, too
def test_every_line_of_a_sound_installation_is_ok_or_a_warning_with_a_remedy(run):
    done = run("doctor")

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert {line.split()[0] for line in lines} == {"ok", "warning"}
    assert {line.split()[1] for line in lines} == {
        *("versions", "settings", "commands", "redis", "memory", "persistence", "clocks", "keys"),
        *("broker", "sender", "disk"),
    }
    (warning,) = [line for line in lines if line.startswith("warning")]
    assert "persistence" in warning
    assert "set appendonly yes and appendfsync always" in warning


@pytest.mark.one_server  # its server is the broker, too
def test_a_redis_that_is_away_is_a_line_and_no_traceback(ask, tmp_path):
    began = time.monotonic()
    status, found = ask(KEYTURN_REDIS_URL=f"unix://{tmp_path}/away.sock")

    assert status == 1
    assert "does not answer" in found["redis", "error"]
    assert "does not answer" in found["broker", "error"]
    assert "cannot be checked (ConnectionError)" in found["keys", "error"]
    assert time.monotonic() - began < 15


def test_parts_that_take_calls_and_answer_none_are_waited_for_once(ask, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        status, found = ask(
            KEYTURN_REDIS_URL=f"redis://127.0.0.1:{port}/0",
            KEYTURN_BROKER_URL=f"amqp://127.0.0.1:{port}//",
        )

    assert status == 1
    assert ("redis", "error") in found
    assert "does not answer" in found["broker", "error"]
    assert time.monotonic() - began < 6 + SLACK_SECONDS


@pytest.mark.parametrize(
    ("environ", "about", "words"),
    [
        ({"KEYTURN_LEASE_SECONDS": "x"}, "settings", "KEYTURN_LEASE_SECONDS"),
        ({"KEYTURN_SECRET_KEY": "x"}, "settings", "the nearest is"),
        ({"KEYTURN_REDIS_URL": "nonsense"}, "settings", "KEYTURN_REDIS_URL"),
        ({"KEYTURN_REDIS_URL": "redis://127.0.0.1:1/0"}, "redis", "does not answer"),
        ({"KEYTURN_BROKER_URL": "nonsense://x"}, "settings", "KEYTURN_BROKER_URL"),
        ({"KEYTURN_SECRET_KEYS": "another key of more than thirty-two characters"}, "keys", "OLD"),
        ({**SENDGRID, "KEYTURN_PUBLIC_URL": ""}, "settings", "KEYTURN_PUBLIC_URL"),
        ({**SENDGRID, "KEYTURN_EMAIL_FROM": "a@b.example"}, "sender", "KEYTURN_EMAIL_FROM"),
        ({"KEYTURN_DURABILITY": "disk"}, "persistence", "appendonly yes"),
        ({"KEYTURN_DURABILITY": "replica"}, "replicas", "0 connected"),
        ({"KEYTURN_DURABILITY": "replica:2"}, "replicas", "until there are 2"),
    ],
)
def test_what_is_wrong_is_an_error_with_what_mends_it(ask, services, environ, about, words):
    services.digests.digest("start", "")
    with DnsServer({}) as dns:
        status, found = ask("--nameserver", f"127.0.0.1@{dns.port}", **environ)

    assert status == 1
    assert words in found[about, "error"]
    assert SECRET not in json.dumps(list(found.values()))


def test_a_password_is_not_repeated(ask):
    _, found = ask(
        KEYTURN_REDIS_URL="redis://eve:s3cret-word@127.0.0.1:1/0",
        KEYTURN_BROKER_URL="amqp://eve:s3cret-word@127.0.0.1:1//",
    )

    assert "s3cret-word" not in json.dumps(list(found.values()))


def test_a_new_redis_is_not_sealed_by_a_question(ask, real_client):
    real_client.flushdb()

    _, found = ask()

    assert "will seal" in found["keys", "ok"]
    assert not real_client.exists(keys.SEAL)


def test_callbacks_without_a_key_are_a_warning(ask):
    with DnsServer(RIGHT) as dns:
        status, found = ask("--nameserver", f"127.0.0.1@{dns.port}", **SENDGRID)

    assert status == 0
    assert "KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY" in found["callbacks", "warning"]
    assert ("sender", "warning") not in found


@pytest.mark.parametrize(
    ("records", "broken", "level", "words"),
    [
        (without("s1._domainkey.acme.test"), [], "error", "DKIM of acme.test is missing"),
        (without("_dmarc.acme.test"), [], "warning", "DMARC of acme.test is missing"),
        (RIGHT, [*RIGHT, "_dmarc.acme.test"], "warning", "DNS is silent"),
    ],
)
def test_the_sender_s_domain_is_looked_up(ask, records, broken, level, words):
    with DnsServer(records, broken=broken) as dns:
        status, found = ask("--nameserver", f"127.0.0.1@{dns.port}", **SENDGRID)

    assert status == (1 if level == "error" else 0)
    assert words in " ".join(
        text for (_, each), text in found.items() if each in (level, "warning")
    )


@pytest.mark.parametrize("nameserver", ["nonsense", "127.0.0.1@x", "127.0.0.1@99999"])
def test_a_name_server_that_cannot_be_one_is_wrong_use(run, nameserver):
    assert run("doctor", "--nameserver", nameserver).returncode == 2


def levels_of(client, **environ):
    settings = load_settings({"KEYTURN_SECRET_KEYS": SECRET, **environ})
    return [(each.about, each.level, each.text) for each in inspect_nodes(client, settings)]


@pytest.mark.parametrize(
    ("options", "level", "words"),
    [
        ({"maxmemory": "1gb", "maxmemory_policy": "allkeys-lru"}, "error", "noeviction"),
        ({"maxmemory": "1gb", "maxmemory_policy": "volatile-ttl"}, "error", "noeviction"),
        ({"maxmemory_policy": "allkeys-lru"}, "warning", "noeviction"),
        ({"maxmemory": "1"}, "warning", "raise it"),
        ({"maxmemory": "1gb"}, "ok", "of maxmemory is used"),
    ],
)
def test_memory_is_judged_by_limit_and_policy(configured, options, level, words):
    configured(**options)

    [found] = [each for each in levels_of(configured.client) if each[0] == "memory"]

    assert found[1] == level
    assert words in found[2]


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, "ok"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "warning"),
        ({"appendonly": "no"}, "warning"),
    ],
)
def test_persistence_is_judged(configured, options, level):
    configured(**options)

    [found] = [each for each in levels_of(configured.client) if each[0] == "persistence"]

    assert found[1] == level


@pytest.mark.parametrize(
    ("rules", "level", "named"),
    [
        (["-info"], "warning", "INFO is refused"),
        (["-config"], "warning", "CONFIG is refused"),
        (["-scan"], "warning", "SCAN is refused"),
        (["-eval"], "error", "EVAL is refused"),
        (["-time"], "error", "TIME is refused"),
        (["-@all"], "error", "EVAL is refused"),
    ],
)
def test_commands_that_are_refused_are_named(configured, node, rules, level, named):
    configured.client.execute_command(
        "ACL", "SETUSER", "app", "on", "nopass", "~*", "+@all", *rules
    )
    with connect(node) as client:
        client.execute_command("AUTH", "app", "any")  # of this connection, which is used again
        found = levels_of(client)

    assert (level, True) in [(each[1], named in each[2]) for each in found]


def test_a_wrong_password_is_told_apart_from_a_server_that_is_away(configured, node):
    configured.client.execute_command("ACL", "SETUSER", "app", "on", ">right", "~*", "+@all")
    with connect(f"{node}?username=app&password=wrong") as client:
        [(about, level, text)] = levels_of(client)

    assert (about, level) == ("redis", "error")
    assert "refuses us" in text
    assert "wrong" not in text


@pytest.mark.parametrize(("ahead", "level"), [(0.0, "ok"), (5.0, "warning"), (-3600.0, "error")])
def test_clocks_are_compared_with_this_host_s_and_with_each_other(
    configured, monkeypatch, ahead, level
):
    clock = time.time
    monkeypatch.setattr(inspection.time, "time", lambda: clock() - ahead)

    [found] = [each for each in levels_of(configured.client) if each[0] == "clocks"]

    assert found[1] == level


def test_a_replica_and_a_node_of_a_cluster_are_told(configured):
    configured.client.replicaof("127.0.0.1", 1)
    try:
        [found] = [each for each in levels_of(configured.client) if each[0] == "redis"]
    finally:
        configured.client.replicaof("NO", "ONE")

    assert found[1] == "error"
    assert "name the primary" in found[2]
