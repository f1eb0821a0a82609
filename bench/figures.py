"""Figures as rows: what was measured, what was aimed at, and both for people and machines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Aim(NamedTuple):
    """What a figure is to be; `number` is its row in docs/performance.md."""

    number: str = ""
    most: float | None = None
    least: float | None = None


SHORTEST_SECONDS = 1.0  # of a run that is worth repeating
NUMBER = re.compile(r"^P\d+ ")
# Of ratios, with what both sides do in one run. By the name of the row.
AIMS = {
    "accept: CPU, ours / naive view": Aim("P1", most=0.5),
    "accept: CPU, ours / naive view on gunicorn": Aim("P1", most=0.2),
    "accept: CPU, ours / Django": Aim("P1", most=0.5),
    "call → provider: p50, ours / plain": Aim("P4", most=1.3),
    "call → provider: p99, ours / plain": Aim("P4", most=1.0),
    "call → provider: never arrived": Aim(most=0),
    "memory: CPU a message, many waiting / none": Aim("P7", most=1.1),
    "memory: a reset of a batch": Aim("P7", most=650),
    "memory: the built-in directory a user": Aim("P7", most=200),
    "start: keyturn --version, CPU": Aim("P9", most=0.15),
    "start: keyturn status, CPU": Aim("P9", most=0.4),
    "start: ./run → ready": Aim("P10", most=3.0),
    "start: worker, exec → first claim": Aim("P10", most=1.5),
    "idle: CPU of all processes": Aim("P11", most=1.0),
    "idle: memory of all processes": Aim("P11", most=400),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure; its aim is in AIMS, or, where that follows from the run, its own.

    A name may begin with the number of its aim: "P2 worker: …".
    """

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def aim(self) -> Aim:
        """Empty when nothing is aimed at."""
        number = self.name.removesuffix(self.label).strip()
        return AIMS.get(self.name, Aim(number, self.most, self.least))

    @property
    def label(self) -> str:
        """The name without the number of its aim."""
        return NUMBER.sub("", self.name)

    @property
    def is_reached(self) -> bool | None:
        """None when nothing is aimed at."""
        if self.aim.most is not None:
            return self.value <= self.aim.most
        return self.value >= self.aim.least if self.aim.least is not None else None


def print_rows(rows: Sequence[Row], machine: dict[str, str]) -> None:
    """A table for people, then one line of JSON."""
    table = Table(title="What Keyturn costs here")
    for head in ("", "figure", "value", "aim", " "):
        table.add_column(head, justify="right" if head in ("value", "aim") else "left")
    words = {None: "", True: "reached", False: "missed"}
    for row in rows:
        value = f"{_format(row.value)} {row.unit}"
        table.add_row(row.aim.number, row.label, value, _shown(row.aim), words[row.is_reached])
    console = Console(width=110)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    figures = [
        {"name": row.label, "value": row.value, "unit": row.unit, **row.aim._asdict()}
        for row in rows
    ]
    print(json.dumps({"machine": machine, "rows": figures}))


def rounds_of(seconds: float, rounds: int) -> int:
    """How often a run is repeated: not at all when it is too short to say anything."""
    return rounds if seconds >= SHORTEST_SECONDS else 1


def middle(values: Sequence[float]) -> float:
    """The median: one disturbed run changes nothing."""
    return float(median(values))


def _shown(aim: Aim) -> str:
    if aim.most is not None:
        return f"≤ {_format(aim.most)}"
    return f"≥ {_format(aim.least)}" if aim.least is not None else ""


def _format(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
