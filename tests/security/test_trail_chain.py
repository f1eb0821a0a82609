"""The chain of the trail: what was changed, left out, put in or moved is found."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from shared.errors import StoreUnavailableError
from shared.store import keys
from shared.store.admin.audit import Act, AuditStore
from shared.store.connection import connect
from shared.store.digests import Digests
from tests import CHECKOUT
from tests.support.builders import SECRET, a_token
from tests.support.wire import Wire
from web.cli import keyturn

ACTS = ("organisation.add", "token.add", "suppression.lift", "reset.hold")
FREQUENT = ("reset.return_code", "password.set")


@pytest.fixture
def audit(client):
    return AuditStore(client, Digests(client, (SECRET,)))


def act(action="limit.clear", number=0):
    return Act(by="eve", action=action, target=f"t{number}", reason="a test")


def fill(audit):
    """Ten entries: four acts that took time, and two calls of each frequent kind."""
    for number, action in enumerate(ACTS):
        with audit.acting(act(action, number)):
            pass
    for action in FREQUENT:
        audit.record(act(action))
        audit.record(act(action))


def written_again(client, stream, change):
    """The stream with its entries changed by one who can write to Redis."""
    entries = change([(entry_id, dict(fields)) for entry_id, fields in client.xrange(stream)])
    client.delete(stream)
    for entry_id, fields in entries:
        client.xadd(stream, fields, id=entry_id)


def test_an_empty_trail_and_a_whole_one_verify(audit):
    assert (audit.verify().fitting, audit.verify().misfit) == (0, None)

    fill(audit)

    assert (audit.verify().fitting, audit.verify().misfit) == (12, None)


@pytest.mark.parametrize("stream", [keys.AUDIT, keys.AUDIT_FREQUENT])
@pytest.mark.parametrize("index", range(-3, 3))
def test_an_entry_that_was_deleted_is_missed(client, audit, stream, index):
    fill(audit)
    entry_id, _ = client.xrange(stream)[index]

    client.xdel(stream, entry_id)

    assert audit.verify().misfit


@pytest.mark.parametrize("field", ["by", "action", "target", "reason", "outcome", "source", "prev"])
@pytest.mark.parametrize("index", [0, 2, -2])
def test_an_entry_that_was_changed_is_named(client, audit, field, index):
    fill(audit)
    entry_id, _ = client.xrange(keys.AUDIT)[index]

    def change(entries):
        entries[index][1][field] = "another"
        return entries

    written_again(client, keys.AUDIT, change)

    misfit = audit.verify().misfit
    assert entry_id in misfit or field == "prev"
    assert misfit


@pytest.mark.parametrize(
    "change",
    [
        lambda e: [*e[:3], (e[3][0], e[4][1]), (e[4][0], e[3][1]), *e[5:]],
        lambda e: [("1-1", e[2][1]), *e],
        lambda e: [*e, (f"{e[-1][0]}1", e[-1][1])],
        lambda e: [*e, (f"{e[-1][0]}1", {k: v for k, v in e[-2][1].items() if k != "prev"})],
        lambda e: [("1-1", e[0][1]), *e[1:]],
        lambda e: e[4:],
        lambda e: e[:4],
        lambda _: [],
    ],
    ids=[
        *("swapped", "copied", "copied at the end", "put in without a chain", "another time"),
        *("without its beginning", "without its end", "emptied"),
    ],
)
def test_a_trail_that_was_rewritten_does_not_verify(client, audit, change):
    fill(audit)

    written_again(client, keys.AUDIT, change)

    assert audit.verify().misfit


def test_a_head_that_was_moved_or_lost_is_noticed(client, audit):
    fill(audit)
    client.delete(keys.AUDIT_HEAD)

    assert audit.verify().misfit
    AuditStore(client, Digests(client, (SECRET,))).record(act())
    assert audit.verify().misfit


@pytest.mark.parametrize("kept", [1, 3])
def test_a_trail_cut_behind_an_entry_does_not_verify_with_what_the_next_one_tells(
    client, audit, kept
):
    fill(audit)
    entries = client.xrange(keys.AUDIT)
    named = entries[kept][1]["prev"]
    seal = client.get(keys.AUDIT_HEAD).split()[3:]
    client.xdel(keys.AUDIT, *(entry_id for entry_id, _ in entries[kept:]))

    for head in (named, " ".join([named, *seal]), f"{named} {named.split()[-1]}"):
        client.set(keys.AUDIT_HEAD, head)
        assert audit.verify().misfit

    for store in (audit, AuditStore(client, Digests(client, (SECRET,)))):
        store.record(act())  # Keyturn goes on behind it
        assert audit.verify().misfit


def test_a_forger_without_the_secret_keys_is_found(client, audit):
    fill(audit)
    forged = AuditStore(client, ForgedDigests())

    forged.record(act("token.add"))

    assert audit.verify().misfit


class ForgedDigests:
    """Digests of one who knows the program and not the key."""

    def digest(self, _kind, text):
        return f"{hash(text):032x}"[-32:]


def test_entries_of_before_are_counted_apart(client, audit):
    old = {"by": "eve", "action": "provider.pause", "target": "smtp", "reason": "it is slow"}
    for _ in range(3):
        client.xadd(keys.AUDIT, old)

    fill(audit)

    found = audit.verify()
    assert (found.fitting, found.unchained, found.misfit) == (12, 3, None)
    entry = audit.newest()[-1]
    assert (entry.act.by, entry.act.action, entry.outcome, entry.number) == (
        *("eve", "provider.pause"),
        *(None, None),
    )


def test_what_the_limit_cut_off_is_not_missed(client):
    audit = AuditStore(client, Digests(client, (SECRET,)), max_kept=150)
    for number in range(400):
        audit.record(act(number=number))

    assert 150 <= client.xlen(keys.AUDIT) < 400
    found = audit.verify()
    assert (found.fitting, found.misfit) == (client.xlen(keys.AUDIT), None)
    assert audit.newest()[0].number == 400

    client.xdel(keys.AUDIT, client.xrange(keys.AUDIT)[7][0])
    assert audit.verify().misfit


@pytest.mark.real_server
def test_processes_and_threads_never_fork_the_chain(real_client, real_redis_url):
    script = (
        "from shared.store.admin.audit import *\n"
        "from shared.store.connection import connect\n"
        f"client = connect({real_redis_url!r})\n"
        f"audit = AuditStore(client, Digests(client, ({SECRET!r},)))\n"
        "for n in range(100): audit.record(Act(by='p', action='a.b', target=str(n)))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT) for _ in range(3)]

    def write(_):
        with connect(real_redis_url) as client:
            store = AuditStore(client, Digests(client, (SECRET,)))
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: store.record(act(number=n)), range(50)))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))

    assert [process.wait(60) for process in processes] == [0, 0, 0]
    audit = AuditStore(real_client, Digests(real_client, (SECRET,)))
    found = audit.verify()
    assert (found.fitting, found.misfit) == (400, None)
    assert sorted(entry.number for entry in audit.entries()) == list(range(1, 401))


def test_what_could_not_be_written_is_an_error_and_the_next_goes_on(client, audit):
    audit.record(act())
    aside = f"{keys.GATE}:aside"
    client.rename(keys.AUDIT, aside)
    client.set(keys.AUDIT, "not a stream")
    with pytest.raises(StoreUnavailableError):
        audit.record(act())
    client.rename(aside, keys.AUDIT)

    audit.record(act())

    assert (audit.verify().fitting, audit.verify().misfit) == (2, None)


# The command and the API.


@pytest.fixture
def run(real_client, real_redis_url, tmp_path):
    environ = {
        "KEYTURN_REDIS_URL": real_redis_url,
        "KEYTURN_SECRET_KEYS": SECRET,
        "KEYTURN_DATA_DIR": str(tmp_path),
    }

    def command(*arguments):
        return CliRunner(catch_exceptions=False).invoke(
            keyturn, arguments, env=environ, prog_name="keyturn"
        )

    assert command("org", "add", "acme", "--name", "Acme", "--by", "eve").exit_code == 0
    assert command("token", "add", "--org", "acme", "--role", "ORG_OWNER").exit_code == 0
    return command


@pytest.mark.real_server
def test_the_command_verifies(run, real_client):
    whole = run("audit", "verify")
    real_client.xdel(keys.AUDIT, real_client.xrange(keys.AUDIT)[1][0])
    changed = run("audit", "verify")

    assert (whole.exit_code, changed.exit_code) == (0, 1)
    assert "4" in whole.output
    assert "the audit trail was changed: " in changed.output


@pytest.mark.real_server
def test_the_trail_is_exported_as_json_lines(run):
    lines = [json.loads(line) for line in run("audit", "export").stdout.splitlines()]

    assert [(e["action"], e["outcome"], e["number"]) for e in lines] == [
        ("token.add", "done", 3),
        ("organisation.add", "done", 1),
    ]
    assert lines[0]["previous"].startswith("2 ")
    assert lines[1]["previous"] is None
    assert lines == json.loads(run("audit", "--json").stdout)


def test_the_api_shows_the_same(client):
    wire = Wire(client)
    owner = a_token(wire.services, instance=("IAM_OWNER",))
    body = {"scope": "channel", "name": "sms", "reason": "a test"}
    wire.call("/keyturn/v1/pauses", json=body, headers=wire.headers(owner))

    told = wire.call("/keyturn/v1/audit", method="GET", headers=wire.headers(owner)).get_json()

    (entry,) = told["entries"]
    assert set(entry) == {
        *("at", "by", "action", "target", "reason", "outcome", "source", "requestId"),
        *("number", "previous"),
    }
    assert (entry["outcome"], entry["source"], entry["number"]) == ("done", "127.0.0.0/24", 1)


def test_an_entry_that_was_redacted_leaves_the_chain_whole(audit, client):
    fill(audit)
    audit.record(Act(by="eve", action="limit.clear", target="user ada", reason="ada asked"))
    audit.record(Act(by="eve", action="limit.clear", target="user adam", reason="a test"))

    assert audit.redact({"ada"}) == 1

    assert audit.verify().misfit is None
    acts = [entry.act for entry in audit.entries()]
    assert [each.target for each in acts[:2]] == ["user adam", "user (erased)"]
    assert acts[1].reason == "(erased) asked"
    assert audit.redact({"ada"}) == 0
    audit.record(act())
    assert audit.verify().misfit is None
    assert audit.redact({"adam", "asked"}) == 2  # one of them for the second time
    assert audit.verify().misfit is None


def test_a_redaction_that_is_none_of_ours_is_found(audit, client):
    fill(audit)
    audit.record(Act(by="eve", action="limit.clear", target="user ada"))
    audit.redact({"ada"})

    def forge(entries):
        entries[-1][1]["target"] = "user bob"
        return entries

    written_again(client, keys.AUDIT, forge)

    assert audit.verify().misfit


def test_what_its_age_cut_off_is_not_missed(client, monkeypatch):
    audit = AuditStore(client, Digests(client, (SECRET,)), keep_seconds=3600)
    fill(audit)
    now_seconds, microseconds = client.time()
    monkeypatch.setattr(client, "time", lambda: (now_seconds + 3700, microseconds))

    audit.trim()

    assert client.xlen(keys.AUDIT) == 1  # the newest stays: the head names it
    assert audit.verify().misfit is None
    client.delete(keys.AUDIT)
    assert audit.verify().misfit
