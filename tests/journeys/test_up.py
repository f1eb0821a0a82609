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
from house import CHECKOUT, House, free_ports, wait_until

from web.embedded import EmbeddedServer

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


def paste_curl(house: House) -> subprocess.CompletedProcess[str]:
    line = re.search(r"^  (curl .*)$", house.log(), re.MULTILINE)
    assert line is not None
    command = line[1].replace("curl ", "curl -s -w ' %{http_code}' ", 1)
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602


def test_the_printed_curl_line_asks_for_a_reset(open_house):
    house = open_house()

    answer = paste_curl(house)

    assert answer.stdout.endswith(" 200")
    wait_until(
        lambda: list((house.data_dir / "outbox").glob("*.json")),
        seconds=10,
        what="a message in the outbox",
    )


def test_only_its_owner_reads_what_up_writes(open_house):
    house = open_house()

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (house.data_dir, *house.data_dir.iterdir())
    }

    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert modes["secret_keys"] == modes["demo_token"] == 0o600


def test_no_child_outlives_an_up_that_was_killed(open_house):
    house = open_house()
    children = descendants(house.process.pid)

    house.kill_up()

    assert len(children) >= 6
    wait_until(lambda: not any(map(is_alive, children)), seconds=3, what="all children gone")


def test_data_and_token_survive_a_killed_up(open_house):
    house = open_house()
    paste_curl(house)
    token = house.token
    house.kill_up()

    house.start()

    assert house.token == token
    assert paste_curl(house).stdout.endswith(" 429"), "the cool-down of the first reset is known"


@pytest.mark.parametrize("name", ["server", "web", "grpc", "worker", "bulk", "flower"])
def test_a_child_that_is_killed_is_started_again(name, house):
    before = house.pid_of(name)

    house.kill(name)

    wait_until(lambda: house.pid_of(name) != before, seconds=10, what=f"another {name}")
    wait_until(lambda: house.status("/readyz") == 200, seconds=20, what="ready again")
    wait_until(house.grpc_listens, seconds=20, what="gRPC again")


def test_a_server_that_still_runs_is_adopted(open_house):
    house = open_house()
    server = EmbeddedServer(house.data_dir)
    house.stop()
    server.prepare()
    with subprocess.Popen(server.command()) as left:
        wait_until(server.is_ready, seconds=10, what="the server that was left")

        house.start()
        answer = paste_curl(house)
        status = house.stop()

        assert [e["name"] for e in house.events("process.started")].count("server") == 0
        assert answer.stdout.endswith(" 200")
        assert (status, left.wait(10)) == (0, 0)


def test_it_runs_from_a_directory_that_has_a_web_of_its_own(open_house, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__init__.py").write_text("raise SystemExit('the wrong one')")

    house = open_house(PYTHONPATH=str(CHECKOUT), PYTHONSAFEPATH="1", called_in=tmp_path)

    assert house.status("/livez") == 200


def test_a_second_up_on_the_same_data_is_refused(house):
    environ = house.environ | {"KEYTURN_PORT": str(free_ports(1)[0])}
    second = House(house.log_path.parent / "second")
    second.log_path.parent.mkdir()
    second.environ = environ

    second.start(wait=False)

    assert second.process.wait(10) == 1
    assert "another `keyturn up` runs on" in second.log()
    assert "Traceback" not in second.log()


def test_a_taken_port_is_a_sentence_with_nothing_left_running(open_house):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        house = open_house(wait=False, KEYTURN_PORT=str(port))

        assert house.process.wait(20) == 1
    assert f"port {port}" in house.log()
    assert "KEYTURN_PORT" in house.log()
    assert "Traceback" not in house.log()
    assert not (house.data_dir / "valkey.sock").exists()


def test_a_wrong_setting_is_a_sentence(open_house):
    house = open_house(wait=False, KEYTURN_LEASE_SECONDS="1")

    assert house.process.wait(20) == 1
    assert "KEYTURN_LEASE_SECONDS" in house.log()
    assert "Traceback" not in house.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stopping_ends_everything_in_order(number, open_house):
    house = open_house()
    children = descendants(house.process.pid)

    house.process.send_signal(number)

    assert house.process.wait(30) == 0
    assert not any(map(is_alive, children))
    assert not (house.data_dir / "valkey.sock").exists()
    assert "Traceback" not in house.log()


def test_ctrl_c_twice_stops_at_once(open_house):
    house = open_house()
    children = descendants(house.process.pid)
    os.kill(house.pid_of("worker"), signal.SIGSTOP)  # will not end by being asked

    house.process.send_signal(signal.SIGINT)
    wait_until(lambda: "once more" in house.log(), seconds=5, what="the first one noticed")
    house.process.send_signal(signal.SIGINT)

    assert house.process.wait(10) == 1
    assert not any(map(is_alive, children))
