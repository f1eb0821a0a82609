"""The store away in the middle of a delivery, errors of our own, and what logs say of them."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import threading
import time

import pytest
import structlog
from celery import Celery

from shared.errors import PermanentProviderError, RenderError, StoreUnavailableError
from shared.log import set_up_logging
from shared.models import Channel, Recipient, Status
from shared.store.connection import connect
from shared.store.resets import MAX_CLAIMS
from tests.support.delivery_services import TAKEN, ScriptedProvider, some_delivery_services
from tests.support.waiting import a_wait
from worker.delivery import retry_until
from worker.tasks import DeliveryFailedError, TaskDependencies, register_tasks

ADA = Recipient(Channel.EMAIL, "ada@example.com")


class AwayAtFirst:
    """A store of which one verb fails so many times."""

    def __init__(self, store, verb, times):
        self._store, self._verb, self._times = store, verb, times

    def __getattr__(self, name):
        if name == self._verb and self._times > 0:
            self._times -= 1
            raise StoreUnavailableError
        return getattr(self._store, name)


class BrokenRenderer:
    """A renderer with a bug, whose error quotes what it worked on."""

    def __init__(self, error):
        self._error = error

    def render_reset(self, reset, user, recipient, profile, code, **_):
        raise self._error(f"{recipient.address} {code.formatted} https://reset.example.com")


def test_an_outcome_is_noted_once_the_store_is_back(fake_client, logs):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    away = worker.with_services(resets=AwayAtFirst(worker.services.resets, "finish", 2))

    away.deliver(reset_id)

    assert worker.outcomes(reset_id) == ["accepted"]
    assert worker.look(reset_id).status is Status.ACCEPTED


def test_a_suppression_is_noted_once_the_store_is_back(fake_client, logs):
    refusal = PermanentProviderError("smtp_550", "nobody there", suppression="bounce")
    worker = some_delivery_services(fake_client, ScriptedProvider(refusal))
    reset_id = worker.record()
    away = worker.with_services(suppressions=AwayAtFirst(worker.services.suppressions, "add", 1))

    away.deliver(reset_id)

    assert worker.services.suppressions.find(ADA).reason == "bounce"
    assert worker.look(reset_id).status is Status.FAILED


def test_a_store_that_fails_before_the_call_delays_a_person_by_a_second(fake_client, logs):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    away = worker.with_services(suppressions=AwayAtFirst(worker.services.suppressions, "find", 1))

    away.deliver(reset_id)

    assert worker.look(reset_id).reason == "store_unavailable"
    assert worker.wait_seconds(reset_id) == a_wait(1, 0.9)
    worker.again(reset_id)
    assert worker.outcomes(reset_id) == ["accepted"]


def test_a_lost_answer_to_sending_sends_nothing(fake_client, logs):
    worker = some_delivery_services(fake_client)
    reset_id = worker.record()
    away = worker.with_services(resets=AwayAtFirst(worker.services.resets, "mark_sending", 1))

    away.deliver(reset_id)

    assert worker.providers[Channel.EMAIL][0].messages == []
    assert worker.look(reset_id).status is Status.QUEUED


def test_an_outcome_is_given_up_only_when_the_claim_has_ended():
    calls = []

    def note():
        calls.append(time.monotonic())
        raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        retry_until(time.monotonic() + 0.3, note)

    assert len(calls) == 2


@pytest.mark.real_server
def test_a_server_frozen_when_the_answer_comes_costs_no_second_message(tmp_path, own_server, logs):
    server = own_server()
    with connect(f"unix://{tmp_path}/own.sock", timeout_seconds=0.5) as client:
        worker = some_delivery_services(client)

        def freeze():
            os.kill(server.pid, signal.SIGSTOP)
            thaw.start()
            return TAKEN

        thaw = threading.Timer(1.4, os.kill, (server.pid, signal.SIGCONT))
        provider = ScriptedProvider(freeze, TAKEN)
        worker.providers[Channel.EMAIL][:] = [provider]
        reset_id = worker.record()

        worker.deliver(reset_id)
        thaw.join()

        assert worker.outcomes(reset_id) == ["accepted"]
        assert len(provider.messages) == 1
        assert worker.services.counters.totals()["p:p1:accepted:n"] == 1


@pytest.mark.real_server
def test_a_server_full_when_the_answer_comes_costs_no_second_message(tmp_path, own_server, logs):
    own_server()
    with connect(f"unix://{tmp_path}/own.sock") as client:
        worker = some_delivery_services(client)

        def fill():
            client.config_set("maxmemory", 1)  # and it stays so: outcomes are noted all the same
            return TAKEN

        provider = ScriptedProvider(fill, TAKEN)
        worker.providers[Channel.EMAIL][:] = [provider]
        reset_id = worker.record()

        worker.deliver(reset_id)

        assert worker.outcomes(reset_id) == ["accepted"]
        assert len(provider.messages) == 1
        assert worker.stores.counted_now() == worker.stores.census() == {}


@pytest.mark.parametrize("error", [ValueError, KeyError, UnicodeError])
def test_a_bug_in_rendering_ends_as_poison(fake_client, error):
    worker = some_delivery_services(fake_client, renderer=BrokenRenderer(error))
    reset_id = worker.record()

    for _ in range(MAX_CLAIMS):
        with pytest.raises(error):
            worker.deliver(reset_id)
        worker.stores.make_due(reset_id)
    worker.deliver(reset_id)

    reset = worker.look(reset_id)
    assert (reset.status, reset.reason, reset.attempts) == (Status.FAILED, "poison", ())


def test_a_message_that_cannot_be_rendered_fails_at_once(fake_client, logs):
    worker = some_delivery_services(fake_client, renderer=BrokenRenderer(RenderError))
    reset_id = worker.record()

    worker.deliver(reset_id)

    assert (worker.look(reset_id).status, worker.look(reset_id).reason) == (
        Status.FAILED,
        "cannot_render",
    )


@pytest.fixture
def log_lines():
    """Every line a worker writes, Celery's included, as an operator sees it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
    set_up_logging("debug", service="worker", stream=stream)
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: [json.loads(line) for line in stream.buffer.getvalue().splitlines()]
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


def test_a_bug_that_quotes_an_address_tells_neither_the_logs_nor_flower(fake_client, log_lines):
    app = Celery(set_as_current=False)
    tasks = TaskDependencies()
    register_tasks(app, tasks)
    worker = some_delivery_services(fake_client, renderer=BrokenRenderer(ValueError))
    reset_id = worker.record()
    tasks.delivery = worker.delivery

    result = app.tasks["keyturn.send_email"].apply((reset_id,))

    lines = log_lines()
    said = json.dumps(lines) + repr(result.result) + str(result.traceback)
    code = worker.services.codes.code(reset_id, worker.look(reset_id).key_id)
    assert isinstance(result.result, DeliveryFailedError)
    assert [line["error"] for line in lines if line["event"] == "delivery.failed"] == ["ValueError"]
    for secret in ("ada@", code.formatted, code.characters, code.link_secret, "https://"):
        assert secret not in said
