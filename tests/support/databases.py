"""PostgreSQL and MariaDB from Debian, on loopback, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest
import sqlalchemy as sa

from tests.support.waiting import HANG_SECONDS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _found(name: str, *folders: Path) -> str:
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    if path := shutil.which(name):
        return path
    pytest.skip(f"{name} is not installed")


@contextmanager
def _served(
    folder: Path, user: str, set_up: list[str], serve: list[str], url: str
) -> Iterator[str]:
    """Set up and serve as `user` where this process is root, which both servers refuse."""
    options = {"user": user, "group": user} if os.getuid() == 0 else {}
    if options:
        shutil.chown(folder, user, user)
    subprocess.run(set_up, check=True, capture_output=True, cwd=folder, timeout=120, **options)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(serve, cwd=folder, stdout=log, stderr=log, **options)
    try:
        _wait(url, server)
        yield url
    finally:
        server.kill()
        server.wait(HANG_SECONDS)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    engine, until = sa.create_engine(url), monotonic() + HANG_SECONDS
    while True:
        try:
            with engine.connect():
                break
        except sa.exc.OperationalError:
            assert server.poll() is None
            assert monotonic() < until
            sleep(0.1)
    engine.dispose()


@contextmanager
def postgresql() -> Iterator[str]:
    own = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb, postgres = _found("initdb", *own), _found("postgres", *own)
    with tempfile.TemporaryDirectory(prefix="keyturn-pg-") as folder:
        data, port = f"{folder}/data", _free_port()
        set_up = [initdb, "-D", data, "-A", "trust", "-U", "keyturn", "--no-sync"]
        serve = [postgres, "-D", data, "-p", str(port), "-k", folder, "-c", "fsync=off",
                 "-c", "listen_addresses=127.0.0.1"]  # fmt: skip
        url = f"postgresql+psycopg://keyturn@127.0.0.1:{port}/postgres"
        with _served(Path(folder), "postgres", set_up, serve, url):
            yield url


@contextmanager
def mariadb() -> Iterator[str]:
    install, server = _found("mariadb-install-db"), _found("mariadbd", Path("/usr/sbin"))
    with tempfile.TemporaryDirectory(prefix="keyturn-my-") as folder:
        data, port = f"{folder}/data", _free_port()
        set_up = [install, "--no-defaults", f"--datadir={data}", "--skip-name-resolve",
                  "--auth-root-authentication-method=normal"]  # fmt: skip
        serve = [server, "--no-defaults", f"--datadir={data}", f"--socket={folder}/socket",
                 f"--pid-file={folder}/pid", f"--port={port}", "--bind-address=127.0.0.1",
                 "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"]  # fmt: skip
        url = f"mariadb+pymysql://root@127.0.0.1:{port}/test?charset=utf8mb4"
        with _served(Path(folder), "mysql", set_up, serve, url):
            yield url
