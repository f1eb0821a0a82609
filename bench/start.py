"""How long commands and processes take to start, beside a Python that does nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Row, middle, rounds_of
from bench.processes import ROOT, free_port, python_module, running
from bench.site import Site
from bench.working import preload_some, stub_running
from shared.models import Status

ROUNDS = 3
NOTHING = (sys.executable, "-c", "pass")
READY = "Keyturn is ready"


def measure_start(site: Site, *, seconds: float) -> list[Row]:
    """CPU of commands; seconds until `./run` says ready, and until a worker has claimed."""
    rounds = range(rounds_of(seconds, ROUNDS))
    commands = {
        "python -c pass": NOTHING,
        "keyturn --version": python_module("web.cli", "--version"),
        "keyturn status": python_module("web.cli", "status"),
    }
    cpu = {name: [_cpu_seconds(site, each) for _ in rounds] for name, each in commands.items()}
    with stub_running(site):
        claims = [_seconds_to_claim(site, number) for number in rounds]
    ready = [_seconds_to_ready(site, number) for number in rounds]
    return [
        *(Row(name=f"start: {name}, CPU", value=middle(v), unit="s") for name, v in cpu.items()),
        Row(name="start: ./run → ready", value=middle(ready), unit="s"),
        Row(name="start: worker, exec → first claim", value=middle(claims), unit="s"),
    ]


def _cpu_seconds(site: Site, command: tuple[object, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [str(part) for part in command],
        env=site.environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _seconds_to_claim(site: Site, number: int) -> float:
    """Start a worker where a reset waits that no hint names any more."""
    (reset_id,) = preload_some(site, range(number, number + 1))
    began, resets = time.monotonic(), site.services.resets

    def is_claimed() -> bool:
        reset = resets.find(reset_id)
        return reset is not None and reset.status is not Status.QUEUED

    with running(*python_module("worker"), is_ready=is_claimed, env=site.environment, log=site.log):
        return time.monotonic() - began


def _seconds_to_ready(site: Site, number: int) -> float:
    """Start `./run` where its environment stands; else what it becomes."""
    names = ("KEYTURN_PORT", "KEYTURN_GRPC_PORT", "KEYTURN_FLOWER_PORT")
    own = {name: str(free_port()) for name in names}
    own["KEYTURN_DATA_DIR"] = str(site.folder / f"up{number}")
    has_run = Path(sys.prefix) == ROOT / ".venv"
    command = (ROOT / "run", "up") if has_run else python_module("web.cli", "up")
    began, log = time.monotonic(), site.folder / f"up{number}.log"
    environ = site.environment | own
    with running(*command, is_ready=lambda: READY in log.read_text(), env=environ, log=log):
        return time.monotonic() - began
