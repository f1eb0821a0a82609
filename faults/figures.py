"""A run's verdict for people and for machines."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from faults.judge import Finding

MAX_NAMED = 5


def print_verdict(
    findings: Sequence[Finding], figures: Mapping[str, Any], machine: Mapping[str, str]
) -> None:
    """A table of promises, what happened, and one line of JSON."""
    console = Console(width=110)
    table = Table(title="Promises", title_justify="left")
    for head in ("promise", "broken by", "means"):
        table.add_column(head, justify="right" if head == "broken by" else "left")
    for finding in findings:
        table.add_row(finding.name, str(finding.number), finding.meaning)
    console.print(table)
    facts = Table(title="What happened", title_justify="left", show_header=False)
    for name, value in figures.items():
        facts.add_row(name, _format(value))
    console.print(facts)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for finding in findings:
        for reset_id in finding.resets[:MAX_NAMED]:
            console.print(f"{finding.name}: {reset_id}", highlight=False)
    counts = {finding.name: finding.number for finding in findings}
    print(json.dumps({"verdict": counts, "figures": figures, "machine": machine}))


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return round(quantiles(values, n=100)[-1], 1) if len(values) > 1 else 0.0


def cpu_seconds() -> float:
    """Processor time of this process and of all that it started and that have ended."""
    own, others = os.times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(own.user + own.system + others.ru_utime + others.ru_stime, 1)


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format(each)}" for name, each in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
