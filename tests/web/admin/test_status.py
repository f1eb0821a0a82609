"""`keyturn status` and its call: alerts first, made by letting things go wrong."""

from __future__ import annotations

import re
import timeit

import orjson
import pytest

from shared.errors import TransientProviderError
from shared.models import Channel, Queue
from shared.store import keys
from shared.store.admin.circuits import CallTally
from shared.store.admin.pauses import Scope
from shared.store.webhooks.deliveries import WebhookOutcome
from shared.store.webhooks.subscriptions import EVENTS
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token
from tests.support.callback_builders import a_body, a_mail_event
from tests.support.delivery_services import ScriptedProvider
from tests.support.wire import problem
from tests.web.explain.test_diagnosis import KEY, Story
from web.admin.alerts import find_alerts
from web.admin.schemas import serialise_status
from web.admin.status import load_status
from web.batches.progress import read_progress, write_progress
from web.services import build_web_services

WHO = {"by": "eve", "reason": "a test"}
QUEUES = ",".join(Queue)


class Watched(Story):
    """An installation somebody looks at; all its workers are there."""

    def __init__(self, client, *providers, **settings):
        super().__init__(client, *providers, **settings)
        self.services.dues.deregister("urgent,receipts w1")
        self.services.dues.heartbeat(f"{QUEUES} w1")

    def look(self):
        return load_status(build_web_services(self.services))

    def told(self):
        return serialise_status(self.look())

    def alerts(self):
        return find_alerts(self.look())

    def sample(self, *, seconds_ago=60):
        self.redis.delete(keys.SAMPLED)
        self.services.samples.take()
        at_ms, counted = orjson.loads(self.redis.lpop(keys.SAMPLES))
        self.redis.lpush(keys.SAMPLES, orjson.dumps([at_ms - seconds_ago * 1000, counted]))


@pytest.fixture
def watched(client):
    return Watched(client)


@pytest.mark.topology
def test_all_is_well_when_nothing_is_wrong(watched):
    watched.send()

    assert watched.alerts() == []


@pytest.mark.topology
def test_the_figures_of_the_queues_are_told(watched):
    watched.sample()
    watched.send()
    watched.ask()

    told = watched.told()

    urgent = told["queues"][0]
    assert told["due"] == {"urgent": 1, "bulk": 0}
    assert urgent == urgent | {"queue": "urgent", "depth": 1, "due": 1, "workers": 1}
    assert urgent["inPerMinute"] == pytest.approx(2, rel=0.2)
    assert urgent["outPerMinute"] == pytest.approx(1, rel=0.2)
    assert told["oldestDueSeconds"] > 0
    assert told["open"] == {"queued": 1}


def test_the_figures_of_the_providers_are_told(client):
    refusing = ScriptedProvider(TransientProviderError("http_503", "out"), name="sendgrid")
    watched = Watched(client, refusing, ScriptedProvider(name="twilio", channel=Channel.SMS))
    watched.sample()
    watched.send()
    watched.send("sms")

    mail, sms = watched.told()["providers"]

    assert mail == mail | {"provider": "sendgrid", "calls": 1, "errorRate": 1.0, "p95Ms": 25}
    assert sms == sms | {"provider": "twilio", "calls": 1, "errorRate": 0.0}


def test_nobody_has_counted_before_the_first_sample(watched):
    told = watched.told()

    assert told["queues"][0]["inPerMinute"] is None
    assert told["providers"][0]["calls"] is None


def test_no_worker_is_the_worst(watched):
    watched.services.dues.deregister(f"{QUEUES} w1")
    watched.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    alerts = watched.alerts()

    assert alerts[0].startswith("No worker of the urgent queue was seen")
    assert any("No worker of the bulk queue" in each for each in alerts)


def test_a_paused_urgent_queue_comes_before_all_the_rest(watched):
    watched.services.pauses.pause(Scope.CHANNEL, "sms", **WHO)
    watched.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    alerts = watched.alerts()

    assert alerts[0].startswith("The urgent queue has been paused by eve since")
    assert "keyturn resume queue urgent" in alerts[0]
    assert alerts[-1].startswith("The channel sms has been paused by eve")


def test_an_old_reset_says_how_old(watched):
    reset_id = watched.ask()
    late = watched.worker.stores.now_ms() - 42_000
    watched.redis.zadd(keys.due(keys.tag_of(reset_id), Queue.URGENT), {reset_id: late})

    assert re.match(r"The oldest reset has been due for 4[2-9] s", watched.alerts()[0])


def test_a_channel_without_a_way_out_is_named(watched):
    watched.services.pauses.pause(Scope.PROVIDER, "twilio", **WHO)

    (alert,) = watched.alerts()

    assert alert.startswith("Nothing goes out by sms: twilio has been paused by eve since")


def test_the_open_circuit_of_the_only_provider_is_one_alert_with_its_reason(watched):
    watched.services.circuits.record(
        "sendgrid", CallTally(bad=1, is_outage=True, reason="connect_refused")
    )

    (alert,) = watched.alerts()

    assert re.fullmatch(
        r"Nothing goes out by email: sendgrid has its circuit open since .* UTC"
        r" \(it refuses connections\), retry in \d+ s\. What waits goes by itself once one works\.",
        alert,
    )


def test_a_queue_that_falls_behind_is_named_before_it_is_late(watched):
    watched.sample(seconds_ago=60)
    reset_id = watched.ask()
    late = watched.worker.stores.now_ms() - 12_000
    watched.redis.zadd(keys.due(keys.tag_of(reset_id), Queue.URGENT), {reset_id: late})

    (alert,) = watched.alerts()

    assert alert.startswith("The urgent queue falls behind, 1 are due; in the last minute 1 came")


@pytest.mark.topology
def test_an_open_circuit_says_why_and_until_when(client):
    watched = Watched(client, email_providers=("sendgrid", "smtp"))
    watched.services.circuits.record(
        "sendgrid", CallTally(bad=1, is_outage=True, reason="http_401")
    )

    (alert,) = watched.alerts()

    assert alert.startswith("sendgrid has its circuit open since")
    assert "(it answers with HTTP 401)" in alert
    assert "others carry its messages" in alert
    assert watched.told()["providers"][0]["circuit"] == "open"


def test_a_provider_that_fails_often_is_named(watched):
    watched.sample()
    shard = keys.counters(keys.TAGS[3])
    watched.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 70, "p:sendgrid:transient:n": 30})

    assert watched.alerts() == ["30% of 100 calls to sendgrid failed in the last five minutes."]


def test_a_provider_that_refuses_many_for_good_is_named(watched):
    watched.sample()
    shard = keys.counters(keys.TAGS[3])
    watched.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 5, "p:sendgrid:permanent:n": 40})

    (alert,) = watched.alerts()

    assert alert.startswith("sendgrid refused 89% of 45 messages for good in the last five min")


def test_a_provider_that_does_well_again_is_not_named(watched):
    watched.sample()
    shard = keys.counters(keys.TAGS[3])
    watched.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 70, "p:sendgrid:transient:n": 30})
    watched.services.circuits.record("sendgrid", CallTally(good=9))

    assert watched.alerts() == []


def test_a_provider_that_reports_nothing_is_named(watched):
    shard = keys.counters(keys.TAGS[3])
    watched.sample(seconds_ago=300)
    watched.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 40})
    watched.sample()
    watched.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 90})

    (alert,) = watched.alerts()

    assert alert.startswith("sendgrid took 40 messages more than a minute ago and reported on")


def test_reports_that_were_refused_are_told(watched):
    watched.sample()
    for _ in range(3):
        assert watched.call("/callbacks/sendgrid", data=b"[]").status_code == 403

    (alert,) = watched.alerts()

    assert alert.startswith("3 callbacks in sendgrid's name were refused")


def test_reports_that_came_are_counted(watched):
    watched.sample()
    watched.tell_mail("delivered", watched.send())

    mail, _ = watched.told()["providers"]

    assert (mail["callbacks"], mail["refusedCallbacks"]) == (1, 0)
    assert mail["lastCallbackAt"] is not None


def test_reports_that_wait_are_the_depth_of_their_queue(watched):
    body = a_body(a_mail_event("delivered", watched.send()))
    watched.call("/callbacks/sendgrid", data=body, headers=KEY.headers(body))

    receipts = watched.told()["queues"][2]

    assert (receipts["queue"], receipts["depth"]) == ("receipts", 1)


def test_a_release_that_is_too_slow_says_so(watched):
    watched.services.pauses.resume(Scope.ORGANISATION, "acme", per_second=1, **WHO)
    (release,) = watched.services.pauses.releases()
    told = orjson.dumps([*orjson.loads(release.serialised)[:4], 100, 7]).decode()
    watched.redis.hset(keys.RELEASES, release.key, told)

    assert watched.alerts()[0].startswith(
        "7 of the 100 resets released for organisation acme expire"
    )


def test_the_call_tells_the_same_to_those_who_see_the_installation(watched):
    viewer = a_token(watched.services, instance=("IAM_OWNER_VIEWER",))
    path = {"path": "/keyturn/v1/status", "method": "GET"}

    told = watched.call(**path, headers=watched.headers(viewer))
    refused = watched.call(**path, headers=watched.headers())

    assert set(told.get_json()) == set(watched.told())
    assert problem(refused) == (403, 7, "AUTH-5mWD2")


def test_the_call_has_the_fields_that_are_described(watched):
    told = watched.told()
    document = watched.call("/openapi.json", method="GET").get_json()

    described = {
        name: each.get("properties") for name, each in document["components"]["schemas"].items()
    }
    assert set(told) == set(described["Status"])
    assert set(told["queues"][0]) == set(described["QueueStatus"])
    assert set(told["providers"][0]) == set(described["ProviderStatus"])


@pytest.mark.real_server
def test_many_waiting_resets_are_told_of_as_fast_as_none(real_client):
    watched = Watched(real_client)
    seconds_for_none = seconds_to_tell(watched)
    for tag in keys.TAGS:
        fill = """for i = 1, tonumber(ARGV[1]) do
            redis.call('ZADD', KEYS[1], 4000000000000 + i, ARGV[2] .. i) end"""
        for part in range(10):
            real_client.eval(fill, 1, keys.due(tag, Queue.URGENT), 320, f"{part}x")

    assert watched.told()["due"]["urgent"] == 204_800
    assert seconds_to_tell(watched) < 10 * seconds_for_none


def seconds_to_tell(watched):
    return min(timeit.repeat(watched.told, number=1, repeat=5))


def a_failing_subscriber(watched, outcome=WebhookOutcome.RETRY):
    _, made = watched.services.subscriptions.add("acme", "https://hooks.example.com/", EVENTS)
    reset_id = watched.send()
    hook, webhooks = made.subscription_id, watched.services.webhooks
    webhook = webhooks.claim(hook, keys.tag_of(reset_id))
    webhooks.finish(webhook, outcome, answer="http_500", delay_seconds=60)
    return hook, reset_id


def test_a_subscriber_that_takes_nothing_is_named(watched):
    hook, reset_id = a_failing_subscriber(watched)

    (alert,) = watched.alerts()

    assert alert.startswith(f"The subscriber {hook} of acme took no webhook at ")
    assert "(it answers with HTTP 500, try 1 of reset.accepted); 1 wait: " in alert
    assert alert.endswith(f"`keyturn webhook show {hook}`.")
    due = keys.webhooks_due(keys.tag_of(reset_id), hook)
    watched.redis.zadd(due, {watched.redis.zrange(due, 0, 0)[0]: 0})
    webhook = watched.services.webhooks.claim(hook, keys.tag_of(reset_id))
    watched.services.webhooks.finish(webhook, WebhookOutcome.DELIVERED, answer="http_204")
    assert watched.alerts() == []


def test_webhooks_that_were_given_up_are_named_until_they_are_replayed(watched):
    hook, reset_id = a_failing_subscriber(watched, WebhookOutcome.DEAD)
    watched.redis.delete(keys.webhook_answers(keys.tag_of(reset_id), hook))  # days ago

    (alert,) = watched.alerts()

    assert alert.endswith(f"1 given up: `keyturn webhook replay {hook}`.")


def test_a_subscriber_that_answered_410_is_named(watched):
    hook, _ = a_failing_subscriber(watched)
    watched.services.subscriptions.switch(
        watched.services.subscriptions.find(hook), disabled="gone"
    )

    (alert,) = watched.alerts()

    assert "gets nothing since it answered 410; 1 wait" in alert
    assert alert.endswith(f"`keyturn webhook enable {hook}`.")


def test_what_waits_for_paused_providers_goes_once_one_is_resumed(client):
    watched = Watched(client, email_providers=("sendgrid", "smtp"))
    for name in ("sendgrid", "smtp"):
        watched.services.pauses.pause(Scope.PROVIDER, name, **WHO)

    (alert,) = watched.alerts()

    assert "by itself" not in alert
    assert alert.endswith(
        "What waits goes once one is resumed: `keyturn provider resume sendgrid --reason …` or "
        "`keyturn provider resume smtp --reason …`."
    )


def test_what_waits_goes_by_itself_once_the_one_that_is_not_paused_works(client):
    watched = Watched(client, email_providers=("sendgrid", "smtp"))
    watched.services.pauses.pause(Scope.PROVIDER, "sendgrid", **WHO)
    watched.services.circuits.record("smtp", CallTally(bad=1, is_outage=True, reason="refused"))

    (alert,) = watched.alerts()

    assert alert.endswith(
        "What waits goes by itself once smtp works, or at once: "
        "`keyturn provider resume sendgrid --reason …`."
    )


def test_status_counts_a_batch_as_its_report_does(watched):
    batch = a_batch(watched.services, "ada", "bob")
    services = build_web_services(watched.services)
    reported = write_progress(read_progress(services, batch), services.settings)

    (told,) = watched.told()["batches"]

    assert told["sentence"] == reported["sentence"] == "running, 0 of 2 done"
    assert told["done"] == reported["total"] - reported["waiting"] - reported["queued"]
