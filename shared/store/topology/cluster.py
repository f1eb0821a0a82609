"""Redis Cluster: each command goes to the node that holds its slot.

Every node has a pool of its own that fails fast, and a thread reads the map of slots; a command is
repeated only where a node says it did not run it. Why not redis-py's RedisCluster: decision 0033.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache, partial
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, TypeAlias

import redis
from redis.commands.core import CoreCommands
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from shared.store.keys import GATE
from shared.store.topology.single import FailFastPool, StoreRedis

Address: TypeAlias = tuple[str, int]
Node: TypeAlias = Any  # a StoreRedis; its own types do not know that replies are str
Command: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

MOVING_SECONDS = 1.0  # how long a caller waits for a slot that is moving just now
RETRY_SECONDS = 0.02
READ_SECONDS = 0.25  # the shortest time between two readings of the map
AWAY = (redis.ConnectionError, redis.TimeoutError, ClusterDownError)
# Their first argument is no key. They go to the gate's node: what is nobody else's is kept there.
KEYLESS = {"INFO", "CONFIG GET", "SCRIPT LOAD", "WAIT", "WAITAOF", "SCAN"}
OF_MANY_KEYS = {"EXISTS", "DEL", "UNLINK"}  # a sum over the keys, each in its own slot


class Commands(CoreCommands):
    """The methods of redis-py for each command; they call `execute_command`."""

    _event_dispatcher: Any = None  # for one that nothing here calls


class StoreCluster(Commands, AbstractContextManager["StoreCluster"]):
    """Has the commands of a StoreRedis; connects on first use."""

    has_one_node = False

    def __init__(
        self, seeds: Sequence[Address], connection_class: type[Any], options: Mapping[str, Any]
    ) -> None:
        """`seeds`: some nodes; they tell the others. `options` of their connections."""
        self._seeds, self._connection_class, self._options = seeds, connection_class, options
        self._nodes: dict[Address, Node] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._lock, self._reading = Lock(), Lock()
        self._read_at = -READ_SECONDS

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for node in list(self._nodes.values()):
            node.close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command on the node that holds its first key; return the reply."""
        if args[0] in OF_MANY_KEYS and len({*map(_slot, args[1:])}) > 1:
            pipeline = self.pipeline(transaction=False)
            for key in args[1:]:
                pipeline.execute_command(args[0], key)
            return sum(pipeline.execute())
        return self.on_node(_key(args), partial(_run, (args, options)))

    def pipeline(self, transaction: bool = True) -> ClusterPipeline:  # noqa: FBT001, FBT002
        """Return a pipeline; a transaction must stay within one slot."""
        return ClusterPipeline(self, is_transaction=transaction)

    def transaction(
        self, func: Callable[[Any], Any], watched: str, *, value_from_callable: bool = False
    ) -> Any:
        """Do what redis-py's does; writes to other slots than the watched key's come before its."""

        def attempt(node: Node, is_asking: bool) -> Any:  # noqa: FBT001
            if is_asking:  # as for any transaction
                raise TryAgainError
            with node.pipeline(transaction=True) as inner:
                while True:
                    inner.watch(watched)
                    pipe = WatchingPipeline(self, inner, _slot(watched))
                    value = func(pipe)
                    with suppress(redis.WatchError):
                        answers = pipe.execute()
                        return value if value_from_callable else answers

        return self.on_node(watched, attempt)

    def scan_iter(self, *args: Any, **options: Any) -> Iterator[Any]:
        """Yield the keys of all nodes; while a slot moves, some may come twice or not at all."""
        for node in self.nodes():
            yield from node.scan_iter(*args, **options)

    def nodes(self) -> list[Node]:
        """Return a client of each node that holds slots; raise redis.RedisError if none answers."""
        self._owner(_slot(GATE))
        return [self._node(each) for each in sorted({each for each in self._owners if each})]

    def on_node(self, key: str, call: Callable[[Node, bool], Any]) -> Any:
        """Return what `call` does with the key's node; call again where the node did not run it.

        It is told whether the node must be sent ASKING first.

        Raises redis.RedisError: what the node answered; it is away; its slot has no node.
        """
        slot, asked, until = _slot(key), None, monotonic() + MOVING_SECONDS
        while True:
            address = asked or self._owner(slot)
            try:
                return call(self._node(address), asked is not None)
            except (AskError, TryAgainError) as error:  # MovedError is an AskError
                if monotonic() > until:
                    raise
                asked = None
                if isinstance(error, TryAgainError):
                    sleep(RETRY_SECONDS)
                    continue
                target = str(error.host) or address[0], int(error.port)
                if isinstance(error, MovedError):
                    self._owners[slot] = target
                    self._read_soon()
                else:
                    asked = target
            except AWAY:
                self._read_soon()
                raise

    def group(self, commands: Sequence[Command]) -> dict[Address, list[int]]:
        """Return the indexes of commands by the node they go to."""
        groups = defaultdict(list)
        for index, (args, _) in enumerate(commands):
            groups[self._owner(_slot(_key(args)))].append(index)
        return groups

    def run_group(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """Return a node's answers to commands, errors among them."""
        try:
            answers = _pipe(self._node(address), commands)
        except AWAY as error:
            self._read_soon()
            return [error] * len(commands)
        for index, answer in enumerate(answers):
            if isinstance(answer, (AskError, TryAgainError)):  # it did not run
                args, options = commands[index]
                try:
                    answers[index] = self.execute_command(*args, **options)
                except redis.RedisError as error:
                    answers[index] = error
            elif isinstance(answer, ClusterDownError):
                self._read_soon()
        return answers

    def _node(self, address: Address) -> Node:
        with self._lock:
            if address not in self._nodes:
                host, port = address
                pool = FailFastPool(self._connection_class, host=host, port=port, **self._options)
                self._nodes[address] = StoreRedis.from_pool(pool)
            return self._nodes[address]

    def _owner(self, slot: int) -> Address:
        with self._reading if self._owners[slot] is None else nullcontext():
            if self._owners[slot] is None and monotonic() - self._read_at > READ_SECONDS:
                self._read_map()
        if owner := self._owners[slot]:
            return owner
        raise ClusterDownError("no node serves this slot")

    def _read_soon(self) -> None:
        """Read the map in a thread, unless it was read a moment ago or is being read."""
        if monotonic() - self._read_at > READ_SECONDS and not self._reading.locked():
            self._read_at = monotonic()
            Thread(target=self._read, name="slots", daemon=True).start()

    def _read(self) -> None:
        with self._reading, suppress(redis.RedisError):
            self._read_map()

    def _read_map(self) -> None:
        """Ask the nodes, in no order, until one tells which of them holds which slots."""
        known = list({*(each for each in self._owners if each), *self._seeds})
        random.shuffle(known)
        failure: redis.RedisError = redis.ConnectionError("no node of the cluster answers")
        for address in known:
            self._read_at = monotonic()
            try:
                ranges = self._node(address).execute_command("CLUSTER SLOTS")
            except redis.RedisError as error:
                failure = error
                continue
            owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, (host, port, *_), *_ in ranges:
                owners[first : last + 1] = [(host or address[0], port)] * (last + 1 - first)
            self._owners = owners
            return
        raise failure


class ClusterPipeline(Commands):
    """Collects commands, and sends each node its own."""

    def __init__(self, cluster: StoreCluster, *, is_transaction: bool) -> None:
        """Begin with no commands."""
        self._cluster, self._is_transaction = cluster, is_transaction
        self._commands: list[Command] = []

    def execute_command(self, *args: Any, **options: Any) -> ClusterPipeline:
        """Add a command."""
        self._commands.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002
        """Return the answers. Of nodes that are away, and all that fail: the errors, if asked."""
        commands, self._commands = self._commands, []
        if not commands:
            return []
        answers: list[Any] = [None] * len(commands)
        if self._is_transaction:
            answers = self._cluster.on_node(_key(commands[0][0]), partial(_transact, commands))
            return answers  # noqa: RET504  # it is Any
        for address, indexes in self._cluster.group(commands).items():
            found = self._cluster.run_group(address, [commands[index] for index in indexes])
            for index, answer in zip(indexes, found, strict=True):
                answers[index] = answer
        for answer in answers if raise_on_error else ():
            if isinstance(answer, redis.RedisError):
                raise answer
        return answers


class WatchingPipeline(Commands):
    """A transaction that watches a key, and may read and write others elsewhere."""

    def __init__(self, cluster: StoreCluster, inner: Any, slot: int) -> None:
        """`inner`: of the watched key's node; it watches already."""
        self._cluster, self._inner, self._slot = cluster, inner, slot
        self._elsewhere: ClusterPipeline | None = None

    def multi(self) -> None:
        """Collect commands from now on."""
        self._inner.multi()
        self._elsewhere = self._cluster.pipeline(transaction=False)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command, or collect it."""
        is_here = _slot(_key(args)) == self._slot
        place = self._inner if is_here else self._elsewhere or self._cluster
        return place.execute_command(*args, **options)

    def execute(self) -> list[Any]:
        """Run what was collected: first elsewhere, then in one step if the key did not change."""
        if self._elsewhere:
            self._elsewhere.execute()
        answers: list[Any] = self._inner.execute()
        return answers


@lru_cache(maxsize=4096)
def _slot_of_tag(text: str) -> int:
    return key_slot(text.encode())


def _slot(key: Any) -> int:
    """Return the slot of a key; hash tags are few, so theirs are remembered."""
    text = str(key)
    if text.startswith("{kt:"):
        return _slot_of_tag(text[: text.find("}") + 1])
    return key_slot(text.encode())


def _key(args: tuple[Any, ...]) -> str:
    name = args[0]
    if name in ("EVAL", "EVALSHA"):
        return str(args[3]) if int(args[2]) else GATE
    return GATE if len(args) == 1 or name in KEYLESS else str(args[1])


def _run(command: Command, node: Node, is_asking: bool) -> Any:  # noqa: FBT001
    args, options = command
    if not is_asking:
        return node.execute_command(*args, **options)
    answer = _pipe(node, [(("ASKING",), {}), command])[1]
    if isinstance(answer, redis.RedisError):
        raise answer
    return answer


def _pipe(node: Node, commands: Sequence[Command], *, is_transaction: bool = False) -> list[Any]:
    pipeline = node.pipeline(transaction=is_transaction)
    for args, options in commands:
        pipeline.execute_command(*args, **options)
    answers: list[Any] = pipeline.execute(raise_on_error=is_transaction)
    return answers


def _transact(commands: Sequence[Command], node: Node, is_asking: bool) -> list[Any]:  # noqa: FBT001
    if is_asking:  # the keys are on their way: the transaction waits until they have arrived
        raise TryAgainError
    return _pipe(node, commands, is_transaction=True)
