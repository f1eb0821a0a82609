"""What accepting a call costs the server, beside a naive view on the same server."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from bench.calls import Callers
from bench.figures import Row, middle
from bench.naive import QUEUE, TOKENS
from bench.processes import Program, free_port, is_listening, python_module, running
from bench.site import Site, drained
from shared.models import Queue

ROUNDS = 3
CONNECTIONS = 8
WARM_UP_SECONDS = 1.0
MAX_SHARE = 1 / 3
NAIVE_PATH = "/users/{}/password/_reset"
OUR_PATH = "/management/v1" + NAIVE_PATH


def measure_accept(site: Site, *, seconds: float) -> list[Row]:
    """CPU per request of both servers, interleaved."""
    ports = {"keyturn": free_port(), "naive": free_port()}
    modules = {"keyturn": "web", "naive": "bench.naive"}
    paths = {"keyturn": OUR_PATH, "naive": NAIVE_PATH}
    callers = Callers(site)
    site.client.set(TOKENS + site.token, "caller")
    with ExitStack() as stack:
        stack.enter_context(drained(site.client, QUEUE, *Queue))
        servers = {
            name: stack.enter_context(_serving(site, modules[name], port))
            for name, port in ports.items()
        }
        runs: dict[str, list[dict[str, Any]]] = {"keyturn": [], "naive": []}
        for round_number in range(ROUNDS + 1):
            for name, server in servers.items():
                run_seconds = seconds if round_number else WARM_UP_SECONDS
                figures = _run(callers, server, ports[name], paths[name], run_seconds)
                if round_number:
                    runs[name].append(figures)
    return _rows(runs)


def _serving(site: Site, module: str, port: int) -> Any:
    return running(
        *python_module(module),
        is_ready=lambda: is_listening(port),
        env=site.environment | {"KEYTURN_PORT": str(port)},
        log=site.log,
    )


def _run(callers: Callers, server: Program, port: int, path: str, seconds: float) -> dict[str, Any]:
    before = server.cpu_seconds()
    figures = callers.call(port, "--path", path, "--seconds", seconds, "--connections", CONNECTIONS)
    figures["cpu_us"] = (server.cpu_seconds() - before) * 1e6 / figures["calls"]
    return figures


def _rows(runs: dict[str, list[dict[str, Any]]]) -> list[Row]:
    def figure(name: str, key: str) -> float:
        return middle([run[key] for run in runs[name]])

    pairs = zip(runs["keyturn"], runs["naive"], strict=True)
    share = middle([ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in pairs])
    rows = [Row(name="accept: CPU, ours / naive view", value=share, unit="", most=MAX_SHARE)]
    for name in runs:
        rows += [
            Row(name=f"accept, {name}: CPU per request", value=figure(name, "cpu_us"), unit="µs"),
            Row(name=f"accept, {name}: requests", value=figure(name, "per_second"), unit="/s"),
            Row(name=f"accept, {name}: p50", value=figure(name, "p50_ms"), unit="ms"),
            Row(name=f"accept, {name}: p99", value=figure(name, "p99_ms"), unit="ms"),
        ]
    return rows
