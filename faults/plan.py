"""How much is asked for in a run, and what happens meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One size of the fault run."""

    name: str
    resets: int  # good ones; some that must not be sent come on top
    seconds: float  # over which they are asked for
    kills: int = 0  # kill -9 of a process group
    server_kills: int = 0
    stops: int = 0  # SIGTERM
    freezes: int = 0  # SIGSTOP of a worker for twice the lease
    fills: tuple[float, ...] = ()  # seconds the server is full
    moves: int = 0  # of a shard to another node of a cluster
    partitions: tuple[tuple[str, float], ...] = ()  # of hosts, where there are any
    cuts: int = 0  # of every connection of the worker behind the proxy
    lease_seconds: float = 10.0
    timeout_seconds: float = 3.0
    doubt_seconds: float = 3.0
    short_life_seconds: float = 24.0  # of the resets that run out of time
    max_open: int = 1500  # accepted and not final; beyond, callers wait
    is_provider_calm: bool = False  # the provider takes everything at once

    @property
    def rate(self) -> float:
        """Resets asked for per second."""
        return self.resets / self.seconds

    def actions(self, dice: random.Random) -> list[tuple[float, str, float]]:
        """(share of the resets asked for, what happens then, its seconds), in order."""
        names = [
            *[("kill", 0.0)] * self.kills,
            *[("kill_server", 0.0)] * self.server_kills,
            *[("stop", 0.0)] * self.stops,
            *[("cut", 0.0)] * self.cuts,
            *[("move", 0.0)] * self.moves,
        ]
        dice.shuffle(names)
        # What lasts begins early, so that the end does not wait for it.
        lasting = [("fill", seconds) for seconds in self.fills]
        lasting += self.partitions
        lasting += [("freeze", 2 * self.lease_seconds)] * self.freezes
        for action in lasting:
            names.insert(dice.randrange(1 + len(names) // 3), action)
        step = 0.94 / max(1, len(names))
        return [(0.03 + step * n, *name) for n, name in enumerate(names)]


QUICK = Plan(
    name="quick",
    resets=2_000,
    seconds=22,
    kills=15,
    server_kills=2,
    stops=2,
    freezes=1,
    fills=(2.0,),
    cuts=5,
    lease_seconds=7.1,
    timeout_seconds=2.0,
    partitions=(("cut_off", 0.5), ("cut_off", 2.5), ("split", 2.5)),
    max_open=300,
)
RELEASE = Plan(
    name="release",
    resets=20_000,
    seconds=130,
    kills=100,
    server_kills=8,
    stops=6,
    freezes=2,
    fills=(3.0, 12.0),
    partitions=(("cut_off", 0.5), ("cut_off", 4.0), ("split", 0.5), ("split", 4.0)) * 3,
    cuts=30,
)
LONG = Plan(
    name="long",
    resets=50_000,
    seconds=325,
    kills=250,
    server_kills=20,
    stops=15,
    freezes=5,
    fills=(3.0, 12.0, 5.0),
    partitions=(("cut_off", 0.5), ("cut_off", 4.0), ("split", 0.5), ("split", 4.0)) * 6,
    cuts=75,
)


def stop_drill(stops: int) -> Plan:
    """SIGTERM under load, and nothing else that could lose or double a message."""
    return Plan(
        name="stops",
        resets=max(300, 200 * stops),
        seconds=max(4.0, 2.5 * stops),
        stops=stops,
        is_provider_calm=True,
    )
