"""How long a call takes to reach the provider while nothing else is going on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench.calls import Callers
from bench.figures import Row
from bench.load import quantile
from bench.processes import free_port, is_listening, python_module, running
from bench.site import Site
from bench.working import stub_running, worker_running

RATE_PER_SECOND = 20
ROUNDS = 3
WARM_UP_SECONDS = 1
MAX_P50_MS, MAX_P99_MS = 8.0, 50.0


def arrivals(ledger: Path) -> dict[str, float]:
    """Reset → when the stub had its message."""
    lines = (line.split() for line in ledger.read_text().splitlines())
    return {reset_id: float(at) for reset_id, at in lines}


def measure_latency(site: Site, *, seconds: float) -> list[Row]:
    """From just before the call is written until the stub has the whole request."""
    port, ledger = free_port(), site.folder / "ledger"
    with ExitStack() as stack:
        stack.enter_context(stub_running(site, "--ledger", ledger))
        stack.enter_context(
            running(
                *python_module("web"),
                is_ready=lambda: is_listening(port),
                env=site.environment | {"KEYTURN_PORT": str(port)},
                log=site.log,
            )
        )
        stack.enter_context(worker_running(site))
        callers = Callers(site)
        callers.call(port, "--rate", RATE_PER_SECOND, "--seconds", WARM_UP_SECONDS)
        answered = callers.call(port, "--rate", RATE_PER_SECOND, "--seconds", seconds * ROUNDS)
    arrived = arrivals(ledger)
    sent: dict[str, float] = answered["sent"]
    took = [(arrived[each] - at) * 1000 for each, at in sent.items() if each in arrived]
    return [
        Row(name="call → provider: p50", value=quantile(took, 0.5), unit="ms", most=MAX_P50_MS),
        Row(name="call → provider: p99", value=quantile(took, 0.99), unit="ms", most=MAX_P99_MS),
        Row(name="call → provider: never arrived", value=len(sent) - len(took), unit="", most=0),
        Row(name="call → answer: p50", value=answered["p50_ms"], unit="ms"),
    ]
