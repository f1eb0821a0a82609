"""What a batch costs per recipient, and how much later a person's mail leaves while one drains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.batch_delay import measure_delay, rounds_of
from bench.figures import Row, middle
from bench.processes import ROOT, Program, python_module, wait_until
from bench.site import Site
from bench.working import (
    accepted,
    preload_bulk,
    preload_some,
    stub_running,
    worker_running,
)
from shared.models import Channel, Queue
from shared.queue import hint_at

ROUNDS = 3
SINGLES = 200  # of a round, one after the other: what waits together is sent together
PARTS = 10  # a round's batch is so small a part of all users
LEAST_TIMES, MAX_TO_LIMIT = 40.0, 3.0
BARE_SECONDS = 1.5

DRAIN_SECONDS = 300


def measure_batch(site: Site, *, seconds: float) -> list[Row]:
    """The price first, then the delay."""
    return [
        *_measure_price(site, rounds_of(seconds, ROUNDS)),
        *measure_delay(site, seconds=seconds),
    ]


def _measure_price(site: Site, rounds: int) -> list[Row]:
    """CPU of a worker per mail, sent singly and together, in turns."""
    part = site.users // min(PARTS, 2 * (rounds + 1))
    alone: list[float] = []
    together: list[float] = []
    with ExitStack() as stack:
        stack.enter_context(stub_running(site))
        urgent = stack.enter_context(worker_running(site))
        bulk = stack.enter_context(worker_running(site, Queue.BULK))
        for round_number in range(rounds + 1):  # the first warms up
            first = round_number * 2 * part
            number = min(SINGLES, part)
            resets = preload_some(site, range(first, first + number))
            with _priced(site, urgent, number, alone):
                _send_singly(site, resets)
            with _priced(site, bulk, part, together) as is_over:
                preload_bulk(site, range(first + part, first + 2 * part))
                wait_until(is_over, seconds=DRAIN_SECONDS)
        bare = middle([_bare_us(site) for _ in range(rounds)])
    times = [one / many for one, many in zip(alone[1:], together[1:], strict=True)]
    return [
        Row(name="batch: CPU per mail, sent singly", value=middle(alone[1:]), unit="µs"),
        Row(name="batch: … together", value=middle(together[1:]), unit="µs"),
        Row(name="P5 batch: singly / together", value=middle(times), unit="", least=LEAST_TIMES),
        Row(name="batch: … prepared requests of 1,000 by http.client", value=bare, unit="µs"),
        Row(name="P5 batch: together / prepared requests", value=middle(together[1:]) / bare,
            unit="", most=MAX_TO_LIMIT),
    ]  # fmt: skip


def _send_singly(site: Site, reset_ids: list[str]) -> None:
    for number, reset_id in enumerate(reset_ids, start=accepted(site)):
        site.services.hints.publish(hint_at(reset_id, Channel.EMAIL, Queue.URGENT))
        wait_until(partial(_is_accepted, site, number))


def _is_accepted(site: Site, number: int) -> bool:
    return accepted(site) > number


def _bare_us(site: Site) -> float:
    """CPU a recipient of a client that does nothing but hand over."""
    command = python_module("bench.sending", "bulk", BARE_SECONDS, 1)
    done = subprocess.run(
        [str(part) for part in command],
        env=site.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(done.stdout)["cpu_ms"])  # a request of a thousand: µs a recipient


@contextmanager
def _priced(
    site: Site, worker: Program, number: int, prices: list[float]
) -> Iterator[Callable[[], bool]]:
    """Notes the worker's microseconds a mail; gives whether all of them are taken."""
    enough, before = accepted(site) + number, worker.cpu_seconds()
    yield lambda: accepted(site) >= enough
    prices.append((worker.cpu_seconds() - before) * 1e6 / number)
