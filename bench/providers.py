"""Our way to SendGrid beside the official client as it comes; same stub, same threads, TLS."""

from __future__ import annotations

import json
import subprocess

from bench.figures import Row, middle
from bench.processes import ROOT, python_module
from bench.site import Site
from bench.working import stub_running

ROUNDS = 2
THREADS = 32
SLOW_MS = 100


def measure_providers(site: Site, *, seconds: float) -> list[Row]:
    """CPU per message and messages per second of both, interleaved."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "official": []}
    with stub_running(site, "--delay-ms", SLOW_MS):
        for _ in range(ROUNDS):
            for name, figures in runs.items():
                figures.append(_send(site, name, seconds))
    cpu, pace = (
        {name: middle([run[key] for run in each]) for name, each in runs.items()}
        for key in ("cpu_ms", "per_second")
    )
    rows = [
        Row(name="sendgrid: CPU, official / ours", value=cpu["official"] / cpu["ours"], unit="")
    ]
    for name in runs:
        rows.append(Row(name=f"sendgrid, {name}: CPU per message", value=cpu[name], unit="ms"))
        rows.append(Row(name=f"sendgrid, {name}: messages", value=pace[name], unit="/s"))
    return rows


def _send(site: Site, name: str, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [str(part) for part in python_module("bench.sending", name, seconds, THREADS)],
        env=site.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
