"""A real worker process over a server of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import CHECKOUT
from tests.support.builders import SECRET
from tests.support.waiting import HANG_SECONDS, wait_until


class WorkerProcess:
    """`python -m worker` on the server of a socket; settings beyond that as keyword arguments."""

    def __init__(
        self, socket: Path, queues: str = "urgent,receipts", *arguments: str, **settings: str
    ) -> None:
        self._log = socket.with_suffix(".log")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        own = {
            "KEYTURN_REDIS_URL": f"unix://{socket}",
            "KEYTURN_SECRET_KEYS": SECRET,
            "KEYTURN_DATA_DIR": str(socket.parent),
            "KEYTURN_WORKER_THREADS": "4",
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", "--queues", queues, *arguments],
                cwd=CHECKOUT,
                env=inherited | own | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> WorkerProcess:
        """Come back once it gets hints."""
        wait_until(
            lambda: self.events("worker.started") or self.process.poll() is not None,
            what="a worker that gets hints",
        )
        assert self.is_running(), self.log()
        return self

    def is_running(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace")

    def events(self, event: str) -> list[dict[str, object]]:
        """The lines of its log with this event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def end(self) -> None:
        self.process.kill()
        self.process.wait(HANG_SECONDS)
