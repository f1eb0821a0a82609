"""What sending a message costs one worker process, and how many it sends a second."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.figures import Row, middle
from bench.processes import Program, wait_until
from bench.site import Site
from bench.working import accepted, hinted, preload, stub_running, worker_running

ROUNDS = 3
LOOK_EVERY_SECONDS = 0.1
WARM_UP_MESSAGES = 500
SLOW_MS = 100
MAX_CPU_MS = 1.0
LEAST_PER_SECOND = 600


def measure_worker(site: Site, *, seconds: float) -> list[Row]:
    """A provider that answers at once shows the price, one that takes 100 ms the pace."""
    fast = _measure(site, seconds=seconds, delay_ms=0)
    slow = _measure(site, seconds=seconds, delay_ms=SLOW_MS)
    return [
        Row(
            name="worker: CPU per message over TLS",
            value=fast["cpu_ms"],
            unit="ms",
            most=MAX_CPU_MS,
        ),
        Row(name="worker: messages", value=fast["per_second"], unit="/s"),
        Row(name=f"worker, provider at {SLOW_MS} ms: CPU", value=slow["cpu_ms"], unit="ms"),
        Row(
            name=f"worker, provider at {SLOW_MS} ms: messages",
            value=slow["per_second"],
            unit="/s",
            least=LEAST_PER_SECOND,
        ),
    ]


def _measure(site: Site, *, seconds: float, delay_ms: int) -> dict[str, float]:
    resets = preload(site)  # one a user: a second would overtake the first
    most = (len(resets) - WARM_UP_MESSAGES) // ROUNDS
    with ExitStack() as stack:
        stack.enter_context(stub_running(site, "--delay-ms", delay_ms))
        worker = stack.enter_context(worker_running(site))
        enough = accepted(site) + WARM_UP_MESSAGES
        stack.enter_context(hinted(site, resets))
        wait_until(lambda: accepted(site) >= enough)
        runs = [_watch(site, worker, seconds=seconds, most=most) for _ in range(ROUNDS)]
    return {name: middle([run[name] for run in runs]) for name in runs[0]}


def _watch(site: Site, worker: Program, *, seconds: float, most: int) -> dict[str, float]:
    """So long, or until the round's share of the resets is sent."""
    began, cpu, taken = time.perf_counter(), worker.cpu_seconds(), accepted(site)
    while (took := time.perf_counter() - began) < seconds and accepted(site) - taken < most:
        time.sleep(LOOK_EVERY_SECONDS)
    number = accepted(site) - taken
    return {
        "cpu_ms": (worker.cpu_seconds() - cpu) * 1000 / number,
        "per_second": number / took,
    }
