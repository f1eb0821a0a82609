"""How much later a person's mail leaves while a batch drains, and while one is paused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from bench.calls import Callers
from bench.figures import Row, rounds_of
from bench.latency import arrivals
from bench.load import quantile
from bench.processes import Program, free_port, is_listening, python_module, running, wait_until
from bench.site import Site
from bench.working import preload_bulk, stub_running, worker_running
from shared.models import Queue
from shared.store.admin.pauses import Scope

ROUNDS = 5
RATE_PER_SECOND = 40
MAX_CALLED = 1000  # users who are called for; the batch is for the others
WARM_UP_SECONDS = 1
DRAIN_SECONDS = 300
MAX_TIMES_LATER = 1.5


def measure_delay(site: Site, *, seconds: float) -> list[Row]:
    """Calls for single resets: at rest and while a batch drains, in turns; while it is paused."""
    services = _House(site, users=min(MAX_CALLED, site.users // 2))
    rounds = rounds_of(seconds, ROUNDS)
    rest: dict[str, float] = {}
    draining: dict[str, float] = {}
    with services.open():
        services.call(WARM_UP_SECONDS)
        services.record_batch()
        for _ in range(rounds):
            rest |= services.call(seconds)
            with services.bulk_running():
                draining |= services.call(seconds)
        with services.bulk_running():
            wait_until(lambda: not services.waiting(), seconds=DRAIN_SECONDS)
        sent_at = services.batch_arrivals()
        services.record_batch()
        site.services.pauses.pause(Scope.QUEUE, Queue.BULK, by="bench", reason="measured")
        with services.bulk_running():
            paused = services.call(seconds * rounds)
        arrived = services.arrivals()
    # After the last of the batch has left nothing drains any more.
    draining = {reset_id: at for reset_id, at in draining.items() if at < max(sent_at)}
    number = f"{len(services.batch):,}"
    return [
        *_quantiles("at rest", rest, rest, arrived),
        *_quantiles(f"while {number} drain", draining, rest, arrived),
        *_quantiles(f"while {number} are paused", paused, rest, arrived),
        Row(
            name="batch: recipients in all", value=len(sent_at), unit="", least=len(services.batch)
        ),
        Row(
            name="batch: calls that never arrived",
            value=len((rest | draining | paused).keys() - arrived.keys()),
            unit="",
            most=0,
        ),
    ]


class _House:
    """A whole Keyturn; what the batch is handed to is a stub of its own, as SendGrid's machine is.

    That stub is niced: it takes whole megabytes apart, which no machine of ours has to do.
    """

    def __init__(self, site: Site, *, users: int) -> None:
        self._site, self._callers = site, Callers(site, users=users)
        self.batch = range(users, site.users)
        self._port, self._batch_port = free_port(), free_port()
        self._ledger, self._batch_ledger = site.folder / "singles", site.folder / "batch"

    @contextmanager
    def open(self) -> Iterator[None]:
        """Everything but the bulk worker."""
        site = self._site
        with ExitStack() as stack:
            stack.enter_context(stub_running(site, "--ledger", self._ledger))
            arguments = ("--ledger", self._batch_ledger, "--nice", 15)
            stack.enter_context(stub_running(site, *arguments, port=self._batch_port))
            stack.enter_context(
                running(
                    *python_module("web"),
                    is_ready=lambda: is_listening(self._port),
                    env=site.environment | {"KEYTURN_PORT": str(self._port)},
                    log=site.log,
                )
            )
            stack.enter_context(worker_running(site))
            yield

    def bulk_running(self) -> AbstractContextManager[Program]:
        """The bulk worker."""
        url = f"https://127.0.0.1:{self._batch_port}"
        return worker_running(self._site, Queue.BULK, sendgrid_api_url=url)

    def record_batch(self) -> None:
        """A reset for each of its users, due now."""
        preload_bulk(self._site, self.batch)

    def call(self, seconds: float) -> dict[str, float]:
        """Call at the rate; reset → moment of the call."""
        told = self._callers.call(self._port, "--rate", RATE_PER_SECOND, "--seconds", seconds)
        sent: dict[str, float] = told["sent"]
        return sent

    def waiting(self) -> int:
        """How many of the batch are not over."""
        return self._site.services.dues.look(Queue.BULK).waiting

    def arrivals(self) -> dict[str, float]:
        """Reset of a call → when its message was there."""
        return arrivals(self._ledger)

    def batch_arrivals(self) -> list[float]:
        """When the messages of the batch were there."""
        return list(arrivals(self._batch_ledger).values())


def _quantiles(
    name: str, sent: dict[str, float], rest: dict[str, float], arrived: dict[str, float]
) -> Iterator[Row]:
    """Both quantiles of the milliseconds to the provider; the larger one beside that at rest."""
    waits, waits_at_rest = (
        [(arrived[each] - at) * 1000 for each, at in calls.items() if each in arrived]
        for calls in (sent, rest)
    )
    p99 = quantile(waits, 0.99)
    yield Row(name=f"call → provider {name}: p50", value=quantile(waits, 0.5), unit="ms")
    yield Row(name=f"… p99 of {len(waits)}", value=p99, unit="ms")
    if sent is not rest:
        times = p99 / quantile(waits_at_rest, 0.99)
        name = f"P6 call → provider: p99 {name} / at rest"
        yield Row(name=name, value=times, unit="", most=MAX_TIMES_LATER)
