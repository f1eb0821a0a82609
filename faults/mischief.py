"""What is done to the processes of a run, and when."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import redis
import structlog

from faults.hosts import LINKS, PEERS
from faults.plan import Plan
from faults.servers import DOWN_MS
from faults.site import Site
from shared.store.connection import Client

log = structlog.get_logger()

VICTIMS = {"worker": 4, "worker-ahead": 3, "web": 1.5, "bulk": 0.5}  # how often each is killed
STOPPED = {"worker": 3, "worker-ahead": 3, "web": 1, "bulk": 0.5}
LEAST_PAUSE_SECONDS = 0.3
UNREADY_SHARE = 0.2  # of the victims may be just starting
FULL_SHARE = 0.8  # of what the server holds: it is full, and by more than a little


class Mischief:
    """Carries out a plan's actions as the callers get on."""

    def __init__(self, site: Site, plan: Plan, *, seed: int, progress: Callable[[], float]) -> None:
        """`progress` is the share of the resets that have been asked for."""
        self._site, self._plan, self._progress = site, plan, progress
        self._dice = random.Random(seed + 1)
        self._lasting: list[threading.Thread] = []
        self._is_over = threading.Event()
        self.is_behind = False
        self.done: Counter[str] = Counter()
        self.stop_seconds: list[float] = []

    def run(self) -> None:
        """Do everything; comes back when the last effect is over."""
        for share, name, seconds in self._plan.actions(self._dice):
            while self._progress() < share and not self._is_over.is_set():
                time.sleep(0.01)
            self.is_behind = True
            getattr(self, f"_{name}")(seconds)
            self.done[name] += 1
            time.sleep(LEAST_PAUSE_SECONDS)
            self.is_behind = False
        for thread in self._lasting:
            thread.join()

    def give_up(self) -> None:
        """Nobody makes progress any more: what is left of the plan is done at once."""
        self._is_over.set()

    def _kill(self, _: float) -> None:
        self._draw(VICTIMS).kill()

    def _kill_server(self, _: float) -> None:
        servers = self._site.servers
        name = servers.primary() if servers else "server"
        self._site.crew.members[name].kill()
        if "mapper" in self._site.crew.members:  # RabbitMQ, which takes a while to come back
            self._site.crew.members["broker"].kill()

    def _move(self, _: float) -> None:
        if self._site.servers:
            self._site.servers.move_a_shard()

    def _cut_off(self, seconds: float) -> None:
        self._part(LINKS, seconds)

    def _split(self, seconds: float) -> None:
        """Clients reach both sides."""
        self._part((PEERS,), seconds)

    def _part(self, links: Sequence[str], seconds: float) -> None:
        servers = self._site.servers
        assert servers
        self._last(seconds, servers.cut(links, until_failover=seconds * 1000 > DOWN_MS))

    def _cut(self, _: float) -> None:
        self._site.crew.members["proxy"].tell(signal.SIGUSR1)

    def _stop(self, _: float) -> None:
        victim = self._draw(STOPPED)
        self.stop_seconds.append(victim.stop())

    def _freeze(self, seconds: float) -> None:
        victim = self._draw({"worker": 1, "worker-ahead": 1})
        victim.freeze()
        self._last(seconds, victim.thaw)

    def _fill(self, seconds: float) -> None:
        for node in self._nodes():
            used = int(self.insist(node.info)["used_memory"])
            self._limit(node, int(used * FULL_SHARE))
        self._last(seconds, self._make_room)

    def _make_room(self) -> None:
        for node in self._nodes():
            self._limit(node, 0)

    def _nodes(self) -> list[Client]:
        """All servers: a replica may be a primary before it is told to make room."""
        servers = self._site.servers
        return servers.nodes() if servers else [self._site.client]

    def _limit(self, node: Client, limit: int) -> None:
        self.insist(lambda: node.config_set("maxmemory", limit))

    def _draw(self, weights: dict[str, float]):
        """One of the processes that work, now and then one that just starts; never a frozen one.

        On a slow machine it waits, for who is killed again and again while starting does nothing.
        """
        members, may_be_starting = self._site.crew.members, self._dice.random() < UNREADY_SHARE
        while True:
            running = [n for n in weights if members[n].is_running and not members[n].is_frozen]
            names = [n for n in running if may_be_starting or self._site.is_ready(n)]
            if names:
                chosen = self._dice.choices(names, [weights[name] for name in names])[0]
                return members[chosen]
            time.sleep(0.02)

    def _last(self, seconds: float, and_then: Callable[[], object]) -> None:
        def wait() -> None:
            time.sleep(seconds)
            and_then()

        self._lasting.append(threading.Thread(target=wait))
        self._lasting[-1].start()

    @staticmethod
    def insist(ask: Callable[[], object]):
        """The server's answer, be it killed meanwhile or not."""
        while True:
            try:
                return ask()
            except redis.RedisError:
                time.sleep(0.1)
