"""The store's servers in a run on a cluster, or with Sentinels; made of the embedded Valkey.

Every primary has one replica and an append-only file, and KEYTURN_DURABILITY=replica holds.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

from faults.hosts import Hosts
from faults.processes import Crew, Process, free_port, is_listening, say, wait_until
from shared.store import keys

PRIMARIES, SENTINELS = 3, 3
DOWN_MS = 1000  # a server that is silent for so long is down
AWAY_SECONDS = 3.0  # a killed server comes back after the failover
START_SECONDS = 60.0
SERVICE = "keyturn"
HOSTS = 3
AHEAD_SECONDS = 5  # one server's clock is; its monotonic one runs on
FAKE_TIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Servers:
    """Starts them, and says which is a primary now."""

    def __init__(self, topology: str, folder: Path, binary: str, dice: random.Random) -> None:
        """`topology` is `cluster` or `sentinel`."""
        self.hosts: Hosts | None = None  # unset: all on loopback, and no partitions
        self.notes: dict[str, Any] = {}
        try:
            self.hosts = Hosts(HOSTS)
        except (OSError, subprocess.CalledProcessError) as error:
            self._note("partitions", f"left out: {error}")
        self._is_cluster = topology == "cluster"
        self._folder, self._binary, self._dice = folder / "servers", binary, dice
        pairs = PRIMARIES if self._is_cluster else 1
        self.ports = [self._port() for _ in range(2 * pairs)]
        self._sentinels = [] if self._is_cluster else [self._port() for _ in range(SENTINELS)]
        # A replica lives on another host than its primary.
        hosts = {port: n + n // pairs for n, port in enumerate(self.ports)}
        hosts |= {port: n for n, port in enumerate(self._sentinels)}
        self._hosts = {port: host % HOSTS for port, host in hosts.items()}
        self._ahead = dice.choice(self.ports[:pairs] if self._is_cluster else self.ports)
        self._crew: Crew | None = None

    @property
    def url(self) -> str:
        """What KEYTURN_REDIS_URL is."""
        ports = self._sentinels or self.ports
        places = ",".join(f"{self._address(port)}:{port}" for port in ports)
        return f"redis+cluster://{places}" if self._is_cluster else self._sentinel_url(places)

    def open(self, crew: Crew, environ: Mapping[str, str]) -> None:
        """Start them all, and wait until every replica follows."""
        self._crew = crew
        for port in self.ports:
            self._start(port, self._configuration(port), environ)
        for port in self.ports:
            wait_until(lambda port=port: self._answers(port), seconds=START_SECONDS, what="a node")
        self._look_at_clock()
        if self._is_cluster:
            self._join()
        for port in self._sentinels:
            self._start(port, self._sentinel_configuration(port), environ, "--sentinel")
        for port in self._sentinels:
            wait_until(lambda port=port: self._answers(port), seconds=START_SECONDS, what="a node")
            # What a former primary says is asked for every 10 s by default; it is told after 8 s.
            sooner = ("info-period", DOWN_MS, "publish-period", DOWN_MS // 2)
            self._ask(port, "SENTINEL DEBUG", *sooner)
        wait_until(self.is_well, seconds=START_SECONDS, what="servers with their replicas")

    def primary(self) -> str:
        """The name of a process that is a primary with a replica that follows."""
        return self._name(self._dice.choice(self.primaries()))

    def primaries(self) -> list[int]:
        """Wait until every primary has its replica; their ports."""
        while True:
            with contextlib.suppress(redis.RedisError):
                found = [port for port in self.ports if self._role(port) == "master"]
                if found and self.is_well():
                    return found
            time.sleep(0.05)

    def is_well(self) -> bool:
        """True when every server runs, and every primary has its replica."""
        with contextlib.suppress(redis.RedisError, KeyError):
            infos = [self._ask(port, "INFO", "replication") for port in self.ports]
            primaries = [info for info in infos if info["role"] == "master"]
            followers = [info for info in infos if info["role"] == "slave"]
            are_right = len(primaries) * 2 == len(self.ports)
            do_follow = all(info["master_link_status"] == "up" for info in followers)
            have_one = all(info["connected_slaves"] == 1 for info in primaries)
            return are_right and do_follow and have_one and self._is_agreed()
        return False

    def save(self) -> None:
        """Write every snapshot anew: those that a replica was filled from hold the directory."""
        wait_until(self.is_well, seconds=START_SECONDS, what="servers that end alike")
        for port in self.ports:
            self._ask(port, "SAVE")

    def move_a_shard(self) -> None:
        """Hand a shard's slot to another node."""
        slot = key_slot(self._dice.choice(keys.TAGS).encode())
        with contextlib.suppress(redis.RedisError):
            owners = self._ask(self.ports[0], "CLUSTER SLOTS")
            ports = {node[0][1]: node[0][2] for *_, node in [(0, r[2:]) for r in owners]}
            source = next(r[2][1] for r in owners if r[0] <= slot <= r[1])
            target = self._dice.choice([port for port in ports if port != source])
            given = ("SLOTSRANGE", slot, slot, "NODE", ports[target])
            self._ask(source, "CLUSTER", "MIGRATESLOTS", *given)

    def cut(self, links: Sequence[str], *, until_failover: bool) -> Callable[[], None]:
        """Cut links of a host with one primary; return what ends it, perhaps after a failover."""
        assert self.hosts
        primaries = self.primaries()
        number = Counter(self._hosts[port] for port in primaries)
        lonely = [port for port in primaries if number[self._hosts[port]] == 1]
        port = self._dice.choice(lonely)
        replica = self.ports[self.ports.index(port) - len(self.ports) // 2]
        self.hosts.set_links(self._hosts[port], links, "down")

        def join() -> None:
            assert self.hosts
            give_up_at = time.monotonic() + START_SECONDS
            is_over = not until_failover
            while not is_over and time.monotonic() < give_up_at:
                with contextlib.suppress(redis.RedisError):
                    is_over = self._role(replica) == "master"
            self.hosts.set_links(self._hosts[port], links, "up")
            if until_failover:
                name = "failed over while cut off"
                self.notes[name] = self.notes.get(name, 0) + is_over

        return join

    def _note(self, name: str, what: str) -> None:
        self.notes[name] = what
        say(f"{name}: {what}")

    def _look_at_clock(self) -> None:
        ahead = {}
        for port in self.ports:
            seconds, microseconds = self._ask(port, "TIME")
            if by := round(seconds + microseconds / 1e6 - time.time()):
                ahead[port] = by
        if ahead != ({self._ahead: AHEAD_SECONDS} if FAKE_TIME else {}):
            raise SystemExit(f"the fault run wanted one clock ahead: {ahead}")
        told = f"{self._name(self._ahead)}, {AHEAD_SECONDS} s"
        self._note("a clock ahead", told if FAKE_TIME else "left out: faketime is not installed")

    def _address(self, port: int) -> str:
        return self.hosts.address(self._hosts[port]) if self.hosts else "127.0.0.1"

    def _answers(self, port: int) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self._ask(port, "PING"))
        return False

    @staticmethod
    def _port() -> int:
        """A port whose bus, 10,000 above, is free too and below the kernel's own."""
        while True:
            port = free_port() - 9_000
            if not is_listening(port) and not is_listening(port + 10_000):
                return port

    @staticmethod
    def _sentinel_url(places: str) -> str:
        return f"redis+sentinel://{places}/{SERVICE}"

    @staticmethod
    def _name(port: int) -> str:
        return f"server-{port}"

    def _start(
        self, port: int, lines: list[str], environ: Mapping[str, str], *options: str
    ) -> None:
        folder = self._folder / str(port)
        folder.mkdir(parents=True)
        (folder / "server.conf").write_text("\n".join([f"dir {folder}", *lines, ""]))
        pause: Callable[[], float] = lambda: AWAY_SECONDS  # noqa: E731
        assert self._crew is not None
        command = self.hosts.command(self._hosts[port]) if self.hosts else ()
        if port == self._ahead and FAKE_TIME:
            fake = {"LD_PRELOAD": str(FAKE_TIME[0]), "FAKETIME": f"+{AHEAD_SECONDS}s"}
            fake |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
            environ = {**environ, **fake}
        self._crew.add(
            Process(
                self._name(port),
                [*command, self._binary, folder / "server.conf", *options],
                environ=environ,
                log=folder / "server.log",
                pause_seconds=pause,
            )
        )

    def _configuration(self, port: int) -> list[str]:
        lines = [f"port {port}", f"bind {self._address(port)}", 'save ""', "appendonly yes"]
        lines += ["appendfsync everysec", "aof-use-rdb-preamble no", "rdbcompression no"]
        lines += ["repl-diskless-sync-delay 0", "maxmemory-policy noeviction", "protected-mode no"]
        if self._is_cluster:
            lines += ["cluster-enabled yes", f"cluster-node-timeout {DOWN_MS}"]
            lines += ["cluster-require-full-coverage no", "cluster-allow-replica-migration no"]
            lines.append(f"cluster-announce-ip {self._address(port)}")
        elif port != self.ports[0]:
            lines.append(f"replicaof {self._address(self.ports[0])} {self.ports[0]}")
        return lines

    def _sentinel_configuration(self, port: int) -> list[str]:
        return [
            *(f"port {port}", f"bind {self._address(port)}"),
            f"sentinel monitor {SERVICE} {self._address(self.ports[0])} {self.ports[0]} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} {3 * DOWN_MS}",
        ]

    def _join(self) -> None:
        primaries, replicas = self.ports[:PRIMARIES], self.ports[PRIMARIES:]
        for number, port in enumerate(primaries):
            first, end = SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES
            self._ask(port, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            self._ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in self.ports[1:]:
            self._ask(port, "CLUSTER", "MEET", self._address(self.ports[0]), self.ports[0])
        wait_until(
            lambda: all(len(self._ask(p, "CLUSTER NODES")) == len(self.ports) for p in self.ports),
            seconds=START_SECONDS,
            what="nodes that know each other",
        )
        for primary, replica in zip(primaries, replicas, strict=True):
            self._ask(replica, "CLUSTER", "REPLICATE", self._ask(primary, "CLUSTER MYID"))

    def _is_agreed(self) -> bool:
        if self._is_cluster:
            states = [self._ask(port, "CLUSTER INFO")["cluster_state"] for port in self.ports]
            return set(states) == {"ok"}
        found = [self._ask(port, "SENTINEL MASTERS")[SERVICE] for port in self._sentinels]
        known = {state["port"] for state in found}
        return (
            len(known) == 1
            and self._role(known.pop()) == "master"
            and all(
                state["num-slaves"] == 1 and state["num-other-sentinels"] == SENTINELS - 1
                for state in found
            )
        )

    def _role(self, port: int) -> str:
        return str(self._ask(port, "INFO", "replication")["role"])

    def nodes(self) -> list[Any]:
        """A client of each that holds data."""
        return [self._client(port) for port in self.ports]

    def _ask(self, port: int, *command: Any) -> Any:
        with self._client(port) as node:
            return node.execute_command(*command)

    def _client(self, port: int) -> Any:
        host = self._address(port)
        return redis.Redis(host=host, port=port, decode_responses=True, socket_timeout=2)
