"""`keyturn batch watch`: bar, rate, time left, failures."""

from __future__ import annotations

import sys
import time
from collections import deque

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.store.batches import Batch, BatchState
from web.auth import authority_by_hand
from web.batches.progress import Progress, read_progress, write_progress
from web.cli.support import json_option, open_services, print_json
from web.services import WebServices

POLL_SECONDS = 0.5
PLAN_WARNING_SECONDS = 10.0  # without progress, before the warning that no worker plans
RATE_SECONDS = 10.0  # over which the rate is measured
now = time.monotonic
ENDED = (BatchState.FINISHED, BatchState.CANCELLED, BatchState.PLANNED)


class RateEstimator:
    """Estimates how many users per second were done lately."""

    def __init__(self) -> None:
        """Begin without samples."""
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, done: int) -> float:
        """Note how many are done by now; return the rate."""
        at = now()
        self._samples.append((at, done))
        while at - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        return (done - before) / (at - since) if at > since else 0.0


@click.command("watch")
@click.argument("batch_id", metavar="ID")
@json_option
def watch(batch_id: str, *, as_json: bool) -> None:
    """Watch a batch until it has ended; Ctrl-C stops watching, not the batch."""
    with open_services() as services:
        progress = _follow(services, batch_id, is_quiet=as_json)
        if as_json:
            print_json(write_progress(progress, services.settings))
        elif not sys.stdout.isatty():
            click.echo(progress.sentence)


def wait_for_plan(services: WebServices, batch: Batch, *, is_quiet: bool) -> Batch:
    """Return the batch once it is planned; warn if no worker plans it."""
    console, since = Console(stderr=True, quiet=is_quiet), time.monotonic()
    is_warned = False
    with console.status("planning") as status:
        while batch.state is BatchState.PLANNING:
            time.sleep(POLL_SECONDS / 5)
            batch = services.batches.find(batch.batch_id) or batch
            status.update(f"planning: {batch.looked_up:,} of {batch.total:,}")
            is_late = time.monotonic() - since > PLAN_WARNING_SECONDS
            if is_late and not is_warned and not batch.looked_up:
                click.echo("No bulk worker has begun to plan it; is one running?", err=True)
                is_warned = True
    return batch


def _follow(services: WebServices, batch_id: str, *, is_quiet: bool) -> Progress:
    estimator, is_shown = RateEstimator(), sys.stdout.isatty() and not is_quiet
    console, last_sentence = Console(file=sys.stdout, quiet=not is_shown), ""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = authority_by_hand("watch").authorize(services.batches.find(batch_id))
            progress = read_progress(services, found)
            live.update(draw(progress, estimator.note(progress.done)), refresh=True)
            if progress.state in ENDED and not progress.open:
                return progress
            if not is_shown and not is_quiet and progress.sentence != last_sentence:
                last_sentence = progress.sentence
                click.echo(last_sentence)
            time.sleep(POLL_SECONDS)


def draw(progress: Progress, rate: float) -> Table:
    """Return the progress bar, the summary, and the counts of skipped users."""
    done, total = progress.done, progress.batch.total
    line = Table.grid(padding=(0, 1))
    bar = (ProgressBar(total=total, completed=done, width=40), Text(f"{done:,}/{total:,}"))
    if progress.state is BatchState.PAUSED:  # what still ends is no pace
        line.add_row(*bar)
    else:
        line.add_row(*bar, Text(f"{rate:,.0f}/s"), Text(_left(total - done, rate)))
    page = Table.grid()
    page.add_row(line)
    page.add_row(Text(progress.sentence, style="red" if progress.failures else ""))
    for reason, number in sorted(progress.batch.skipped.items()):
        page.add_row(Text(f"  skipped, {reason}: {number:,}", style="dim"))
    return page


def _left(number: int, rate: float) -> str:
    if not number:
        return "done"
    if rate <= 0:
        return "-"
    minutes, seconds = divmod(round(number / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left"
