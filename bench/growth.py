"""`python -m bench.growth [--nodes N] [--seconds N] [--commands]`: clusters of 1 to N nodes.

Accepts and deliveries a second, and what one costs each server. On few cores the web process is
the limit of the pace, so the servers' own CPU says what more of them would carry.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis.crc import key_slot

from bench.calls import Callers
from bench.figures import Row, print_rows
from bench.machine import machine_facts
from bench.processes import free_port, is_listening, python_module, running, wait_until
from bench.site import MEMORY, Site, open_site
from bench.working import accepted, stub_running, worker_running
from shared.models import Queue
from shared.store import keys
from tests.support.cluster import Cluster

USERS = 20_000
SERVER = ("--appendonly", "yes", "--appendfsync", "always")  # as the embedded one
CONNECTIONS = 8
WARM_UP_SECONDS = 2.0
IDLE_SECONDS = 4.0
DRAIN_SECONDS = 120.0
MAX_OF_THE_MEAN = 1.2


@dataclass
class Use:
    """What each node did in a phase, without what it does at rest."""

    number: int = 0
    seconds: float = 0.0
    cpu_us: dict[int, float] = field(default_factory=dict)  # by port
    commands: dict[int, Counter[str]] = field(default_factory=dict)

    def each(self, port: int) -> float:
        """A node's microseconds for one accept or delivery."""
        return self.cpu_us[port] / self.number


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--commands", action="store_true", help="of each node, a hundred accepts")
    chosen = parser.parse_args()
    rows: list[Row] = []
    machine: dict[str, str] = {}
    for nodes in range(1, chosen.nodes + 1):
        print(f"measuring {nodes} …", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="keyturn-bench-", dir=MEMORY) as folder,
            _cluster(Path(folder), nodes) as cluster,
            open_site(users=USERS, store_url=cluster.url) as site,
        ):
            gate = cluster.owner(key_slot(keys.GATE.encode()))
            machine = machine_facts(site.client.info("server"))
            for what, use in _measure(site, cluster, chosen.seconds).items():
                rows += _rows(f"{nodes}: {what}", use, gate)
                for port, commands in use.commands.items() if chosen.commands else ():
                    shown = {n: round(c * 100 / use.number) for n, c in commands.most_common(9)}
                    print("gate" if port == gate else "node", what, shown, flush=True)
    print_rows(rows, machine)


@contextmanager
def _cluster(folder: Path, nodes: int) -> Iterator[Cluster]:
    cluster = Cluster(folder, *SERVER, primaries=nodes)
    try:
        yield cluster
    finally:
        cluster.stop()


def _measure(site: Site, cluster: Cluster, seconds: float) -> dict[str, Use]:
    """Accept for so long; then deliver what was accepted."""
    port, callers, connections = free_port(), Callers(site), ("--connections", CONNECTIONS)
    accepts, deliveries = Use(), Use()
    with running(
        *python_module("web"),
        is_ready=lambda: is_listening(port),
        env=site.environment | {"KEYTURN_PORT": str(port)},
        log=site.log,
    ):
        callers.call(port, "--seconds", WARM_UP_SECONDS, *connections)
        with _used(cluster, accepts):
            accepts.number = callers.call(port, "--seconds", seconds, *connections)["calls"]
        accepts.seconds = seconds
    with stub_running(site), worker_running(site):
        before, began = accepted(site), time.monotonic()
        with _used(cluster, deliveries):
            look = site.services.dues.look
            wait_until(lambda: not look(Queue.URGENT).waiting, seconds=DRAIN_SECONDS)
            deliveries.seconds = time.monotonic() - began
        deliveries.number = accepted(site) - before
    return {"accept": accepts, "delivery": deliveries}


@contextmanager
def _used(cluster: Cluster, use: Use) -> Iterator[None]:
    """Note what the nodes do in the block; afterwards, at rest, subtract what they do anyhow."""
    before, began = {port: _look(cluster, port) for port in cluster.ports}, time.monotonic()
    yield
    after, took = {port: _look(cluster, port) for port in cluster.ports}, time.monotonic() - began
    time.sleep(IDLE_SECONDS)
    for port in cluster.ports:
        cpu_us, commands = (after[port][0] - before[port][0]), after[port][1] - before[port][1]
        at_rest = (_look(cluster, port)[0] - after[port][0]) / IDLE_SECONDS
        use.cpu_us[port], use.commands[port] = cpu_us - at_rest * took, commands


def _look(cluster: Cluster, port: int) -> tuple[float, Counter[str]]:
    """Microseconds of CPU, and commands by name with those that scripts call, until now."""
    with cluster.node(port) as node:
        info, stats = node.info("cpu"), node.info("commandstats")
    cpu_us = (info["used_cpu_user"] + info["used_cpu_sys"]) * 1e6
    return cpu_us, Counter({name[8:]: stat["calls"] for name, stat in stats.items()})


def _rows(name: str, use: Use, gate: int) -> list[Row]:
    mean = sum(map(use.each, use.cpu_us)) / len(use.cpu_us)
    others = [use.each(port) for port in use.cpu_us if port != gate] or [use.each(gate)]
    return [
        Row(name=f"{name}: a second", value=use.number / use.seconds, unit="/s"),
        Row(name=f"{name}: CPU of the gate's node", value=use.each(gate), unit="µs"),
        Row(name=f"{name}: CPU of the fullest other", value=max(others), unit="µs"),
        Row(
            name=f"{name}: the gate's node / the mean",
            value=use.each(gate) / mean,
            unit="",
            most=MAX_OF_THE_MEAN,
        ),
    ]


if __name__ == "__main__":
    main()
