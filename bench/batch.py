"""What a batch costs per recipient, and how much later a person's mail leaves while one drains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from bench.calls import Callers
from bench.figures import Row, middle
from bench.latency import arrivals
from bench.load import quantile
from bench.processes import Program, free_port, is_listening, python_module, running, wait_until
from bench.site import Site
from bench.working import (
    accepted,
    hinted,
    preload_bulk,
    preload_some,
    stub_running,
    worker_running,
)
from shared.models import Queue
from shared.store.pauses import Scope

ROUNDS = 3
SINGLES = 1000  # of a round
PARTS = 10  # a round's batch is so small a part of all users
MOST_US = 80.0
LEAST_TIMES = 20.0

RATE_PER_SECOND = 40
LATENCY_ROUNDS = 3
LEAST_CALLED = 1000  # users who are called for; the batch is for the others
WARM_UP_SECONDS = 1
DRAIN_SECONDS = 300
MOST_TIMES_LATER = 2.0


def measure_batch(site: Site, *, seconds: float) -> list[Row]:
    """The price first, then the delay."""
    return [*_measure_price(site), *_measure_delay(site, seconds=seconds)]


def _measure_price(site: Site) -> list[Row]:
    """CPU of a worker per mail, sent singly and together, in turns."""
    part = site.users // PARTS
    alone: list[float] = []
    together: list[float] = []
    with ExitStack() as stack:
        stack.enter_context(stub_running(site))
        urgent = stack.enter_context(worker_running(site))
        bulk = stack.enter_context(worker_running(site, Queue.BULK))
        for round_number in range(ROUNDS + 1):  # the first warms up
            first = round_number * 2 * part
            number = min(SINGLES, part)
            with _priced(site, urgent, number, alone) as is_over:
                resets = preload_some(site, range(first, first + number))
                with hinted(site, resets):
                    wait_until(is_over)
            with _priced(site, bulk, part, together) as is_over:
                preload_bulk(site, range(first + part, first + 2 * part))
                wait_until(is_over, seconds=DRAIN_SECONDS)
    times = [one / many for one, many in zip(alone[1:], together[1:], strict=True)]
    return [
        Row(name="batch: CPU per mail, sent singly", value=middle(alone[1:]), unit="µs"),
        Row(name="batch: … together", value=middle(together[1:]), unit="µs", most=MOST_US),
        Row(name="batch: singly / together", value=middle(times), unit="", least=LEAST_TIMES),
    ]


@contextmanager
def _priced(
    site: Site, worker: Program, number: int, prices: list[float]
) -> Iterator[Callable[[], bool]]:
    """Notes the worker's microseconds a mail; gives whether all of them are taken."""
    enough, before = accepted(site) + number, worker.cpu_seconds()
    yield lambda: accepted(site) >= enough
    prices.append((worker.cpu_seconds() - before) * 1e6 / number)


def _measure_delay(site: Site, *, seconds: float) -> list[Row]:
    """Calls for single resets: while nothing else goes on, while a batch drains, while it waits."""
    seconds *= LATENCY_ROUNDS
    called = max(LEAST_CALLED, int(RATE_PER_SECOND * seconds))
    batch = range(called, site.users)
    port, ledger = free_port(), site.folder / "batch-ledger"
    with ExitStack() as stack:
        stack.enter_context(stub_running(site, "--ledger", ledger))
        stack.enter_context(_web_running(site, port))
        stack.enter_context(worker_running(site))
        callers = Callers(site, users=called)

        def call(for_seconds: float) -> dict[str, float]:
            told = callers.call(port, "--rate", RATE_PER_SECOND, "--seconds", for_seconds)
            sent: dict[str, float] = told["sent"]
            return sent

        call(WARM_UP_SECONDS)
        at_rest = call(seconds)
        preload_bulk(site, batch)
        with worker_running(site, Queue.BULK):
            began = time.time()
            draining = call(seconds)
            wait_until(lambda: not _waiting(site), seconds=DRAIN_SECONDS)
        preload_bulk(site, batch)
        site.services.pauses.pause(Scope.QUEUE, Queue.BULK, by="bench", reason="measured")
        with worker_running(site, Queue.BULK):
            paused = call(seconds)
        arrived = arrivals(ledger)
    singles = at_rest | draining | paused
    ended = max(at for each, at in arrived.items() if each not in singles)
    draining = {each: at for each, at in draining.items() if at < ended}
    waits = {
        "at rest": _waits(at_rest, arrived),
        f"while {len(batch):,} drain": _waits(draining, arrived),
        f"while {len(batch):,} are paused": _waits(paused, arrived),
    }
    return [
        *(row for name, ms in waits.items() for row in _quantiles(name, ms, waits["at rest"])),
        Row(name="batch: recipients a second", value=len(batch) / (ended - began), unit="/s"),
        Row(
            name="batch: calls that never arrived",
            value=len([each for each in singles if each not in arrived]),
            unit="",
            most=0,
        ),
    ]


def _web_running(site: Site, port: int) -> AbstractContextManager[Program]:
    return running(
        *python_module("web"),
        is_ready=lambda: is_listening(port),
        env=site.environment | {"KEYTURN_PORT": str(port)},
        log=site.log,
    )


def _waiting(site: Site) -> int:
    return site.services.dues.look(Queue.BULK).waiting


def _waits(sent: dict[str, float], arrived: dict[str, float]) -> list[float]:
    """Milliseconds from the call to the provider."""
    return [(arrived[each] - at) * 1000 for each, at in sent.items() if each in arrived]


def _quantiles(name: str, ms: list[float], at_rest: list[float]) -> Iterator[Row]:
    """Both quantiles, and the larger one beside what it is at rest."""
    p99 = quantile(ms, 0.99)
    yield Row(name=f"call → provider {name}: p50", value=quantile(ms, 0.5), unit="ms")
    yield Row(name=f"call → provider {name}: p99 of {len(ms)}", value=p99, unit="ms")
    if ms is not at_rest:
        times = p99 / quantile(at_rest, 0.99)
        yield Row(name=f"… p99 {name} / at rest", value=times, unit="", most=MOST_TIMES_LATER)
