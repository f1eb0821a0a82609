"""The processes of a run: started as the Procfile says, restarted whatever ends them, counted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTS = range(20_000, 32_000)  # below the range the kernel takes its own from
WATCH_SECONDS = 0.03
STOP_SECONDS = 60.0  # a stop that takes longer is one that hangs


def procfile() -> dict[str, list[str]]:
    """Name → command, as the Procfile has them."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    named = (line.partition(": ") for line in lines if line.strip())
    return {name: command.split() for name, _, command in named}


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    while True:
        port = random.choice(PORTS)
        if not is_listening(port):
            return port


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def say(what: str) -> None:
    print(f"faults: {what}", file=sys.stderr, flush=True)


def wait_until(is_true: Callable[[], object], *, seconds: float, what: str) -> None:
    """Come back as soon as it holds.

    Raises:
        SystemExit: it did not within the seconds.
    """
    give_up_at = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"the fault run waited {seconds:g} s in vain: {what}")
        time.sleep(0.02)


class Process:
    """One command, in a process group of its own; started again while it is wanted."""

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        *,
        environ: Mapping[str, str],
        log: Path,
        pause_seconds: Callable[[], float] = lambda: 0.0,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """`pause_seconds` pass between its end and its next start."""
        self.name, self.log = name, log
        self._command = [str(part) for part in command]
        self._environ = dict(environ)
        self._pause_seconds, self._prepare = pause_seconds, prepare
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._is_wanted = False
        self._is_asked = False  # its end is our doing
        self._start_at = 0.0
        self.is_frozen = False
        self.starts = 0
        self.exits: Counter[str] = Counter()  # ends nobody here asked for, by status

    def start(self) -> None:
        with self._lock:
            self._is_wanted = True
            self._begin()

    def _begin(self) -> None:
        self._prepare()
        path = f"{Path(sys.executable).parent}{os.pathsep}{self._environ.get('PATH', '')}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environ | {"PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        self._is_asked = self.is_frozen = False

    def watch(self) -> None:
        """Notice its end; start it again when its pause is over."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                if not self._is_asked:
                    self.exits[str(self._process.returncode)] += 1
                self._signal_group(signal.SIGKILL)  # whatever it left behind
                self._process = None
                self._start_at = time.monotonic() + self._pause_seconds()
            if self._process is None and self._is_wanted and time.monotonic() >= self._start_at:
                self._begin()

    def kill(self) -> None:
        """kill -9 the whole group."""
        with self._lock:
            self._is_asked = True
            self._signal_group(signal.SIGKILL)

    def freeze(self) -> None:
        with self._lock:
            self.is_frozen = True
            self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        with self._lock:
            self._signal_group(signal.SIGCONT)
            self.is_frozen = False

    def stop(self) -> float:
        """SIGTERM to the process itself, as a supervisor would; the seconds until it ended."""
        with self._lock:
            process, self._is_asked = self._process, True
        if process is None:
            return 0.0
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        return time.monotonic() - began

    def end(self) -> float:
        """Stop it for good."""
        with self._lock:
            self._is_wanted = False
            if self.is_frozen:
                self.thaw()
        seconds = self.stop()
        self.watch()
        return seconds

    @property
    def pid(self) -> int:
        """Its process id; 0 while it does not run."""
        with self._lock:
            return self._process.pid if self._process is not None else 0

    @property
    def is_running(self) -> bool:
        with self._lock:
            return self._process is not None and self._process.poll() is None

    def tell(self, number: signal.Signals) -> None:
        """A signal to the process itself."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(number)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


class Crew:
    """All processes, watched by a thread."""

    def __init__(self) -> None:
        self.members: dict[str, Process] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")
        self._thread.start()

    def add(self, process: Process) -> Process:
        """Start it and look after it from now on."""
        process.start()
        self.members[process.name] = process
        return process

    def exits(self) -> dict[str, dict[str, int]]:
        """Ends nobody asked for: name → status → how often."""
        return {name: dict(each.exits) for name, each in self.members.items() if each.exits}

    def end(self) -> None:
        """Stop everybody, the last started first."""
        for process in reversed(self.members.values()):
            process.end()
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(WATCH_SECONDS):
            for process in list(self.members.values()):
                process.watch()
