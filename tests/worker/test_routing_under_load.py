"""A provider goes down under load and comes back: the spare carries, the circuit does its work.

Real Valkey, real providers, both ends as servers on loopback; three worker processes' worth of
deliveries, each with a view of the providers of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from shared.errors import StoreUnavailableError
from shared.models import Channel, Queue
from shared.providers.registry import build_providers
from shared.store.admin.circuits import CircuitRules, CircuitState, CircuitStore
from tests.support.builders import a_user
from tests.support.delivery_services import some_delivery_services
from tests.support.provider_builders import some_settings
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.smtp_server import SmtpServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.real_server, pytest.mark.usefixtures("logs")]

WORKERS = 3
BEFORE, DURING, AFTER = 20, 120, 60  # resets while the first provider is well, down, well again
MAX_CALLS_WHILE_DOWN = DURING // 2  # 20 that open the circuit, what was under way, the probes
RULES = CircuitRules(open_seconds=0.4)
SCHEDULE = {"retry_delays_seconds": (0.1,), "doubt_seconds": 0.5}


class Workers:
    """Three workers, what was recorded for them, and the first circuit's states."""

    def __init__(self, client, channel, *, schedule=SCHEDULE, **settings):
        self.channel = channel
        providers = build_providers(some_settings(**settings))
        self.services = some_delivery_services(client, *providers[channel], **schedule)
        self.circuits = CircuitStore(client, RULES)
        self.services = self.services.with_services(circuits=self.circuits)
        self.first = providers[channel][0].name
        self.states: list[CircuitState] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(WORKERS)]
        self._threads.append(threading.Thread(target=self._watch_states))
        self._providers = providers[channel]
        self.recorded: list[str] = []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for provider in self._providers:
            provider.close()

    def record(self, number, *, pause_seconds=0.005):
        """So many resets, one after the other, of as many users."""
        for _ in range(number):
            user_id = f"u{len(self.recorded)}"
            a_user(self.services.services, user_id, email=f"{user_id}@example.com")
            self.recorded.append(self.services.record(user_id, channel=self.channel))
            time.sleep(pause_seconds)

    def state(self):
        return self.circuits.read([self.first])[self.first].state

    def are_final(self):
        return self.services.services.dues.look(Queue.URGENT).waiting == 0

    def _work(self):
        """A worker process: it looks at what is due, and refreshes its view at a sweep's pace."""
        delivery = self.services.delivery
        while not self._stop.is_set():
            delivery.health.refresh()
            view = self.services.services.dues.look(Queue.URGENT, most=5)
            for reset_id, _ in view.resets:
                delivery.deliver(reset_id)
            self._stop.wait(0.01)

    def _watch_states(self):
        while not self._stop.wait(0.02):
            state = self.state()
            if not self.states or self.states[-1] is not state:
                self.states.append(state)


def live_through_an_outage(workers, stub, outage):
    """Well, down under load, well again; gives how often the first was called while down."""
    workers.record(BEFORE)
    wait_until(workers.are_final, what="everything before the outage")
    stub.outage, called_before = outage, len(stub.requests)
    workers.record(DURING)
    wait_until(workers.are_final, what="everything during the outage")
    calls = len(stub.requests) - called_before
    stub.outage = None

    # Somebody has to try it: resets that come meanwhile are the probes.
    def is_closed():
        workers.record(1, pause_seconds=0.1)
        return workers.state() is CircuitState.CLOSED

    wait_until(is_closed, what="a closed circuit")
    time.sleep(1.2)  # every worker's view is younger than this
    workers.record(AFTER)
    wait_until(workers.are_final, what="everything after the outage")
    return calls


def check_the_story(workers, calls, first_ids, second_ids):
    """Everything arrived once, the spare carried the outage, and the first is back."""
    assert Counter([*first_ids, *second_ids]) == Counter(workers.recorded)
    assert set(workers.recorded[:BEFORE]) <= set(first_ids)
    assert set(workers.recorded[BEFORE : BEFORE + DURING]) <= set(second_ids)
    assert set(workers.recorded[-AFTER:]) <= set(first_ids)
    assert calls <= MAX_CALLS_WHILE_DOWN
    assert workers.states[0] is CircuitState.CLOSED
    assert CircuitState.OPEN in workers.states
    assert CircuitState.HALF_OPEN in workers.states
    assert workers.states[-1] is CircuitState.CLOSED


@pytest.mark.parametrize("outage", [Answer(503), Answer(401)], ids=["503", "account"])
def test_mail_goes_by_the_relay_while_sendgrid_is_down(real_client, outage):
    with ProviderStub() as stub, SmtpServer() as relay:
        workers = Workers(
            real_client,
            Channel.EMAIL,
            email_providers=("sendgrid", "smtp"),
            sendgrid_api_url=stub.url,
            smtp_url=relay.url,
        )

        with workers:
            calls = live_through_an_outage(workers, stub, outage)

        check_the_story(workers, calls, [each["resetId"] for each in stub.taken], relay.reset_ids)


def test_sms_go_by_the_second_account_while_the_first_has_trouble(real_client):
    with ProviderStub() as first, ProviderStub() as second:
        workers = Workers(
            real_client,
            Channel.SMS,
            sms_providers=("twilio", "twilio-2"),
            twilio_api_url=first.url,
            twilio_2_api_url=second.url,
        )

        with workers:
            calls = live_through_an_outage(workers, first, Answer.of_json(401, {"code": 20003}))

        ids = [[each["resetId"] for each in stub.taken] for stub in (first, second)]
        check_the_story(workers, calls, *ids)


def test_a_message_in_doubt_stays_with_its_provider_through_an_outage(real_client):
    with ProviderStub() as stub, SmtpServer() as relay:
        workers = Workers(
            real_client,
            Channel.EMAIL,
            # Longer than the outage: what is in doubt twice waits for its deadline.
            schedule=SCHEDULE | {"doubt_seconds": 4.0},
            email_providers=("sendgrid", "smtp"),
            sendgrid_api_url=stub.url,
            smtp_url=relay.url,
        )
        stub.outage = Answer(how="cut")

        with workers:
            workers.record(30)
            wait_until(lambda: workers.state() is not CircuitState.CLOSED, what="an open circuit")
            in_doubt = [r for r in workers.recorded if "sendgrid" in workers.services.carriers(r)]
            stub.outage = None
            wait_until(workers.are_final, what="everything, the doubtful by SendGrid")

        taken = [each["resetId"] for each in stub.taken]
        assert len(in_doubt) >= 20
        assert set(in_doubt) <= set(taken)
        assert set(in_doubt).isdisjoint(relay.reset_ids)
        assert Counter([*taken, *relay.reset_ids]) == Counter(workers.recorded)


def test_the_workers_go_on_while_the_circuits_cannot_be_read(real_client):
    class AwayCircuits(CircuitStore):
        def _run(self, provider, *arguments):
            raise StoreUnavailableError

    with ProviderStub() as stub, SmtpServer() as relay:
        providers = build_providers(
            some_settings(
                email_providers=("sendgrid", "smtp"),
                sendgrid_api_url=stub.url,
                smtp_url=relay.url,
            )
        )
        services = some_delivery_services(real_client, *providers[Channel.EMAIL], **SCHEDULE)
        services = services.with_services(circuits=AwayCircuits(real_client))
        stub.outage = Answer(503)
        reset_id = services.record()

        services.deliver(reset_id)
        services.again(reset_id)
        services.again(reset_id)

        providers[Channel.EMAIL][0].close()
        assert services.carriers(reset_id) == ["sendgrid", "sendgrid", "smtp"]
        assert relay.reset_ids == [reset_id]
