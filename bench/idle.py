"""What an installation costs while nothing is to do: `keyturn up`, all of its processes."""

from __future__ import annotations

import time

from bench.figures import Row
from bench.processes import Program, free_port, is_listening, python_module, running
from bench.site import Site

SETTLE_SECONDS = 4.0
TIMES = 10  # as long as a run: 60 s, of a quick one 9
MEGABYTE = 1024 * 1024


def measure_idle(site: Site, *, seconds: float) -> list[Row]:
    """CPU and memory of the server, web, gRPC, both workers, Flower and `up` itself."""
    names = ("KEYTURN_PORT", "KEYTURN_GRPC_PORT", "KEYTURN_FLOWER_PORT")
    ports = {name: free_port() for name in names}
    own = {name: str(port) for name, port in ports.items()}
    own["KEYTURN_DATA_DIR"] = str(site.folder / "idle")
    with running(
        *python_module("web.cli", "up"),
        is_ready=lambda: all(map(is_listening, ports.values())),
        env=site.environment | own,
        log=site.log,
    ) as everything:
        time.sleep(SETTLE_SECONDS)
        before, began = _cpu_of_each(everything), time.monotonic()
        time.sleep(seconds * TIMES)
        took, after = time.monotonic() - began, _cpu_of_each(everything)
        rows = [
            Row(
                name=f"idle: CPU of {name}",
                value=(after[name] - before.get(name, 0)) / took * 100,
                unit="%",
            )
            for name in after
        ]
        total = sum(row.value for row in rows)
        memory = sum(each.memory_full_info().pss for each in everything.members()) / MEGABYTE
    return [
        Row(name="idle: CPU of all processes", value=total, unit="% of a core"),
        Row(name="idle: memory of all processes", value=memory, unit="MB"),
        *rows,
    ]


def _cpu_of_each(program: Program) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in program.members():
        times, words = each.cpu_times(), each.cmdline()
        name = " ".join(word.rpartition("/")[2] for word in words[-3:])
        name = f"{name} ({each.pid})" if name in found else name
        found[name] = times.user + times.system
    return found
