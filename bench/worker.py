"""What a message costs one worker process, beside its limit and two workers of an afternoon."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import cast

from bench.figures import Row, middle
from bench.peers import NAIVE_SHARE, Peer
from bench.processes import ROOT, Program, python_module, running, wait_until
from bench.site import Site
from bench.working import accepted, preload_some, stub_running, worker_running
from shared.models import Channel, Queue
from shared.queue import Hint, MessageTemplates, Task, hint_at, make_celery

ROUNDS = 3
MESSAGES_A_SECOND, PACED_A_SECOND = 250, 750  # of a run; so long that its begin counts little
SLOW_MS = 100
DRAIN_SECONDS = 300
OURS = "ours"
MAX_SHARES = {Peer.LIMIT: 1.6, Peer.NAIVE: 1 / 15, Peer.POOLED: 0.8}
LEAST_PACE = 0.7


def measure_worker(site: Site, *, seconds: float) -> list[Row]:
    """A provider that answers at once shows the price, one that takes 100 ms the pace."""
    number = int(seconds * MESSAGES_A_SECOND)
    prices = _measure_price(site, iter(range(0, site.users - number, number)), number)
    first, many = number * (ROUNDS + 1), int(seconds * PACED_A_SECOND)
    many = min(many, (site.users - first) // 3)
    return [*prices, *_measure_pace(site, iter(range(first, site.users, many)), many, seconds)]


def _measure_price(site: Site, users: Iterator[int], number: int) -> list[Row]:
    """CPU a message of each, in turns."""
    prices: dict[str, list[float]] = {OURS: [], **{peer: [] for peer in Peer}}
    with ExitStack() as stack:
        stack.enter_context(stub_running(site))
        worker = stack.enter_context(worker_running(site))
        peers = stack.enter_context(_peers_running(site))
        for _ in range(ROUNDS + 1):
            with _counted(worker, number, prices[OURS]):
                _send(site, worker, next(users), number)
            for peer in Peer:
                some = number // (NAIVE_SHARE if peer is Peer.NAIVE else 1)
                with _counted(peers, some, prices[peer]):
                    texts = _hints(site, [Hint(f"u{n}", cast("Task", peer), cast("Queue", peer))
                                          for n in range(some)])  # fmt: skip
                    site.client.lpush(peer, *texts)
                    _wait_until_idle(site, peers, peer)
    value = {name: middle(each[1:]) for name, each in prices.items()}  # the first warms up

    def share(peer: Peer) -> float:
        return middle([a / b for a, b in zip(prices[OURS][1:], prices[peer][1:], strict=True)])

    return [
        *(Row(name=f"P2 worker: CPU, ours / {peer}", value=share(peer), unit="", most=most)
          for peer, most in MAX_SHARES.items()),
        *(Row(name=f"worker, {name}: CPU per message", value=each, unit="ms")
          for name, each in value.items()),
    ]  # fmt: skip


def _measure_pace(site: Site, users: Iterator[int], number: int, seconds: float) -> list[Row]:
    """Messages a second, and those of as many bare connections, in turns."""
    threads, ours, bare = site.settings.worker_threads, [], []
    with stub_running(site, "--delay-ms", SLOW_MS), worker_running(site) as worker:
        _send(site, worker, next(users), number)
        for _ in range(2):
            ours.append(number / _send(site, worker, next(users), number))
            command = python_module("bench.sending", "bare", seconds, threads)
            done = subprocess.run(
                [str(part) for part in command],
                env=site.environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            bare.append(json.loads(done.stdout)["per_second"])
    return [
        Row(name="P3 worker: messages, ours / bare client, provider at 100 ms",
            value=middle(ours) / middle(bare), unit="", least=LEAST_PACE),
        Row(name="worker, ours: messages", value=middle(ours), unit="/s"),
        Row(name=f"worker, {threads} bare connections: messages", value=middle(bare), unit="/s"),
    ]  # fmt: skip


def _send(site: Site, worker: Program, first: int, number: int) -> float:
    """Let our worker send to so many users; return the seconds it took."""
    enough = accepted(site) + number
    with worker.frozen():  # its sweeper would find them before their hints
        resets = preload_some(site, range(first, first + number))
        hints = [hint_at(each, Channel.EMAIL, Queue.URGENT) for each in resets]
        site.client.lpush(Queue.URGENT, *_hints(site, hints))
    began = time.perf_counter()
    wait_until(lambda: accepted(site) >= enough, seconds=DRAIN_SECONDS)
    return time.perf_counter() - began


def _hints(site: Site, hints: list[Hint]) -> list[bytes]:
    templates = MessageTemplates(make_celery(site.settings))
    return [templates.fill(hint) for hint in hints]


def _peers_running(site: Site) -> AbstractContextManager[Program]:
    arguments = ("--app", "bench.naive_worker", "worker", "--pool=threads", "--loglevel=WARNING")
    arguments += (f"--concurrency={site.settings.worker_threads}", "--queues", ",".join(Peer))
    return running(
        *(sys.executable, "-m", "celery", *arguments, "--without-gossip", "--without-mingle"),
        is_ready=lambda: site.client.exists("_kombu.binding.empty") == 1,
        env=site.environment,
        log=site.log,
    )


def _wait_until_idle(site: Site, worker: Program, queue: str) -> None:
    """Wait until the queue is empty and what was taken from it is done."""
    wait_until(lambda: not site.client.exists(queue), seconds=DRAIN_SECONDS)
    before = -1.0
    while (now := worker.cpu_seconds()) - before > 0.01:
        before = now
        time.sleep(0.2)


@contextmanager
def _counted(worker: Program, number: int, prices: list[float]) -> Iterator[None]:
    """Note the milliseconds of CPU a message."""
    before = worker.cpu_seconds()
    yield
    prices.append((worker.cpu_seconds() - before) * 1000 / number)
