"""What accepting a call costs the server, beside views as people write and run them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.calls import Callers
from bench.figures import Row, middle, rounds_of
from bench.naive import QUEUE, TOKENS
from bench.processes import ROOT, Program, free_port, is_listening, python_module, running
from bench.site import Site, drained
from shared.models import Queue

ROUNDS = 3
CONNECTIONS = 8
WARM_UP_SECONDS = 0.5
DJANGO_QUEUE = "django"
DJANGO_USERS = 200  # few: Django has no index on addresses
NAIVE_PATH = "/users/{}/password/_reset"
GUNICORN = ("--worker-class", "gthread", "--threads", 8, "--bind")


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and how it is called."""

    name: str
    command: tuple[object, ...]
    port: int
    call: tuple[object, ...]


def measure_accept(site: Site, *, seconds: float) -> list[Row]:
    """CPU per request of all servers, interleaved."""
    site.client.set(TOKENS + site.token, "caller")
    environ = site.environment | {"BENCH_DATABASE": str(site.folder / "django.sqlite3")}
    made = python_module("bench.django_view", DJANGO_USERS)
    subprocess.run([str(each) for each in made], env=environ, cwd=ROOT, check=True)
    callers = {"Django": Callers(site, users=DJANGO_USERS)}
    all_users = Callers(site)
    sides = _sides()
    runs: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    with ExitStack() as stack:
        stack.enter_context(drained(site.client, QUEUE, DJANGO_QUEUE, *Queue))
        servers = [stack.enter_context(_serving(site, side, environ)) for side in sides]
        for round_number in range(max(2, rounds_of(seconds, ROUNDS)) + 1):
            for side, server in zip(sides, servers, strict=True):
                run_seconds = seconds if round_number else WARM_UP_SECONDS
                figures = _run(callers.get(side.name, all_users), server, side, run_seconds)
                if round_number:
                    runs[side.name].append(figures)
    return _rows(runs)


def _sides() -> Sequence[Side]:
    ports = [free_port() for _ in range(4)]
    gunicorn = python_module("gunicorn", *GUNICORN, f"127.0.0.1:{ports[2]}")
    naive_call = ("--path", NAIVE_PATH)
    form = ("--path", "/password_reset/", "--form")
    return (
        Side("keyturn", python_module("web"), ports[0], ("--path", "/management/v1" + NAIVE_PATH)),
        Side("naive view", python_module("bench.naive"), ports[1], naive_call),
        Side(
            "naive view on gunicorn",
            (*gunicorn, "bench.naive:build_naive_app(0)"),
            ports[2],
            naive_call,
        ),
        Side("Django", python_module("bench.django_view"), ports[3], form),
    )


def _serving(site: Site, side: Side, environ: dict[str, str]) -> Any:
    return running(
        *side.command,
        is_ready=lambda: is_listening(side.port),
        env=environ | {"KEYTURN_PORT": str(side.port)},
        log=site.log,
    )


def _run(callers: Callers, server: Program, side: Side, seconds: float) -> dict[str, Any]:
    before = server.cpu_seconds()
    call = (*side.call, "--seconds", seconds, "--connections", CONNECTIONS)
    figures = callers.call(side.port, *call)
    figures["cpu_us"] = (server.cpu_seconds() - before) * 1e6 / figures["calls"]
    return figures


def _rows(runs: dict[str, list[dict[str, Any]]]) -> list[Row]:
    def figure(name: str, key: str) -> float:
        return middle([run[key] for run in runs[name]])

    rows = []
    ours, *others = runs
    for other in others:
        pairs = zip(runs[ours], runs[other], strict=True)
        share = middle([one["cpu_us"] / two["cpu_us"] for one, two in pairs])
        rows.append(Row(name=f"accept: CPU, ours / {other}", value=share, unit=""))
    for name in runs:
        rows += [
            Row(name=f"accept, {name}: CPU per request", value=figure(name, "cpu_us"), unit="µs"),
            Row(name=f"accept, {name}: requests", value=figure(name, "per_second"), unit="/s"),
            Row(name=f"accept, {name}: p50", value=figure(name, "p50_ms"), unit="ms"),
            Row(name=f"accept, {name}: p99", value=figure(name, "p99_ms"), unit="ms"),
        ]
    return rows
