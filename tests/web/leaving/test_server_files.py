"""Leaving, on a server with an append-only file: its files, and how much work it is."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from faults.planted import Planted
from faults.search import Search
from shared.models import Channel
from shared.store import keys
from shared.store.connection import connect
from shared.store.resets import NewReset
from tests.support.builders import SECRET, a_user, some_services
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS, wait_until
from tests.support.wire import Wire
from tests.web.leaving.test_erasure import PHONE, USER, a_request, plant
from web.cli import keyturn
from web.leaving.erasure import forget_user

pytestmark = pytest.mark.real_server


@pytest.fixture
def served(tmp_path):
    """A server that writes an append-only file into a directory of its own."""
    (tmp_path / "server").mkdir()
    socket = tmp_path / "server" / "valkey.sock"
    server = start_server(socket, "--appendonly", "yes")
    with connect(f"unix://{socket}") as client:
        client.config_set("appendonly", "yes")
        yield client, tmp_path
    server.kill()
    server.wait(HANG_SECONDS)


def a_search(tmp_path, marks):
    words = {mark: mark for mark in marks}
    planted = Planted(domain="planted.example", numbers=[PHONE], codes=[], words=words)
    search = Search(planted)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            search.look_in_file(path)
    return search


def test_no_file_holds_what_was_planted(served):
    client, tmp_path = served
    wire = Wire(client, data_dir=tmp_path)
    planted = plant(wire)
    assert len(a_search(tmp_path, planted).found) > 5

    receipt = forget_user(
        wire.services,
        USER,
        a_request(with_suppressions=True, with_audit=True, wait_seconds=10),
    )

    assert receipt["serverFiles"] == "done"
    marks = [each for each in planted if each != USER]  # a user of the batch has a longer one
    wait_until(
        lambda: not a_search(tmp_path, marks).found, what="the former file deleted by the server"
    )
    text = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert USER.encode() not in text.replace(f"{USER}0".encode(), b"")


def test_a_server_that_refuses_to_rewrite_is_said(served):
    client, tmp_path = served
    wire = Wire(client, data_dir=tmp_path)
    plant(wire)
    client.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof")

    receipt = forget_user(wire.services, USER, a_request())

    assert receipt["serverFiles"] == "refused"
    assert receipt["erased"]["users"] == 1


def fill(services, number, *, first=0):
    """Records of other users."""
    news = [
        NewReset(
            reset_id=services.digests.new_reset_id(f"other-{each}"),
            user_id=f"other-{each}",
            org_id="acme",
            channel=Channel.EMAIL,
            language="en",
            key_id="k1",
            lifetime_seconds=3600,
            last_start_seconds=600,
        )
        for each in range(first, first + number)
    ]
    services.batch_resets.record(news)


def commands_of(client, act) -> int:
    """How many commands the server runs, those of scripts included."""
    client.config_resetstat()
    act()
    stats = client.info("commandstats")
    ignored = ("cmdstat_config|resetstat", "cmdstat_info", "cmdstat_time")
    return sum(each["calls"] for name, each in stats.items() if name not in ignored)


def test_the_work_does_not_grow_with_the_records_of_others(real_client, tmp_path):
    services = some_services(real_client, data_dir=tmp_path)
    wire = Wire(real_client, data_dir=tmp_path)
    fill(services, 100)

    def forget(user_id):
        return commands_of(real_client, lambda: forget_user(wire.services, user_id, a_request()))

    for user_id in ("warm", "few", "many"):
        a_user(services, user_id, email=f"{user_id}@example.com")
        for _ in range(3):
            assert wire.reset(user_id).status_code == 200
    forget("warm")

    with_few = forget("few")
    fill(services, 5_000, first=100)
    with_many = forget("many")

    # On a cluster some nodes must be sent a script first, and some keys asked for one by one.
    assert abs(with_many - with_few) <= (0 if real_client.has_one_node else 10)
    assert real_client.dbsize() > 10_000


def run(*arguments, url, directory):
    environ = {
        "KEYTURN_REDIS_URL": url,
        "KEYTURN_SECRET_KEYS": SECRET,
        "KEYTURN_DATA_DIR": str(directory),
    }
    return CliRunner(catch_exceptions=False).invoke(
        keyturn, arguments, env=environ, prog_name="keyturn"
    )


def test_the_command_line(real_client, real_redis_url, tmp_path):
    where = {"url": real_redis_url, "directory": tmp_path}
    wire = Wire(real_client, data_dir=tmp_path)
    why = ("--reason", "they asked")

    unknown = run("forget", "--user", "never-seen", *why, **where)
    assert (unknown.exit_code, "nothing is kept" in unknown.output) == (1, True)
    assert run("forget", *why, **where).exit_code == 2
    assert run("forget", "--user", "ada", **where).exit_code == 1
    malformed = run("forget", "--address", "a\nb@example.com", *why, **where)
    assert (malformed.exit_code, "a\nb" in malformed.output) == (1, False)
    in_use = run("org", "remove", "acme", *why, **where)
    assert (in_use.exit_code, "1 users" in in_use.output) == (1, True)
    exported = run("user", "export", "ada", **where)
    assert "+41791234567" in exported.output
    receipt = run("user", "remove", "ada", *why, **where)
    assert receipt.exit_code == 0, receipt.output
    (tmp_path / "receipt.json").write_text(receipt.output)
    verified = run("forget", "verify", str(tmp_path / "receipt.json"), **where)
    assert verified.exit_code == 0, verified.output
    (tmp_path / "receipt.json").write_text(receipt.output.replace('"user"', '"address"'))
    changed = run("forget", "verify", str(tmp_path / "receipt.json"), **where)
    assert (changed.exit_code, "changed" in changed.output) == (1, True)
    assert run("org", "remove", "acme", *why, **where).exit_code == 0
    for refused in ("-1", "5", "x", "9999999999"):
        kept = run("org", "retention", "beta", "--records", refused, *why, **where)
        assert kept.exit_code == 1, refused
    assert run("org", "retention", "beta", "--records", "86400", *why, **where).exit_code == 0
    assert wire.services.callers.find_organisation("beta").record_lifetime_seconds == 86400
    assert real_client.exists(keys.organisation("acme")) == 0
