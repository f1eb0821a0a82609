"""Processes the bench starts, what processor time they took, and their end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90  # on a machine that others load
STOP_SECONDS = 10
PORTS = iter(range(21400, 21600))  # below the kernel's own range


class Program:
    """A process with its children, told apart by their ids."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._family = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children until now."""
        return sum(_cpu_seconds(each) for each in self.members())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The process stands still until the block ends."""
        self._family.suspend()
        yield
        self._family.resume()

    def stop(self) -> None:
        members = self.members()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def members(self) -> list[psutil.Process]:
        """The process and its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._family, *self._family.children(recursive=True)]
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


@contextmanager
def running(
    *command: object, is_ready: Callable[[], bool], env: Mapping[str, str] | None = None, log: Path
) -> Iterator[Program]:
    """A program from the moment it is ready until the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env=os.environ | dict(env or {}),
        )
    program = Program(process)
    try:
        wait_until(lambda: is_ready() or program.has_ended)
        if program.has_ended:
            raise SystemExit(f"{command} ended at once:\n{log.read_text()[-2000:]}")
        yield program
    finally:
        program.stop()


def wait_until(is_true: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
    give_up_at = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"the bench waited {seconds} s in vain")
        time.sleep(0.02)


def python_module(module: str, *arguments: object) -> tuple[object, ...]:
    """The command line of a module under this very interpreter."""
    return (sys.executable, "-m", module, *arguments)


def free_port() -> int:
    """A port nobody listens on; each call gives another."""
    return next(port for port in PORTS if not is_listening(port))


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
