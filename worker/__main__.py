"""`python -m worker --queues urgent`: run one worker process in the foreground."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from pathlib import Path

import click
from celery.bin.base import CLIContext
from celery.bin.worker import worker as celery_worker
from celery.platforms import SecurityWarning

from shared.errors import SettingsError
from shared.models import Queue
from shared.settings import Settings, load_settings

HEARTBEAT_SECONDS = "10"  # enough for Flower
# Allocations between garbage collections: imports keep all they create, and a bulk e-mail creates
# and drops ten thousands of objects. Python's default of 700 would scan them dozens of times.
GARBAGE_THRESHOLD = 50_000
NICENESS = 10  # batches have a lower priority than single resets


@click.command()
@click.option(
    "--queues",
    default=Queue.URGENT.value,
    show_default=True,
    help=f"Queues to serve, separated by commas: {', '.join(Queue)}.",
)
@click.option(
    "--alive-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file to touch after every sweep, for a liveness check that asks no broker.",
)
def main(queues: str, alive_file: Path | None) -> None:
    """Send due messages until SIGTERM; messages being sent are finished."""
    names = _read_queues(queues)
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        print(f"keyturn worker: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(SettingsError.EXIT_STATUS)
    if Queue.BULK in names and Queue.URGENT not in names:
        os.nice(NICENESS)
    # Celery warns root of pickle, which is not accepted here.
    warnings.simplefilter("ignore", SecurityWarning)
    from worker.app import app, process  # noqa: PLC0415  # needs valid settings

    process.alive_file = alive_file
    # Past `celery`, which would load Flower as well: 0.2 s of CPU and 15 MB.
    context = CLIContext(app, no_color=True, workdir=None, quiet=True)
    celery_worker.main(worker_arguments(names, settings), obj=context, standalone_mode=False)
    sys.exit(process.exit_status)


def worker_arguments(names: list[Queue], settings: Settings) -> list[str]:
    """Return the arguments of `celery worker` for a worker of these queues, with a unique name."""
    options = {
        "--pool": "threads",
        "--concurrency": str(settings.worker_threads),
        "--queues": ",".join(names),
        "--hostname": f"{names[0]}-{os.getpid()}@%h",
        "--heartbeat-interval": HEARTBEAT_SECONDS,
        "--loglevel": "WARNING",
    }
    events = ("--task-events",) if settings.broker_kind.has_events else ("--without-heartbeat",)
    quiet = (*events, "--without-gossip", "--without-mingle")
    return [*(f"{name}={value}" for name, value in options.items()), *quiet]


def _read_queues(text: str) -> list[Queue]:
    try:
        names = [Queue(name.strip()) for name in text.split(",") if name.strip()]
    except ValueError as error:
        raise click.BadParameter(f"must list {', '.join(Queue)}", param_hint="--queues") from error
    if not names:
        raise click.BadParameter("must name a queue", param_hint="--queues")
    return names


if __name__ == "__main__":
    main()
