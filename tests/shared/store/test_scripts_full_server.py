"""A server that is full (maxmemory, noeviction): no new work, but what is recorded goes on."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

import shared.store
from shared.errors import StoreUnavailableError
from shared.models import Channel, Outcome, Queue, Recipient, Status
from shared.store import keys
from shared.store.admin.audit import Act, AuditStore
from shared.store.admin.pauses import PauseStore, Scope
from shared.store.connection import connect
from shared.store.idempotency import IdempotencyStore, KeyedRequest
from shared.store.limits import Limit, LimitStore
from shared.store.resets import Finish
from shared.store.scripts import WHEN_FULL
from shared.store.suppressions import SuppressionStore
from shared.store.webhooks.deliveries import WebhookOutcome, WebhookStore
from shared.store.webhooks.subscriptions import EVENTS, SubscriptionStore
from tests.support.redis_server import DEBIANS_REDIS, start_server
from tests.support.store_builders import GUESSER, notice_id_of, stores_of
from tests.support.waiting import HANG_SECONDS

pytestmark = pytest.mark.real_server

LUA = Path(shared.store.__file__).parent / "lua"
ADDRESS = Recipient(Channel.EMAIL, "eve@example.com")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(None, id="valkey"),
        pytest.param(
            DEBIANS_REDIS,
            id="redis",
            marks=pytest.mark.skipif(
                not DEBIANS_REDIS, reason="Debian's redis-server is not installed"
            ),
        ),
    ],
)
def client(request):
    """Of a server that these tests alone fill."""
    with tempfile.TemporaryDirectory(prefix="keyturn-full-") as directory:
        socket = Path(directory) / "full.sock"
        server = start_server(socket, program=request.param)
        with connect(f"unix://{socket}") as opened:
            yield opened
        server.kill()
        server.wait(HANG_SECONDS)


@pytest.fixture
def stores(client):
    client.flushdb()
    return stores_of(client)


@contextmanager
def full(client):
    """No room for another byte."""
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("one", "more")
        yield
    finally:
        client.config_set("maxmemory", "0")


def dump(client):
    return {key: client.dump(key) for key in client.keys("*")}


def test_a_full_server_records_nothing_at_all(client, stores):
    stores.record()
    before = dump(client)

    with full(client), pytest.raises(StoreUnavailableError):
        stores.record()

    assert dump(client) == before


def test_a_full_server_counts_nothing_and_keeps_no_key(client, stores):
    limits, limit = LimitStore(client), Limit("organisation", "acme", 10, 60)
    idempotency = IdempotencyStore(client, stores.digests)
    before = dump(client)

    with full(client):
        with pytest.raises(StoreUnavailableError):
            limits.pass_gate([limit], recipient_digest="", version=-1, reset_id="0a")
        with pytest.raises(StoreUnavailableError):
            idempotency.begin(KeyedRequest("caller", "key", "meaning"))

    assert dump(client) == before


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.RETRYING, Status.UNKNOWN])
def test_an_attempt_under_way_is_noted_on_a_full_server(client, stores, status):
    outcome = {Status.ACCEPTED: Outcome.ACCEPTED, Status.RETRYING: Outcome.TRANSIENT}
    reset_id = stores.record()
    claim = stores.claim_sending(reset_id)

    with full(client):
        finish = Finish(
            status=status,
            outcome=outcome.get(status, Outcome.DOUBT),
            provider="p1",
            provider_message_id="m" * 64,
            detail="d" * 200,
            delay_seconds=5,
        )
        assert stores.resets.finish(claim, finish)

    assert stores.status(reset_id) is status
    assert (stores.due_at(reset_id) is None) is status.is_final


def test_what_is_recorded_is_claimed_sent_and_accepted_on_a_full_server(client, stores):
    ids = [stores.record(f"user-{number}") for number in range(30)]

    with full(client):
        for reset_id in ids:
            stores.attempt(reset_id)

    assert {stores.status(reset_id) for reset_id in ids} == {Status.ACCEPTED}
    assert stores.census() == stores.counted_now() == {}


def test_what_is_over_ends_on_a_full_server(client, stores):
    reset_id = stores.record()
    stores.end_in(reset_id, -1)

    with full(client):
        assert stores.resets.claim(reset_id) is None

    assert stores.status(reset_id) is Status.EXPIRED


def test_a_password_that_was_changed_uses_up_its_codes_on_a_full_server(client, stores):
    reset_id = stores.record()
    token, notice = stores.take(reset_id), stores.notice()

    with full(client):
        done = stores.codes.complete("ada", reset_id=reset_id, token=token, notice=notice)

    assert done
    assert stores.live() == set()
    assert stores.resets.find(reset_id).completed_at
    assert stores.status(notice_id_of(notice)) is Status.QUEUED


def test_nobody_begins_to_guess_on_a_full_server_but_a_wrong_guess_counts(client, stores):
    stores.record()
    stores.codes.begin_try("ada", GUESSER)

    with full(client):
        stores.codes.note_wrong("ada", GUESSER)
        with pytest.raises(StoreUnavailableError):
            stores.codes.begin_try("ada", GUESSER)

    assert stores.counters.totals()["wrong:typed"] == 1
    (count,) = stores.codes.list_guesses("ada")
    assert count.tries == 1


def test_what_was_counted_is_given_back_on_a_full_server(client, stores):
    limits, limit = LimitStore(client), Limit("organisation", "acme", 10, 60)
    idempotency = IdempotencyStore(client, stores.digests)
    request = KeyedRequest("caller", "key", "meaning")
    limits.pass_gate([limit], recipient_digest="", version=-1, reset_id="0a")
    since = idempotency.begin(request)

    with full(client):
        limits.give_back([limit], reset_id="0a")
        idempotency.give_up(request, since)

    assert client.get(limit.key) == "0"
    assert idempotency.find(request) is None


def test_a_recipient_is_suppressed_on_a_full_server(client, stores):
    suppressions = SuppressionStore(client, stores.digests)
    assert suppressions.find(ADDRESS) is None

    with full(client):
        suppressions.add(ADDRESS, reason="bounce", source="sendgrid")
        suppressions.add(ADDRESS, reason="complaint", source="sendgrid")

    assert suppressions.find(ADDRESS).reason == "bounce"


def test_a_worker_is_seen_and_sees_what_is_due_on_a_full_server(client, stores):
    reset_id = stores.record()
    stores.make_due(reset_id)

    with full(client):
        stores.dues.heartbeat("urgent w1")
        view = stores.dues.look(Queue.URGENT, most=10)

    assert stores.dues.workers_seen(Queue.URGENT) == ["urgent w1"]
    assert view.resets == ((reset_id, Channel.EMAIL),)


def test_a_subscriber_is_told_on_a_full_server(client, stores):
    subscriptions = SubscriptionStore(client, stores.digests)
    webhooks = WebhookStore(client)
    made = subscriptions.add("acme", "https://a.example/", EVENTS)[1]
    reset_id = stores.record()

    with full(client):
        stores.attempt(reset_id)
        due = webhooks.read_backlogs([made.subscription_id])[made.subscription_id].due
        webhook = webhooks.claim(made.subscription_id, keys.tag_of(reset_id))
        assert webhooks.finish(webhook, WebhookOutcome.DELIVERED)

    assert (due, webhook.event_name) == (1, "accepted")
    assert webhooks.read_backlogs([made.subscription_id])[made.subscription_id].waiting == 0


def test_an_operator_stops_and_restarts_sending_and_leaves_a_trace(client, stores):
    pauses, who = PauseStore(client), {"by": "eve", "reason": "it is full"}
    audit = AuditStore(client, stores.digests)
    stores.digests.digest("start", "")  # as every process does that has served before

    with full(client):
        with audit.acting(Act(by="eve", action="queue.pause", target="bulk")):
            assert pauses.pause(Scope.QUEUE, "bulk", **who)
        assert [each.name for each in pauses.all()] == ["bulk"]
        with audit.acting(Act(by="eve", action="queue.resume", target="bulk")):
            assert pauses.resume(Scope.QUEUE, "bulk", **who)

    acts = [entry.act.action for entry in audit.newest(most=2)]
    assert acts == ["queue.resume", "queue.pause"]


def test_whatever_delivery_writes_is_allowed_on_a_full_server():
    allowed = {
        script.relative_to(LUA).with_suffix("").as_posix()
        for script in LUA.rglob("*.lua")
        if script.read_text().startswith(WHEN_FULL)
    }

    assert allowed >= {
        *("reset/claim", "reset/start_attempt", "reset/finish"),
        *("admin/suppress", "code/complete", "heartbeat"),
    }
    assert not allowed & {
        *("reset/record", "reset/pass_gate", "reset/begin_idempotent"),
        *("code/begin_try", "code/begin_password_try"),
    }
