"""How long a call takes to reach the provider while nothing else is going on, beside `delay()`."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench.calls import Callers
from bench.figures import Row, middle, rounds_of
from bench.load import quantile
from bench.processes import ROOT, free_port, is_listening, python_module, running
from bench.site import Site
from bench.working import stub_running, worker_running

RATE_PER_SECOND = 20
ROUNDS = 3
WARM_UP_SECONDS = 1.5
PLAIN_QUEUE = "plain"  # of bench/plain.py


def arrivals(ledger: Path) -> dict[str, float]:
    """Reset → when the stub had its message."""
    lines = (line.split() for line in ledger.read_text().splitlines())
    return {reset_id: float(at) for reset_id, at in lines}


def measure_latency(site: Site, *, seconds: float) -> list[Row]:
    """From just before the call is written, or `delay()` called, until the stub has the request."""
    port, ledger = free_port(), site.folder / "ledger"
    ours: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []
    answered_ms: list[float] = []
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
        stack.enter_context(
            running(
                *python_module("bench.plain", "worker"),
                is_ready=lambda: bool(site.client.exists(f"_kombu.binding.{PLAIN_QUEUE}")),
                env=site.environment,
                log=site.log,
            )
        )
        callers = Callers(site)
        for round_number in range(rounds_of(seconds, ROUNDS) + 1):
            pace = (RATE_PER_SECOND, seconds if round_number else WARM_UP_SECONDS)
            answered = callers.call(port, "--rate", pace[0], "--seconds", pace[1])
            delayed = _call_plain(site, pace)
            if round_number:
                ours.append(answered["sent"])
                plain.append(delayed)
                answered_ms.append(answered["p50_ms"])
    arrived = arrivals(ledger)
    lost = sum(each not in arrived for sent in ours for each in sent)
    rows = [Row(name="call → provider: never arrived", value=lost, unit="")]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        our_ms = quantile([ms for sent in ours for ms in _took(sent, arrived)], share)
        plain_ms = quantile([ms for sent in plain for ms in _took(sent, arrived)], share)
        rows += [
            Row(name=f"call → provider: {name}, ours / plain", value=our_ms / plain_ms, unit=""),
            Row(name=f"call → provider: {name}", value=our_ms, unit="ms"),
            Row(name=f"delay() → task → provider: {name}", value=plain_ms, unit="ms"),
        ]
    return [*rows, Row(name="call → answer: p50", value=middle(answered_ms), unit="ms")]


def _call_plain(site: Site, pace: tuple[float, float]) -> dict[str, float]:
    command = [str(each) for each in python_module("bench.plain", "call", *pace)]
    done = subprocess.run(
        command, env=site.environment, cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    sent: dict[str, float] = json.loads(done.stdout)
    return sent


def _took(sent: dict[str, float], arrived: dict[str, float]) -> list[float]:
    return [(arrived[each] - at) * 1000 for each, at in sent.items() if each in arrived]
