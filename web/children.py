"""The processes `keyturn up` looks after: started, restarted when they die, stopped in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0  # who lived that long starts again with the first pause
CHILD = Path(__file__).with_name("child.py")


class Child:
    """One process, in a process group of its own, that ends with this process.

    Ctrl-C in a terminal reaches this process alone: it decides who stops when.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        stop_seconds: float = 10.0,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """`prepare` runs before each start."""
        self.name = name
        self.stop_seconds = stop_seconds
        self._command = tuple(command)
        self._environ = dict(environ)
        self._prepare = prepare
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._start_again_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it. To be called in the main thread: its end would be the child's end too."""
        if self._prepare is not None:
            self._prepare()
        wrapped = (sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *self._command)
        self._process = subprocess.Popen(  # noqa: S603  # our own commands
            wrapped, env=self._environ, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started_at = time.monotonic()
        log.info("process.started", name=self.name, pid=self._process.pid)

    def watch(self) -> None:
        """Notice its end, and start it again once its pause is over."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._note_end(now)
        if self._process is None and now >= self._start_again_at:
            self.start()

    def terminate(self) -> None:
        """Ask it to end in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """True when it has ended by then."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _note_end(self, now: float) -> None:
        status = self._process.returncode if self._process is not None else None
        if now - self._started_at >= STEADY_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        log.warning(
            "process.ended", name=self.name, status=status, restart_seconds=self._pause_seconds
        )
        self.kill()
        self._start_again_at = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)


def stop_together(children: Sequence[Child], *, is_forced: Callable[[], bool]) -> None:
    """Ask all to end, wait as long as each may take, then kill what is left."""
    for child in children:
        child.terminate()
    started_at = time.monotonic()
    for child in children:
        while not child.wait(0.1):
            if is_forced() or time.monotonic() - started_at > child.stop_seconds:
                log.warning("process.ended", name=child.name, status="killed")
                child.kill()
