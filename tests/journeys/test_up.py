"""`keyturn up` as a person meets it: started, broken, stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests import CHECKOUT
from tests.journeys.stack import Stack, free_ports
from tests.support.waiting import HANG_SECONDS, wait_until
from web.up.valkey import EmbeddedServer

pytestmark = pytest.mark.real_server


def descendants(pid: int) -> set[int]:
    """All processes below one, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def paste_curl(keyturn: Stack) -> subprocess.CompletedProcess[str]:
    line = re.search(r"^  (curl .*)$", keyturn.log(), re.MULTILINE)
    assert line is not None
    command = line[1].replace("curl ", "curl -s -w ' %{http_code}' ", 1)
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602


def test_the_printed_curl_line_asks_for_a_reset(start_keyturn):
    keyturn = start_keyturn()

    answer = paste_curl(keyturn)

    assert answer.stdout.endswith(" 200")
    wait_until(
        lambda: list((keyturn.data_dir / "outbox").glob("*.json")),
        what="a message in the outbox",
    )


def test_only_its_owner_reads_what_up_writes(start_keyturn):
    keyturn = start_keyturn()

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (keyturn.data_dir, *keyturn.data_dir.iterdir())
    }

    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert modes["secret_keys"] == modes["demo_token"] == 0o600


def test_no_child_outlives_an_up_that_was_killed(start_keyturn):
    keyturn = start_keyturn()
    children = descendants(keyturn.process.pid)

    keyturn.kill_up()

    assert len(children) >= 6
    wait_until(lambda: not any(map(is_alive, children)), what="all children gone")


def test_data_and_token_survive_a_killed_up(start_keyturn):
    keyturn = start_keyturn()
    paste_curl(keyturn)
    token = keyturn.token
    keyturn.kill_up()

    keyturn.start()

    assert keyturn.token == token
    assert paste_curl(keyturn).stdout.endswith(" 429"), "the cool-down of the first reset is known"


@pytest.mark.parametrize("name", ["server", "web", "grpc", "worker", "bulk", "flower"])
def test_a_child_that_is_killed_is_started_again(name, keyturn):
    before = keyturn.pid_of(name)

    keyturn.kill(name)

    wait_until(lambda: keyturn.pid_of(name) != before, what=f"another {name}")
    wait_until(keyturn.has_worker, what="ready again")
    wait_until(keyturn.grpc_listens, what="gRPC again")


def test_a_server_that_still_runs_is_adopted(start_keyturn):
    keyturn = start_keyturn()
    server = EmbeddedServer(keyturn.data_dir)
    keyturn.stop()
    server.prepare()
    with subprocess.Popen(server.command()) as left:
        wait_until(server.is_ready, what="the server that was left")

        keyturn.start()
        answer = paste_curl(keyturn)
        status = keyturn.stop()

        assert [e["name"] for e in keyturn.events("process.started")].count("server") == 0
        assert answer.stdout.endswith(" 200")
        assert (status, left.wait(HANG_SECONDS)) == (0, 0)


def test_it_runs_from_a_directory_that_has_a_web_of_its_own(start_keyturn, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__init__.py").write_text("raise SystemExit('the wrong one')")

    keyturn = start_keyturn(PYTHONPATH=str(CHECKOUT), PYTHONSAFEPATH="1", called_in=tmp_path)

    assert keyturn.status("/livez") == 200


def test_a_second_up_on_the_same_data_is_refused(keyturn):
    environ = keyturn.environ | {"KEYTURN_PORT": str(free_ports(1)[0])}
    second = Stack(keyturn.log_path.parent / "second")
    second.log_path.parent.mkdir()
    second.environ = environ

    second.start(wait=False)

    assert second.process.wait(HANG_SECONDS) == 1
    assert "another `keyturn up` runs on" in second.log()
    assert "Traceback" not in second.log()


def test_a_taken_port_is_a_sentence_with_nothing_left_running(start_keyturn):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        keyturn = start_keyturn(wait=False, KEYTURN_PORT=str(port))

        assert keyturn.process.wait(HANG_SECONDS) == 1
    assert f"port {port}" in keyturn.log()
    assert "KEYTURN_PORT" in keyturn.log()
    assert "Traceback" not in keyturn.log()
    assert not (keyturn.data_dir / "valkey.sock").exists()


def test_a_wrong_setting_is_a_sentence(start_keyturn):
    keyturn = start_keyturn(wait=False, KEYTURN_LEASE_SECONDS="1")

    assert keyturn.process.wait(HANG_SECONDS) == 1
    assert "KEYTURN_LEASE_SECONDS" in keyturn.log()
    assert "Traceback" not in keyturn.log()


def test_keys_of_another_store_end_it_with_a_sentence(start_keyturn):
    keyturn = start_keyturn()
    keyturn.stop()
    keyturn.environ["KEYTURN_SECRET_KEYS"] = "another key of more than thirty-two characters"

    keyturn.start(wait=False)

    assert keyturn.process.wait(HANG_SECONDS) == 1
    assert "KEYTURN_SECRET_KEYS holds none of the keys" in keyturn.log()
    assert "Traceback" not in keyturn.log()


def test_a_setting_that_only_a_child_refuses_ends_it(start_keyturn):
    keyturn = start_keyturn(
        wait=False, KEYTURN_EMAIL_PROVIDERS="smtp", KEYTURN_SMTP_URL="smtp://a:b:c:d"
    )

    assert keyturn.process.wait(HANG_SECONDS) == 1
    assert "KEYTURN_SMTP_URL" in keyturn.log()
    assert keyturn.log().count("keyturn up: ") == 1
    assert "Traceback" not in keyturn.log()


def test_a_web_process_that_answers_no_more_is_replaced(start_keyturn):
    keyturn = start_keyturn()
    before = keyturn.pid_of("web")
    for pid in (before, *descendants(before)):
        os.kill(pid, signal.SIGSTOP)

    wait_until(lambda: keyturn.pid_of("web") != before, what="another web")

    assert [event["pid"] for event in keyturn.events("process.silent")] == [before]
    wait_until(lambda: keyturn.status("/livez") == 200, what="an answer")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stopping_ends_everything_in_order(number, start_keyturn):
    keyturn = start_keyturn()
    children = descendants(keyturn.process.pid)

    keyturn.process.send_signal(number)

    assert keyturn.process.wait(HANG_SECONDS) == 0
    assert not any(map(is_alive, children))
    assert not (keyturn.data_dir / "valkey.sock").exists()
    assert "Traceback" not in keyturn.log()


def test_ctrl_c_twice_stops_at_once(start_keyturn):
    keyturn = start_keyturn()
    children = descendants(keyturn.process.pid)
    os.kill(keyturn.pid_of("worker"), signal.SIGSTOP)  # will not end by being asked

    keyturn.process.send_signal(signal.SIGINT)
    wait_until(lambda: "second signal" in keyturn.log(), what="the first one noticed")
    keyturn.process.send_signal(signal.SIGINT)

    assert keyturn.process.wait(HANG_SECONDS) == 1
    assert not any(map(is_alive, children))
