"""`python -m bench [--seconds N] [--quick] [MEASURE …]`; MEASURES has their names."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from bench.accept import measure_accept
from bench.batch import measure_batch
from bench.figures import Row, print_rows
from bench.idle import measure_idle
from bench.latency import measure_latency
from bench.machine import machine_facts
from bench.memory import measure_memory
from bench.protocols import measure_protocols
from bench.providers import measure_providers
from bench.site import open_site
from bench.stalled import measure_stalled
from bench.start import measure_start
from bench.worker import measure_worker

USERS = 20_000
QUICK_USERS = 5_000
RUN_SECONDS = 6.0
QUICK_RUN_SECONDS = 0.9

MEASURES: dict[str, Callable[..., list[Row]]] = {
    "accept": measure_accept,
    "latency": measure_latency,
    "worker": measure_worker,
    "providers": measure_providers,
    "protocols": measure_protocols,
    "batch": measure_batch,
    "stalled": measure_stalled,
    "memory": measure_memory,
    "start": measure_start,
    "idle": measure_idle,
}
LONG = ("providers", "protocols", "stalled")  # left out of a quick run; their rows have no number
USERS_OF = {"batch": 106_000, "memory": 100, "start": 100, "idle": 100}  # where others are needed


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What Keyturn costs.")
    parser.add_argument("--seconds", type=float, help=f"of each run; {RUN_SECONDS:g} by default")
    parser.add_argument(
        "--users", type=int, help="how many there are; as many as needed by default"
    )
    parser.add_argument("--quick", action="store_true", help="all in under two minutes, less exact")
    parser.add_argument("measures", nargs="*", metavar="|".join(MEASURES), choices=[*MEASURES, []])
    chosen = parser.parse_args()
    seconds = chosen.seconds or (QUICK_RUN_SECONDS if chosen.quick else RUN_SECONDS)
    users = QUICK_USERS if chosen.quick else USERS
    rows: list[Row] = []
    machine: dict[str, str] = {}
    usual = [name for name in MEASURES if not (chosen.quick and name in LONG)]
    for name in chosen.measures or usual:
        print(f"measuring {name} …", flush=True)
        # One each: what one measure leaves behind is work for the workers of the next.
        number = USERS_OF.get(name, users)
        number = min(users, number) if chosen.quick else number
        began = time.monotonic()
        with open_site(users=chosen.users or number) as site:
            rows += MEASURES[name](site, seconds=seconds)
            machine = machine_facts(site.client.info("server"))
        print(f"… in {time.monotonic() - began:.0f} s", flush=True)
    print_rows(rows, machine)


if __name__ == "__main__":
    main()
