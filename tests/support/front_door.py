"""The web process as a program, HAProxy before it, and callers who write bytes on sockets."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from shared.store import keys
from shared.store.connection import connect
from tests import CHECKOUT
from tests.journeys.stack import free_ports
from tests.support.builders import SECRET, a_token, a_user, an_organisation, some_services
from tests.support.waiting import HANG_SECONDS, wait_until

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
OFF = ("USER_COOLDOWN_SECONDS", "USER_LIMIT_PER_HOUR", "USER_LIMIT_PER_DAY")
OFF += ("ORG_LIMIT_PER_MINUTE", "CALLER_LIMIT_PER_MINUTE")


class FrontDoor:
    """One web process over one server, and how it is reached; what it records is looked up."""

    def __init__(self, folder: Path, redis_socket: Path, **settings: str) -> None:
        port, proxy_port = free_ports(2)
        self.direct, self.proxied = ("127.0.0.1", port), ("127.0.0.1", proxy_port)
        self.log_path = folder / "web.log"
        url = f"unix://{redis_socket}"
        self.client = connect(url)
        self.services = some_services(self.client)
        an_organisation(self.services)
        a_user(self.services)
        self.token = a_token(self.services, "ORG_OWNER")
        given = {
            "KEYTURN_PORT": str(port),
            "KEYTURN_REDIS_URL": url,
            "KEYTURN_DATA_DIR": str(folder),
            "KEYTURN_SECRET_KEYS": SECRET,
            **{f"KEYTURN_{name}": "0" for name in OFF},
            **settings,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        self._environ = inherited | given
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(self) -> FrontDoor:
        self._run(self.direct, sys.executable, "-m", "web")
        if HAPROXY:
            self.start_haproxy(self.proxied)
        return self

    def start_haproxy(self, address: tuple[str, int], **more: str) -> None:
        public, web = (f"{host}:{port}" for host, port in (address, self.direct))
        places = {"BIND": public, "SHOW_INTERNAL": "no"}
        self._environ |= {f"KEYTURN_PUBLIC_{name}": value for name, value in places.items()}
        self._environ |= {"KEYTURN_WEB_SERVER": web, "KEYTURN_GRPC_SERVER": "127.0.0.1:9", **more}
        self._run(address, HAPROXY, "-f", CHECKOUT / "deploy" / "haproxy.cfg", "-db")

    def stop(self) -> None:
        for program in reversed(self._programs):
            program.terminate()
            with suppress(subprocess.TimeoutExpired):
                program.wait(HANG_SECONDS)
            program.kill()
        self.client.close()

    def recorded(self) -> set[str]:
        """Keys of everything a request may leave behind: resets, reports, lists, batches."""
        kinds = [f"{tag}:{kind}" for tag in keys.TAGS for kind in ("r:*", "receipts")]
        kinds += ["kt:list:*", "{kt:gate}:batch:*", "{kt:gate}:batches", "{kt:gate}:audit"]
        return {str(key) for kind in kinds for key in self.client.scan_iter(kind, count=1000)}

    def head(self, path: str, *headers: str, method: str = "POST") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}"]
        return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")

    def _run(self, address: tuple[str, int], *command: object) -> None:
        with self.log_path.open("ab") as log:
            program = subprocess.Popen(
                [str(part) for part in command],
                env=self._environ,
                cwd=CHECKOUT,
                stdout=log,
                stderr=log,
            )
        self._programs.append(program)
        wait_until(lambda: self._answers(address, program), what=str(command))

    def _answers(self, address: tuple[str, int], program: subprocess.Popen[bytes]) -> bool:
        assert program.poll() is None, self.log_path.read_text()
        with suppress(OSError):
            return ask(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", seconds=2).status == 200
        return False


class Answer:
    """The first answer in some bytes; status 0 if there is none."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)

    @property
    def code(self) -> int:
        return int(json.loads(self.body)["code"])


def ask(
    address: tuple[str, int], *parts: bytes, seconds: float = HANG_SECONDS, end: str = ""
) -> Answer:
    """The answer to some bytes; `end`: "half" writes no more, "reset" is a caller who dies."""
    with socket.create_connection(address, seconds) as line:
        for part in parts:
            line.sendall(part)
        if end == "reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return Answer(b"")
        if end == "half":
            line.shutdown(socket.SHUT_WR)
        return read_answer(line)


def read_answer(line: socket.socket) -> Answer:
    raw = b""
    with suppress(ConnectionResetError):
        while not is_whole(raw) and (piece := line.recv(65536)):
            raw += piece
    return Answer(raw)


def is_whole(raw: bytes) -> bool:
    head, separator, body = raw.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(separator and length) and len(body) >= int(length)
