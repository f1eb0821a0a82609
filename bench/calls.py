"""Starts the calling process and hands each run other users than the last."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from bench.processes import ROOT, python_module
from bench.site import Site

MAX_REFUSED = 0.01  # a machine that stalls for longer than a timeout refuses a few


class Callers:
    """Calls a server; no user is called again before all others were."""

    def __init__(self, site: Site, *, users: int | None = None) -> None:
        """Only the first `users` are called for, where not all are."""
        self._site, self._first, self._users = site, 0, users or site.users

    def call(self, port: int, *arguments: object) -> dict[str, Any]:
        """What the callers saw."""
        place = ("--port", port, "--users", self._users, "--first", self._first)
        done = subprocess.run(
            [str(part) for part in python_module("bench.load", *place, *arguments)],
            env=self._site.environment | {"BENCH_TOKEN": self._site.token},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        figures: dict[str, Any] = json.loads(done.stdout)
        self._first += figures["calls"]
        if figures["refused"] > figures["calls"] * MAX_REFUSED or not figures["calls"]:
            log = self._site.log.read_text()[-2000:]
            raise SystemExit(f"{figures['refused']} calls were refused; the log ends:\n{log}")
        return figures
