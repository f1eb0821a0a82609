"""A whole Keyturn for the journeys: the real `keyturn up`, with ports and data of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests import CHECKOUT
from tests.support.waiting import HANG_SECONDS, wait_until

READY = "Keyturn is ready"
LATER_SECONDS = 10.0
PORTS = range(20_000, 32_000)  # below the range the kernel takes its own from


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on just now."""
    found: list[int] = []
    while len(found) < number:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


class Stack:
    """`keyturn up` with its children; settings beyond the defaults as keyword arguments.

    `Stack(tmp_path, KEYTURN_USER_COOLDOWN_SECONDS="0")`. A value of None leaves a setting out.
    """

    def __init__(
        self, directory: Path, *, called_in: Path = CHECKOUT, **overrides: str | None
    ) -> None:
        self.called_in = called_in
        self.data_dir = directory / "data"
        self.log_path = directory / "up.log"
        port, grpc_port, flower_port = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.grpc_target = f"127.0.0.1:{grpc_port}"
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        self.redis_url = f"unix://{self.data_dir / 'valkey.sock'}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        given = {
            "KEYTURN_PORT": str(port),
            "KEYTURN_GRPC_PORT": str(grpc_port),
            "KEYTURN_FLOWER_PORT": str(flower_port),
            "KEYTURN_DATA_DIR": str(self.data_dir),
            # Beside a provider of e-mail a channel without one is a trouble, unless that is said.
            **({"KEYTURN_SMS_PROVIDERS": ""} if "KEYTURN_EMAIL_PROVIDERS" in overrides else {}),
            **overrides,
        }
        self.environ = inherited | {k: v for k, v in given.items() if v is not None}
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self, *, wait: bool = True) -> Stack:
        """Start it, or start it again on the same data; comes back when it is ready."""
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "web.cli", "up"],
                cwd=self.called_in,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Come back once it has said that it is ready."""
        wait_until(
            lambda: READY in self.log() or self._must_run().poll() is not None,
            what=f"ready; its log:\n{self.log()}",
        )
        assert READY in self.log(), f"it ended instead of starting:\n{self.log()}"
        # The bulk worker and Flower begin a little later, and not at all without their broker.
        give_up_at = time.monotonic() + LATER_SECONDS
        while time.monotonic() < give_up_at and not self._is_whole():
            time.sleep(0.05)

    def _is_whole(self) -> bool:
        place = ("127.0.0.1", int(self.environ["KEYTURN_FLOWER_PORT"]))
        with socket.socket() as probe:
            return '{"queues":["bulk' in self.log() and not probe.connect_ex(place)

    @property
    def token(self) -> str:
        """The demo's token: ORG_OWNER of `demo`."""
        return (self.data_dir / "demo_token").read_text().strip()

    def log(self) -> str:
        """What it and its children have written since its last start."""
        return self.log_path.read_bytes()[self._log_start :].decode(errors="replace")

    def events(self, event: str) -> list[dict[str, object]]:
        """The lines of the log with this event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def pid_of(self, name: str) -> int:
        """The process id of a child: server, web, grpc, worker, bulk, flower."""
        return [int(str(e["pid"])) for e in self.events("process.started") if e["name"] == name][-1]

    def kill(self, name: str) -> None:
        """kill -9 a child; `up` starts it again."""
        os.kill(self.pid_of(name), signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Have a child end in order, and wait until its successor runs."""
        before = self.pid_of(name)
        os.kill(before, signal.SIGTERM)
        wait_until(lambda: self.pid_of(name) != before, what=f"a new {name} process")

    def cli(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run `keyturn …` beside it."""
        return subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments],
            cwd=CHECKOUT,
            env=self.environ,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def status(self, path: str) -> int:
        """The HTTP status of a GET; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def has_worker(self) -> bool:
        """True when resets are accepted, and a worker of the urgent queue is there."""
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=60) as answer:
            return bool(json.load(answer)["checks"]["worker"] == "ok")
        return False

    def grpc_listens(self) -> bool:
        """True when the gRPC process takes connections."""
        host, port = self.grpc_target.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        process = self._must_run()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        return process.wait(HANG_SECONDS)

    def kill_up(self) -> None:
        """kill -9 `up` itself."""
        self._must_run().kill()
        self._must_run().wait(HANG_SECONDS)

    def _must_run(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "start() comes first"
        return self.process
