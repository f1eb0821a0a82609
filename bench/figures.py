"""Figures as rows: what was measured, what was aimed at, and both for people and machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure; `most` or `least` is the aim where there is one."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """None when nothing was aimed at."""
        if self.most is not None:
            return self.value <= self.most
        return self.value >= self.least if self.least is not None else None


def print_rows(rows: Sequence[Row], machine: dict[str, str]) -> None:
    """A table for people, then one line of JSON."""
    table = Table(title="What Keyturn costs here")
    for head in ("figure", "value", "aim", ""):
        table.add_column(head, justify="left" if head in ("figure", "") else "right")
    words = {None: "", True: "reached", False: "missed"}
    for row in rows:
        table.add_row(
            row.name, f"{_format(row.value)} {row.unit}", _aim(row), words[row.is_reached]
        )
    console = Console(width=110)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}))


def middle(values: Sequence[float]) -> float:
    """The median: one disturbed run changes nothing."""
    return float(median(values))


def _aim(row: Row) -> str:
    if row.most is not None:
        return f"≤ {_format(row.most)}"
    return f"≥ {_format(row.least)}" if row.least is not None else ""


def _format(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
