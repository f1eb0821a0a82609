"""Bytes of Redis a user and a reset of a batch take; what a message costs while many wait."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.figures import Row
from bench.processes import Program, wait_until
from bench.site import WRITTEN_TOGETHER, Site, person
from bench.working import (
    accepted,
    hinted,
    preload_bulk,
    preload_some,
    stub_running,
    worker_running,
)
from shared.directories.redis import RedisDirectory
from shared.models import Queue
from shared.store import keys

USERS_A_SECOND = 20_000  # of a run: 120,000, of a quick one 18,000
PART = 10  # of the users have a reset in the batch
MESSAGES = 300
LATER_MS = 24 * 3600 * 1000
DRAIN_SECONDS = 300


def measure_memory(site: Site, *, seconds: float) -> list[Row]:
    """The figures of this measure's own users, who come after those of the site."""
    first, number = site.users, int(seconds * USERS_A_SECOND)
    batch = range(first, first + number // PART)
    singles, waiting = range(batch.stop, batch.stop + 4 * MESSAGES), number // 2
    before, directory = _used_bytes(site), RedisDirectory(site.client, site.services.digests)
    for start in range(first, first + number, WRITTEN_TOGETHER):
        some = range(start, min(start + WRITTEN_TOGETHER, first + number))
        directory.save_fields(({}, person(f"u{each}")) for each in some)
    a_user = (_used_bytes(site) - before) / number
    with ExitStack() as stack:
        stack.enter_context(stub_running(site))
        _send_batch(site, batch[:MESSAGES])  # what is stored once: scripts, counters
        before = _used_bytes(site)
        _send_batch(site, batch[MESSAGES:])
        a_reset = (_used_bytes(site) - before) / (len(batch) - MESSAGES)
        worker = stack.enter_context(worker_running(site))
        _price_us(site, worker, singles[:MESSAGES])  # warms up
        alone = _price_us(site, worker, singles[MESSAGES : 2 * MESSAGES])
        _let_wait(site, range(singles.stop, singles.stop + waiting))
        _price_us(site, worker, singles[2 * MESSAGES : 3 * MESSAGES])
        beside = _price_us(site, worker, singles[3 * MESSAGES :])
    return [
        Row(name="memory: CPU a message, many waiting / none", value=beside / alone, unit=""),
        Row(name="memory: … so many", value=waiting, unit=""),
        Row(name="memory: a reset of a batch", value=a_reset, unit="bytes"),
        Row(name="memory: the built-in directory a user", value=a_user, unit="bytes"),
        Row(name="memory: … of so many", value=number, unit=""),
    ]


def _send_batch(site: Site, numbers: range) -> None:
    """Record resets of a batch and let a worker send them; it is gone afterwards."""
    enough = accepted(site) + len(numbers)
    preload_bulk(site, numbers)
    with worker_running(site, Queue.BULK):
        wait_until(lambda: accepted(site) >= enough, seconds=DRAIN_SECONDS)
        time.sleep(1)  # what follows the last call


def _used_bytes(site: Site) -> int:
    return int(site.client.info("memory")["used_memory"])


def _let_wait(site: Site, numbers: range) -> None:
    """Record resets in the bulk queue, and let them wait in the urgent one until tomorrow."""
    preload_bulk(site, numbers)
    until = site.services.dues.now_ms() + LATER_MS
    for tag in keys.TAGS:
        if waiting := site.client.zrange(keys.due(tag, Queue.BULK), 0, -1):
            site.client.zadd(keys.due(tag, Queue.URGENT), dict.fromkeys(waiting, until))


def _price_us(site: Site, worker: Program, numbers: range) -> float:
    """CPU of the worker a message."""
    with worker.frozen():  # its sweeper would find them before their hints
        resets = preload_some(site, numbers)
    enough, before = accepted(site) + len(numbers), worker.cpu_seconds()
    with hinted(site, resets):
        wait_until(lambda: accepted(site) >= enough, seconds=DRAIN_SECONDS)
    return (worker.cpu_seconds() - before) * 1e6 / len(numbers)
