"""`python -m bench.million [--users N]`: a huge batch and the memory it takes; up to hours.

The file goes through the web process by HTTP, is planned, started and drained to its end through
SendGrid's stub by one bulk worker; before it a batch of 20,000, whose pace it is compared with.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil

from bench.figures import Row, print_rows
from bench.machine import machine_facts
from bench.processes import Program, free_port, is_listening, python_module, running
from bench.site import Site, open_site
from bench.working import stub_running, worker_running
from shared.models import Queue
from shared.store.batches import Batch, BatchState

USERS = 1_000_000
FIRST_USERS = 20_000
LEAST_PACE = 0.7  # of that of the first batch
MAX_PROCESS_MB = 300.0
MAX_REDIS_MB = 1024.0
LOOK_EVERY_SECONDS = 0.5
MEGABYTE = 1024 * 1024


class Peaks:
    """The most memory each process has had, looked at twice a second."""

    def __init__(self, site: Site, programs: dict[str, Program]) -> None:
        """Begins to look."""
        self._site, self._programs = site, programs
        self.megabytes: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Looks until the block ends."""
        self._thread.start()
        yield
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_SECONDS):
            for name, program in self._programs.items():
                largest = max((_resident(each) for each in program.members()), default=0.0)
                self._note(name, largest)
            self._note("Redis", redis_megabytes(self._site))

    def _note(self, name: str, megabytes: float) -> None:
        self.megabytes[name] = max(megabytes, self.megabytes.get(name, 0.0))


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(prog="python -m bench.million")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--max-seconds", type=float, default=6 * 3600.0)
    chosen = parser.parse_args()
    with open_site(users=chosen.users + FIRST_USERS) as site:
        rows = measure(site, max_seconds=chosen.max_seconds)
        print_rows(rows, machine_facts(site.client.info("server")))


def measure(site: Site, *, max_seconds: float) -> list[Row]:
    """The steps in turn, each with its seconds; then the peaks."""
    port, rows = free_port(), []
    with ExitStack() as stack:
        stack.enter_context(stub_running(site))
        web = stack.enter_context(
            running(
                *python_module("web"),
                is_ready=lambda: is_listening(port),
                env=site.environment | {"KEYTURN_PORT": str(port)},
                log=site.log,
            )
        )
        bulk = stack.enter_context(worker_running(site, Queue.BULK))
        small = range(site.users - FIRST_USERS, site.users)
        plan_id, _ = _timed(lambda: _upload(site, port, small))
        _wait(site, plan_id, _is_planned, max_seconds)
        first = _drained(site, port, plan_id, max_seconds)
        before = redis_megabytes(site)
        peaks = Peaks(site, {"web": web, "bulk worker": bulk})
        stack.enter_context(peaks.watched())
        plan_id, seconds = _timed(lambda: _upload(site, port, range(small.start)))
        rows.append(Row(name="file read and checked by HTTP", value=seconds, unit="s"))
        _, seconds = _timed(lambda: _wait(site, plan_id, _is_planned, max_seconds))
        rows.append(Row(name="planned", value=seconds, unit="s"))
        lists = redis_megabytes(site) - before
        took = _drained(site, port, plan_id, max_seconds)
        batch = _find(site, plan_id)
    users = small.start
    pace, first_pace = batch.recorded / took, FIRST_USERS / first
    peak = peaks.megabytes
    return [
        *rows,
        Row(name="recorded and sent, to the last", value=took, unit="s"),
        Row(name="recorded and sent", value=pace, unit="/s"),
        Row(name="P8 pace / that of 20,000", value=pace / first_pace, unit="", least=LEAST_PACE),
        Row(name="resets", value=batch.recorded, unit="", least=users),
        Row(name="web process, peak", value=peak["web"], unit="MB", most=MAX_PROCESS_MB),
        Row(name="worker, peak", value=peak["bulk worker"], unit="MB", most=MAX_PROCESS_MB),
        Row(name="Redis: the directory's users", value=before, unit="MB"),
        Row(name="Redis: … and the planned batch", value=lists, unit="MB more"),
        Row(
            name="Redis: batch and resets at the peak, without the users",
            value=peak["Redis"] - before,
            unit="MB",
            most=MAX_REDIS_MB,
        ),
    ]


def redis_megabytes(site: Site) -> float:
    """What Redis holds."""
    return float(site.client.info("memory")["used_memory"]) / MEGABYTE


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / MEGABYTE
    except psutil.NoSuchProcess:
        return 0.0


def _timed(act: Callable[[], str]) -> tuple[str, float]:
    began = time.monotonic()
    return act(), time.monotonic() - began


def _drained(site: Site, port: int, plan_id: str, max_seconds: float) -> float:
    """Start a plan; return the seconds until all of it is recorded and none waits."""
    began = time.monotonic()
    _post(site, port, json.dumps({"planId": plan_id}).encode(), kind="application/json")
    _wait(site, plan_id, lambda batch: batch.is_fed, max_seconds)
    while site.services.dues.look(Queue.BULK).waiting and time.monotonic() < began + max_seconds:
        time.sleep(LOOK_EVERY_SECONDS)
    return time.monotonic() - began


def _upload(site: Site, port: int, numbers: range) -> str:
    """The id of the plan."""
    lines = [f"u{number}\n" for number in numbers]
    text = "".join(lines).encode()
    told: dict[str, str] = _post(site, port, text, kind="text/plain", query="?dryRun=true")
    return told["planId"]


def _post(site: Site, port: int, body: bytes, *, kind: str, query: str = "") -> dict[str, str]:
    call = urllib.request.Request(
        f"http://127.0.0.1:{port}/keyturn/v1/batches{query}",
        data=body,
        headers={"Authorization": f"Bearer {site.token}", "Content-Type": kind},
    )
    with urllib.request.urlopen(call, timeout=600) as answer:  # noqa: S310
        told: dict[str, str] = json.load(answer)
        return told


def _find(site: Site, batch_id: str) -> Batch:
    batch = site.services.batches.find(batch_id)
    if batch is None:
        raise SystemExit("the batch is gone")
    return batch


def _is_planned(batch: Batch) -> bool:
    return batch.state is BatchState.PLANNED


def _wait(site: Site, batch_id: str, is_true: Callable[[Batch], bool], max_seconds: float) -> str:
    give_up_at = time.monotonic() + max_seconds
    while not is_true(batch := _find(site, batch_id)):
        if time.monotonic() > give_up_at:
            print(f"after {max_seconds:g} s: {batch.next_list} of {batch.lists} lists", flush=True)
            break  # what was reached is told all the same
        time.sleep(LOOK_EVERY_SECONDS)
    return batch_id


if __name__ == "__main__":
    main()
