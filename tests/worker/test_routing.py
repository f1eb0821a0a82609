"""Who carries an attempt while a provider is left alone or paused, and what is told of it."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    StoreUnavailableError,
    TransientProviderError,
    UnsendableError,
)
from shared.models import Channel, Outcome, Queue, Receipt, Status
from shared.store.admin.circuits import CallTally, CircuitRules, CircuitState, CircuitStore
from shared.store.admin.pauses import Scope
from tests.support.delivery_services import (
    TAKEN,
    AskableProvider,
    ScriptedProvider,
    some_delivery_services,
)
from tests.support.waiting import a_wait
from worker import routing

BUSY = TransientProviderError("http_503", "the provider is busy")
LOCKED_OUT = AccountProviderError("http_401", "the key is refused")
NO_ROUTE = AccountProviderError("twilio_21612", "not on this route", is_one_route=True)
CUT = DoubtfulProviderError("answer_timeout", "no answer came")
REFUSED = PermanentProviderError("http_400", "malformed")
OUTAGE = CallTally(bad=1, account=1, is_outage=True, reason="http_401")

pytestmark = pytest.mark.usefixtures("logs")


class WorkerProcess:
    """One worker process, whose view of the providers is refreshed at will."""

    def __init__(self, client, *providers, rules=None, **settings):
        self.services = some_delivery_services(client, *providers, **settings)
        self.circuits = CircuitStore(client, rules or CircuitRules())
        self.services = self.services.with_services(circuits=self.circuits)
        self.now = 0.0
        self.open_worker()

    def open_worker(self):
        """A worker process that was just started."""
        self.worker = self.services.delivery
        self.see()
        return self.worker

    def see(self):
        """As a second later."""
        self.worker.health._refreshed_at = float("-inf")
        self.worker.health._pauses.all.cache.clear()
        self.worker.health.refresh()

    def send(self, **fields):
        """One attempt for a new reset."""
        reset_id = self.services.record(**fields)
        self.worker.deliver(reset_id)
        return reset_id

    def again(self, reset_id):
        self.services.stores.make_due(reset_id)
        self.worker.deliver(reset_id)

    def state(self, name="p1"):
        return self.circuits.read([name])[name].state

    def pause(self, name):
        self.services.services.pauses.pause(Scope.PROVIDER, name, by="eve", reason="slow")
        self.see()


def two(first=(TAKEN,), second=(TAKEN,), channel=Channel.EMAIL):
    return (
        ScriptedProvider(*first, name="p1", channel=channel),
        ScriptedProvider(*second, name="p2", channel=channel),
    )


def test_an_open_circuit_is_passed_by_at_the_first_attempt(fake_client, logs):
    process = WorkerProcess(fake_client, *two())
    process.circuits.record("p1", OUTAGE)
    process.see()

    reset_id = process.send()

    reset = process.services.look(reset_id)
    assert process.services.carriers(reset_id) == ["p2"]
    assert [(e.type, e.provider, e.detail) for e in reset.events] == [
        ("failed_over", "p2", "instead of p1: circuit_open")
    ]
    line = next(line for line in logs if line["event"] == "provider.failed_over")
    assert (line["last"], line["provider"], line["reason"]) == ("p1", "p2", "circuit_open")


def test_a_switch_is_counted_and_the_last_one_is_known(fake_client):
    process = WorkerProcess(fake_client, *two())
    process.circuits.record("p1", OUTAGE)
    process.see()
    process.send()
    process.see()

    switch = process.circuits.read(["p1"])["p1"].last_switch

    assert (switch.to, switch.reason) == ("p2", "circuit_open")
    assert process.services.services.counters.totals()["sw:p1:p2:circuit_open"] == 1


@pytest.mark.parametrize(("error", "expected"), [(LOCKED_OUT, "account"), (BUSY, "transient")])
def test_a_switch_after_a_failure_says_how_the_last_attempt_ended(fake_client, error, expected):
    process = WorkerProcess(fake_client, *two([error], [TAKEN], Channel.SMS))
    reset_id = process.send(channel=Channel.SMS)

    process.again(reset_id)

    assert process.services.look(reset_id).events[0].detail == f"instead of p1: {expected}"


def test_account_trouble_opens_the_circuit_for_every_worker_at_once(fake_client, logs):
    process = WorkerProcess(fake_client, *two([LOCKED_OUT]))
    process.send()

    other_worker = process.open_worker()
    reset_id = process.services.record()
    other_worker.deliver(reset_id)

    assert process.state() is CircuitState.OPEN
    assert process.services.carriers(reset_id) == ["p2"]
    opened = next(line for line in logs if line["event"] == "circuit.opened")
    assert (opened["provider"], opened["reason"]) == ("p1", "http_401")


def test_a_reset_that_moves_on_is_hinted_at_without_waiting_for_a_sweep(fake_client):
    process = WorkerProcess(fake_client, *two([LOCKED_OUT]))

    reset_id = process.send()

    hint = process.services.services.hints.published[-1]
    assert (hint.about, hint.queue) == (reset_id, Queue.URGENT)


def test_twenty_transient_failures_open_the_circuit(fake_client):
    process = WorkerProcess(fake_client, *two([BUSY]), user_cooldown_seconds=0.0)

    for _ in range(19):
        process.send()
    before = process.state()
    process.send()

    assert (before, process.state()) == (CircuitState.CLOSED, CircuitState.OPEN)


def test_failures_between_many_good_attempts_do_not_open_the_circuit(fake_client):
    # All within the second before the chore: what was good is told with what was not.
    script = [BUSY if number % 4 == 0 else TAKEN for number in range(100)]
    process = WorkerProcess(fake_client, ScriptedProvider(*script), user_cooldown_seconds=0.0)

    for _ in script:
        process.send()

    assert process.state() is CircuitState.CLOSED
    assert process.circuits.read(["p1"])["p1"].failures == 25


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BUSY, 1),
        (CUT, 1),
        (NO_ROUTE, 1),
        (REFUSED, 0),
        (TransientProviderError("smtp_452", "mailbox full", is_one_route=True), 0),
        (DoubtfulProviderError("twilio_30410", "carrier late", is_one_route=True), 0),
        (UnsendableError("bad_address", "x"), 0),
    ],
    ids=["transient", "doubt", "one-route", "refused", "mailbox", "carrier", "unsendable"],
)
def test_what_counts_against_a_provider(fake_client, error, expected):
    process = WorkerProcess(fake_client, ScriptedProvider(error))

    process.send()

    assert process.circuits.read(["p1"])["p1"].failures == expected


def test_an_error_of_ours_does_not_count_against_a_provider(fake_client):
    process = WorkerProcess(fake_client, ScriptedProvider(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        process.send()
    process.see()

    assert process.circuits.read(["p1"])["p1"].calls == 0


class SilentCircuits(CircuitStore):
    """Circuits that must not be asked one by one."""

    def _run(self, provider, *arguments):
        raise AssertionError(f"{provider}: {arguments}")


def test_an_attempt_in_good_times_costs_no_further_trip(fake_client):
    services = some_delivery_services(fake_client, *two())
    services = services.with_services(circuits=SilentCircuits(fake_client))
    worker = services.delivery
    worker.health.refresh()
    reset_id = services.record()

    worker.deliver(reset_id)

    assert services.outcomes(reset_id) == [Outcome.ACCEPTED]


def test_good_attempts_are_told_by_the_chore_and_not_one_by_one(fake_client):
    process = WorkerProcess(fake_client, ScriptedProvider())
    for _ in range(3):
        process.send()
    before = process.circuits.read(["p1"])["p1"].calls

    process.see()

    assert (before, process.circuits.read(["p1"])["p1"].calls) == (0, 3)


def test_the_chore_does_nothing_more_often_than_about_once_a_second(fake_client):
    process = WorkerProcess(fake_client, ScriptedProvider())
    process.send()

    process.worker.health.refresh()

    assert process.circuits.read(["p1"])["p1"].calls == 0


def test_an_attempt_in_doubt_waits_for_its_own_provider(fake_client):
    first, second = two([CUT, TAKEN])
    process = WorkerProcess(fake_client, first, second)
    reset_id = process.send()
    process.circuits.record("p1", OUTAGE)
    process.see()

    process.again(reset_id)

    reset = process.services.look(reset_id)
    assert (reset.status, reset.reason) == (Status.UNKNOWN, "circuit_open")
    assert 11 < process.services.wait_seconds(reset_id) < 17
    assert second.messages == []


def test_an_attempt_in_doubt_is_looked_up_although_the_circuit_is_open(fake_client):
    process = WorkerProcess(fake_client, AskableProvider(CUT, found=Receipt("m7")))
    reset_id = process.send()
    process.circuits.record("p1", OUTAGE)
    process.see()

    process.again(reset_id)

    assert process.services.outcomes(reset_id) == [Outcome.FOUND]


@pytest.mark.parametrize(
    ("queue", "least", "most"), [(Queue.URGENT, 14, 16.1), (Queue.BULK, 16.5, 25.1)]
)
def test_when_every_circuit_is_open_the_person_is_first_to_look_again(
    fake_client, queue, least, most
):
    process = WorkerProcess(fake_client, *two())
    for name in ("p1", "p2"):
        process.circuits.record(name, OUTAGE)
    process.see()

    reset_id = process.services.record(queue=queue)
    process.worker.deliver(reset_id)

    reset = process.services.look(reset_id)
    wait = (
        process.services.stores.due_at(reset_id, queue) - process.services.stores.now_ms()
    ) / 1000
    assert (reset.status, reset.reason, reset.attempts) == (Status.QUEUED, "circuit_open", ())
    assert least < wait < most


def half_open(client, *providers, **settings):
    """A process whose first provider may be probed now."""
    process = WorkerProcess(client, *providers, rules=CircuitRules(open_seconds=0.05), **settings)
    process.circuits.record("p1", OUTAGE)
    time.sleep(0.06)
    process.see()
    return process


def test_three_good_probes_close_the_circuit(fake_client, logs):
    process = half_open(fake_client, *two())

    carriers = [process.services.carriers(process.send())[0] for _ in range(3)]

    assert carriers == ["p1"] * 3
    assert process.state() is CircuitState.CLOSED
    assert "circuit.closed" in [line["event"] for line in logs]


def test_a_bad_probe_opens_the_circuit_again_and_its_reset_moves_on(fake_client):
    process = half_open(fake_client, *two([BUSY]))

    reset_id = process.send()
    process.again(reset_id)

    assert process.services.carriers(reset_id) == ["p1", "p2"]
    assert process.state() is not CircuitState.CLOSED


def test_while_one_probes_the_others_go_elsewhere(fake_client):
    process = half_open(fake_client, *two())
    process.circuits.take_probe("p1", "somebody else", lease_seconds=10)

    reset_id = process.send()

    assert process.services.carriers(reset_id) == ["p2"]


def test_while_one_probes_the_only_provider_the_others_look_again_soon(fake_client):
    process = half_open(fake_client, ScriptedProvider())
    process.circuits.take_probe("p1", "somebody else", lease_seconds=10)

    reset_id = process.send()

    assert process.services.look(reset_id).reason == "circuit_open"
    assert process.services.wait_seconds(reset_id) < 2


@pytest.mark.parametrize(
    "spoiler",
    [ZeroDivisionError(), UnsendableError("bad_address", "x")],
    ids=["ours", "unsendable"],
)
def test_a_probe_that_asked_nobody_is_given_back(fake_client, spoiler):
    process = half_open(fake_client, ScriptedProvider(spoiler))

    with suppress(ZeroDivisionError):
        process.send()

    assert process.circuits.take_probe("p1", "the next", lease_seconds=10)[0]


def test_a_probe_whose_message_is_refused_for_good_is_a_good_one(fake_client):
    process = half_open(fake_client, ScriptedProvider(REFUSED))

    for _ in range(3):
        process.send()

    assert process.state() is CircuitState.CLOSED


@pytest.mark.parametrize(("seconds", "expected"), [(4.0, ["p1", "p1"]), (6.0, ["p1", "p2"])])
def test_a_provider_that_asks_for_a_long_wait_is_passed_by_at_once(fake_client, seconds, expected):
    wait = TransientProviderError("http_429", "fewer, please", retry_after_seconds=seconds)
    process = WorkerProcess(fake_client, *two([wait, TAKEN]))
    reset_id = process.send()
    is_due = process.services.wait_seconds(reset_id) <= 0

    process.again(reset_id)

    assert process.services.carriers(reset_id) == expected
    assert is_due == (expected[1] == "p2")


def test_a_long_wait_is_honoured_where_nobody_else_is_at_hand(fake_client):
    wait = TransientProviderError("http_429", "fewer, please", retry_after_seconds=30)
    process = WorkerProcess(fake_client, *two([wait], [wait]))

    reset_id = process.send()
    process.again(reset_id)

    assert process.services.carriers(reset_id) == ["p1", "p2"]
    assert process.services.wait_seconds(reset_id) == a_wait(30, 5)


def test_a_long_wait_is_honoured_by_the_only_provider(fake_client):
    wait = TransientProviderError("http_429", "fewer, please", retry_after_seconds=30)
    process = WorkerProcess(fake_client, ScriptedProvider(wait))

    reset_id = process.send()

    assert process.services.wait_seconds(reset_id) == a_wait(30, 5)


def test_a_paused_provider_is_passed_by(fake_client):
    process = WorkerProcess(fake_client, *two())
    process.pause("p1")

    reset_id = process.send()

    assert process.services.carriers(reset_id) == ["p2"]
    assert process.services.look(reset_id).events[0].detail == "instead of p1: paused"


def test_when_every_provider_is_paused_the_reset_waits_and_says_so(fake_client):
    process = WorkerProcess(fake_client, *two())
    process.pause("p1")
    process.pause("p2")

    reset_id = process.send()

    reset = process.services.look(reset_id)
    assert (reset.status, reset.reason) == (Status.QUEUED, "provider_paused")
    assert process.services.wait_seconds(reset_id) > 500  # a resume makes it due at once


def test_a_paused_provider_is_not_sent_a_doubtful_message_again(fake_client):
    first, second = two([CUT, TAKEN])
    process = WorkerProcess(fake_client, first, second)
    reset_id = process.send()
    process.pause("p1")

    process.again(reset_id)

    reset = process.services.look(reset_id)
    assert (reset.status, reset.reason) == (Status.UNKNOWN, "provider_paused")
    assert (len(first.messages), len(second.messages)) == (1, 0)


def test_a_circuit_read_long_ago_is_no_advice(fake_client, monkeypatch):
    process = WorkerProcess(fake_client, *two())
    process.circuits.record("p1", OUTAGE)
    process.see()
    monkeypatch.setattr(routing, "STALE_SECONDS", 0.0)

    assert process.services.carriers(process.send()) == ["p1"]


class AwayCircuits(CircuitStore):
    """Circuits whose server does not answer."""

    def _run(self, provider, *arguments):
        raise StoreUnavailableError


def test_where_the_circuits_cannot_be_told_an_attempt_is_made_and_noted(fake_client):
    services = some_delivery_services(fake_client, ScriptedProvider(BUSY, TAKEN))
    services = services.with_services(circuits=AwayCircuits(fake_client))
    reset_id = services.record()

    services.deliver(reset_id)
    services.again(reset_id)

    assert services.outcomes(reset_id) == [Outcome.TRANSIENT, Outcome.ACCEPTED]
