"""What a worker needs to be measured: a stub to hand over to, resets to send, hints at them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from bench.processes import Program, is_listening, python_module, running, wait_until
from bench.site import ORG, Site, person
from shared.errors import StoreUnavailableError
from shared.models import Channel, Queue, make_user
from shared.policies import last_start_seconds
from shared.queue import hint_at
from shared.store.resets import OPTIONAL_FIELDS, NewReset

HINTS_AHEAD = 300
FEED_EVERY_SECONDS = 0.01
LIFETIME_SECONDS = 3600.0
RECORDED_TOGETHER = 50
MAX_STALLS = 10


def stub_running(
    site: Site, *arguments: object, port: int | None = None
) -> AbstractContextManager[Program]:
    """SendGrid on loopback, over TLS; where the settings say unless a port is given."""
    port = port or site.stub_port
    place = ("--port", port, "--certificate", site.certificate)
    return running(
        *python_module("bench.stub", *place, *arguments),
        is_ready=lambda: is_listening(port),
        log=site.log,
    )


@contextmanager
def worker_running(site: Site, queue: Queue = Queue.URGENT, **more: object) -> Iterator[Program]:
    """One worker process for a queue; `more` are settings."""
    settings = {f"KEYTURN_{name.upper()}": str(value) for name, value in more.items()}
    with running(
        *python_module("worker", "--queues", queue.value),
        is_ready=lambda: bool(site.services.dues.workers_seen(queue)),
        env=site.environment | settings,
        log=site.log,
    ) as worker:
        yield worker
    wait_until(lambda: not site.services.dues.workers_seen(queue))


def accepted(site: Site) -> int:
    """How many messages a provider has taken so far, by the store's own count."""
    return site.services.counters.totals()["to:email:accepted"]


def preload(site: Site) -> list[str]:
    """Record a reset for every user as the web would; nobody is told yet."""
    return preload_some(site, range(site.users))


def preload_some(site: Site, numbers: range) -> list[str]:
    """The same for these users alone."""
    return [_record(site, f"u{number}") for number in numbers]


def preload_bulk(site: Site, numbers: range) -> None:
    """Record resets in the bulk queue for these users, as a batch would."""
    for first in range(0, len(numbers), RECORDED_TOGETHER):
        some = numbers[first : first + RECORDED_TOGETHER]
        _insist(site, [_new(site, f"u{n}", Queue.BULK) for n in some])


def _insist(site: Site, resets: list[NewReset]) -> None:
    """Record, again where the machine stood still for longer than a client waits."""
    for _ in range(MAX_STALLS):
        with suppress(StoreUnavailableError):
            site.services.batch_resets.record(resets)
            return
    raise SystemExit("the store does not answer")


def _record(site: Site, user_id: str) -> str:
    new = _new(site, user_id, Queue.URGENT)
    site.services.resets.record(new)
    return new.reset_id


def _new(site: Site, user_id: str, queue: Queue) -> NewReset:
    services, user = site.services, make_user(person(user_id))
    return NewReset(
        reset_id=services.digests.new_reset_id(user_id),
        user_id=user_id,
        org_id=ORG,
        channel=Channel.EMAIL,
        language="en",
        key_id=services.codes.signing_key_id,
        lifetime_seconds=LIFETIME_SECONDS,
        last_start_seconds=last_start_seconds(Channel.EMAIL, LIFETIME_SECONDS),
        queue=queue,
        extra={OPTIONAL_FIELDS["basis"]: services.digests.basis(user, user.email)},
    )


@contextmanager
def hinted(site: Site, reset_ids: list[str]) -> Iterator[None]:
    """Hints at these resets, always a few ahead of the worker, as many busy callers would give."""
    stop = threading.Event()
    waiting = iter(reset_ids)

    def feed() -> None:
        while not stop.wait(FEED_EVERY_SECONDS):
            for _ in range(HINTS_AHEAD - int(site.client.llen(Queue.URGENT))):
                if (reset_id := next(waiting, None)) is None:
                    return
                site.services.hints.publish(hint_at(reset_id, Channel.EMAIL, Queue.URGENT))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
