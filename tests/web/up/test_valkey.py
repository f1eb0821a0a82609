"""The embedded server, on the real Valkey."""

from __future__ import annotations

import os
import socket
import stat
import subprocess

import pytest
import redis

from shared.settings import socket_path
from tests.support.waiting import HANG_SECONDS, wait_until
from web.up.valkey import EmbeddedServer

pytestmark = pytest.mark.real_server


@pytest.fixture
def start(tmp_path):
    """Starts the server of a directory; all are killed after the test."""
    running = []

    def start_one(data_dir=tmp_path / "data"):
        server = EmbeddedServer(data_dir)
        server.prepare()
        running.append(subprocess.Popen(server.command()))
        wait_until(server.is_ready)
        return server, running[-1]

    yield start_one
    for process in running:
        process.kill()
        process.wait()


def client_of(server):
    return redis.Redis(unix_socket_path=str(server.socket), decode_responses=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("aof-load-truncated", "yes"),
        ("maxmemory-policy", "noeviction"),
        ("hash-max-listpack-value", "512"),
        ("port", "0"),
        ("save", ""),
    ],
)
def test_it_keeps_what_it_is_told(name, value, start):
    server, _ = start()

    with client_of(server) as client:
        assert client.config_get(name) == {name: value}


def test_nobody_else_can_reach_it(start):
    server, _ = start()

    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


def test_what_it_answered_survives_kill_9(start):
    server, process = start()
    with client_of(server) as client:
        client.set("kept", "1")

    process.kill()
    process.wait()
    start()

    with client_of(server) as client:
        assert client.get("kept") == "1"


def test_a_cut_tail_of_its_file_does_not_keep_it_from_starting(start):
    server, process = start()
    with client_of(server) as client:
        client.set("kept", "1")
        client.set("cut", "x" * 100)
    process.kill()
    process.wait()
    (tail,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    os.truncate(tail, tail.stat().st_size - 50)

    start()

    with client_of(server) as client:
        assert (client.get("kept"), client.get("cut")) == ("1", None)


def test_it_is_stopped_over_its_socket(start):
    server, process = start()

    server.stop()

    assert process.wait(HANG_SECONDS) == 0
    assert not server.is_running()


def test_a_socket_nobody_answers_on_is_removed(tmp_path):
    server = EmbeddedServer(tmp_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(server.socket))
    was_running = server.is_running()

    server.prepare()

    assert not was_running
    assert not server.socket.exists()


def test_a_directory_with_blanks_and_quotes_is_fine(start, tmp_path):
    server, _ = start(tmp_path / 'a "b" \\c')

    assert server.is_ready()


def test_a_directory_with_a_long_path_gets_a_short_socket(start, tmp_path):
    server, _ = start(tmp_path / ("x" * 120))

    assert len(str(server.socket)) < 100
    assert server.socket == socket_path(tmp_path / ("x" * 120))
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
