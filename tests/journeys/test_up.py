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


def paste_curl(services: Stack) -> subprocess.CompletedProcess[str]:
    line = re.search(r"^  (curl .*)$", services.log(), re.MULTILINE)
    assert line is not None
    command = line[1].replace("curl ", "curl -s -w ' %{http_code}' ", 1)
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602


def test_the_printed_curl_line_asks_for_a_reset(build_web_services):
    services = build_web_services()

    answer = paste_curl(services)

    assert answer.stdout.endswith(" 200")
    wait_until(
        lambda: list((services.data_dir / "outbox").glob("*.json")),
        what="a message in the outbox",
    )


def test_only_its_owner_reads_what_up_writes(build_web_services):
    services = build_web_services()

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (services.data_dir, *services.data_dir.iterdir())
    }

    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert modes["secret_keys"] == modes["demo_token"] == 0o600


def test_no_child_outlives_an_up_that_was_killed(build_web_services):
    services = build_web_services()
    children = descendants(services.process.pid)

    services.kill_up()

    assert len(children) >= 6
    wait_until(lambda: not any(map(is_alive, children)), what="all children gone")


def test_data_and_token_survive_a_killed_up(build_web_services):
    services = build_web_services()
    paste_curl(services)
    token = services.token
    services.kill_up()

    services.start()

    assert services.token == token
    assert paste_curl(services).stdout.endswith(" 429"), "the cool-down of the first reset is known"


@pytest.mark.parametrize("name", ["server", "web", "grpc", "worker", "bulk", "flower"])
def test_a_child_that_is_killed_is_started_again(name, services):
    before = services.pid_of(name)

    services.kill(name)

    wait_until(lambda: services.pid_of(name) != before, what=f"another {name}")
    wait_until(lambda: services.status("/readyz") == 200, what="ready again")
    wait_until(services.grpc_listens, what="gRPC again")


def test_a_server_that_still_runs_is_adopted(build_web_services):
    services = build_web_services()
    server = EmbeddedServer(services.data_dir)
    services.stop()
    server.prepare()
    with subprocess.Popen(server.command()) as left:
        wait_until(server.is_ready, what="the server that was left")

        services.start()
        answer = paste_curl(services)
        status = services.stop()

        assert [e["name"] for e in services.events("process.started")].count("server") == 0
        assert answer.stdout.endswith(" 200")
        assert (status, left.wait(HANG_SECONDS)) == (0, 0)


def test_it_runs_from_a_directory_that_has_a_web_of_its_own(build_web_services, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__init__.py").write_text("raise SystemExit('the wrong one')")

    services = build_web_services(PYTHONPATH=str(CHECKOUT), PYTHONSAFEPATH="1", called_in=tmp_path)

    assert services.status("/livez") == 200


def test_a_second_up_on_the_same_data_is_refused(services):
    environ = services.environ | {"KEYTURN_PORT": str(free_ports(1)[0])}
    second = Stack(services.log_path.parent / "second")
    second.log_path.parent.mkdir()
    second.environ = environ

    second.start(wait=False)

    assert second.process.wait(HANG_SECONDS) == 1
    assert "another `keyturn up` runs on" in second.log()
    assert "Traceback" not in second.log()


def test_a_taken_port_is_a_sentence_with_nothing_left_running(build_web_services):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        services = build_web_services(wait=False, KEYTURN_PORT=str(port))

        assert services.process.wait(HANG_SECONDS) == 1
    assert f"port {port}" in services.log()
    assert "KEYTURN_PORT" in services.log()
    assert "Traceback" not in services.log()
    assert not (services.data_dir / "valkey.sock").exists()


def test_a_wrong_setting_is_a_sentence(build_web_services):
    services = build_web_services(wait=False, KEYTURN_LEASE_SECONDS="1")

    assert services.process.wait(HANG_SECONDS) == 1
    assert "KEYTURN_LEASE_SECONDS" in services.log()
    assert "Traceback" not in services.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stopping_ends_everything_in_order(number, build_web_services):
    services = build_web_services()
    children = descendants(services.process.pid)

    services.process.send_signal(number)

    assert services.process.wait(HANG_SECONDS) == 0
    assert not any(map(is_alive, children))
    assert not (services.data_dir / "valkey.sock").exists()
    assert "Traceback" not in services.log()


def test_ctrl_c_twice_stops_at_once(build_web_services):
    services = build_web_services()
    children = descendants(services.process.pid)
    os.kill(services.pid_of("worker"), signal.SIGSTOP)  # will not end by being asked

    services.process.send_signal(signal.SIGINT)
    wait_until(lambda: "once more" in services.log(), what="the first one noticed")
    services.process.send_signal(signal.SIGINT)

    assert services.process.wait(HANG_SECONDS) == 1
    assert not any(map(is_alive, children))
