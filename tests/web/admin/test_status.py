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
from tests.support.builders import a_token
from tests.support.callback_builders import a_body, a_mail_event
from tests.support.delivery_services import ScriptedProvider
from tests.support.wire import problem
from tests.web.explain.test_diagnosis import KEY, Story
from web.admin.alerts import find_alerts
from web.admin.schemas import serialise_status
from web.admin.status import load_status
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
def services(client):
    return Watched(client)


def test_all_is_well_when_nothing_is_wrong(services):
    services.send()

    assert services.alerts() == []


def test_the_figures_of_the_queues_are_told(services):
    services.sample()
    services.send()
    services.ask()

    told = services.told()

    urgent = told["queues"][0]
    assert told["due"] == {"urgent": 1, "bulk": 0}
    assert urgent == urgent | {"queue": "urgent", "depth": 1, "due": 1, "workers": 1}
    assert urgent["inPerMinute"] == pytest.approx(2, rel=0.05)
    assert urgent["outPerMinute"] == pytest.approx(1, rel=0.05)
    assert told["oldestDueSeconds"] > 0
    assert told["open"] == {"queued": 1}


def test_the_figures_of_the_providers_are_told(client):
    refusing = ScriptedProvider(TransientProviderError("http_503", "out"), name="sendgrid")
    services = Watched(client, refusing, ScriptedProvider(name="twilio", channel=Channel.SMS))
    services.sample()
    services.send()
    services.send("sms")

    mail, sms = services.told()["providers"]

    assert mail == mail | {"provider": "sendgrid", "calls": 1, "errorRate": 1.0, "p95Ms": 25}
    assert sms == sms | {"provider": "twilio", "calls": 1, "errorRate": 0.0}


def test_nobody_has_counted_before_the_first_sample(services):
    told = services.told()

    assert told["queues"][0]["inPerMinute"] is None
    assert told["providers"][0]["calls"] is None


def test_no_worker_is_the_worst(services):
    services.services.dues.deregister(f"{QUEUES} w1")
    services.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    alerts = services.alerts()

    assert alerts[0].startswith("No worker of the urgent queue was seen")
    assert any("No worker of the bulk queue" in each for each in alerts)


def test_a_paused_urgent_queue_comes_before_all_the_rest(services):
    services.services.pauses.pause(Scope.CHANNEL, "sms", **WHO)
    services.services.pauses.pause(Scope.QUEUE, "urgent", **WHO)

    alerts = services.alerts()

    assert alerts[0].startswith("The urgent queue has been paused by eve since")
    assert "keyturn resume queue urgent" in alerts[0]
    assert alerts[-1].startswith("The channel sms has been paused by eve")


def test_an_old_reset_says_how_old(services):
    reset_id = services.ask()
    late = services.worker.stores.now_ms() - 42_000
    services.redis.zadd(keys.due(keys.tag_of(reset_id), Queue.URGENT), {reset_id: late})

    assert re.match(r"The oldest reset has been due for 4[2-9] s", services.alerts()[0])


def test_a_channel_without_a_way_out_is_named(services):
    services.services.pauses.pause(Scope.PROVIDER, "twilio", **WHO)

    (alert,) = services.alerts()

    assert alert.startswith("Nothing goes out by sms: twilio has been paused by eve since")


def test_the_open_circuit_of_the_only_provider_is_one_alert_with_its_reason(services):
    services.services.circuits.record(
        "sendgrid", CallTally(bad=1, is_outage=True, reason="connect_refused")
    )

    (alert,) = services.alerts()

    assert re.fullmatch(
        r"Nothing goes out by email: sendgrid has its circuit open since .* UTC"
        r" \(it refuses connections\), retry in \d+ s\. What waits goes by itself once one works\.",
        alert,
    )


def test_a_queue_that_falls_behind_is_named_before_it_is_late(services):
    services.sample(seconds_ago=60)
    reset_id = services.ask()
    late = services.worker.stores.now_ms() - 12_000
    services.redis.zadd(keys.due(keys.tag_of(reset_id), Queue.URGENT), {reset_id: late})

    (alert,) = services.alerts()

    assert alert.startswith("The urgent queue falls behind, 1 are due; in the last minute 1 came")


def test_an_open_circuit_says_why_and_until_when(client):
    services = Watched(client, email_providers=("sendgrid", "smtp"))
    services.services.circuits.record(
        "sendgrid", CallTally(bad=1, is_outage=True, reason="http_401")
    )

    (alert,) = services.alerts()

    assert alert.startswith("sendgrid has its circuit open since")
    assert "(it answers with HTTP 401)" in alert
    assert "others carry its messages" in alert
    assert services.told()["providers"][0]["circuit"] == "open"


def test_a_provider_that_fails_often_is_named(services):
    services.sample()
    shard = keys.counters(keys.TAGS[3])
    services.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 70, "p:sendgrid:transient:n": 30})

    assert services.alerts() == ["30% of 100 calls to sendgrid failed in the last five minutes."]


def test_a_provider_that_refuses_many_for_good_is_named(services):
    services.sample()
    shard = keys.counters(keys.TAGS[3])
    services.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 5, "p:sendgrid:permanent:n": 40})

    (alert,) = services.alerts()

    assert alert.startswith("sendgrid refused 89% of 45 messages for good in the last five min")


def test_a_provider_that_does_well_again_is_not_named(services):
    services.sample()
    shard = keys.counters(keys.TAGS[3])
    services.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 70, "p:sendgrid:transient:n": 30})
    services.services.circuits.record("sendgrid", CallTally(good=9))

    assert services.alerts() == []


def test_a_provider_that_reports_nothing_is_named(services):
    shard = keys.counters(keys.TAGS[3])
    services.sample(seconds_ago=300)
    services.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 40})
    services.sample()
    services.redis.hset(shard, mapping={"p:sendgrid:accepted:n": 90})

    (alert,) = services.alerts()

    assert alert.startswith("sendgrid took 40 messages more than a minute ago and reported on")


def test_reports_that_were_refused_are_told(services):
    services.sample()
    for _ in range(3):
        assert services.call("/callbacks/sendgrid", data=b"[]").status_code == 403

    (alert,) = services.alerts()

    assert alert.startswith("3 callbacks in sendgrid's name were refused")


def test_reports_that_came_are_counted(services):
    services.sample()
    services.tell_mail("delivered", services.send())

    mail, _ = services.told()["providers"]

    assert (mail["callbacks"], mail["refusedCallbacks"]) == (1, 0)
    assert mail["lastCallbackAt"] is not None


def test_reports_that_wait_are_the_depth_of_their_queue(services):
    body = a_body(a_mail_event("delivered", services.send()))
    services.call("/callbacks/sendgrid", data=body, headers=KEY.headers(body))

    receipts = services.told()["queues"][2]

    assert (receipts["queue"], receipts["depth"]) == ("receipts", 1)


def test_a_release_that_is_too_slow_says_so(services):
    services.services.pauses.resume(Scope.ORGANISATION, "acme", per_second=1, **WHO)
    (release,) = services.services.pauses.releases()
    told = orjson.dumps([*orjson.loads(release.serialised)[:4], 100, 7]).decode()
    services.redis.hset(keys.RELEASES, release.key, told)

    assert services.alerts()[0].startswith(
        "7 of the 100 resets released for organisation acme expire"
    )


def test_the_call_tells_the_same_to_those_who_see_the_installation(services):
    viewer = a_token(services.services, instance=("IAM_OWNER_VIEWER",))
    path = {"path": "/keyturn/v1/status", "method": "GET"}

    told = services.call(**path, headers=services.headers(viewer))
    refused = services.call(**path, headers=services.headers())

    assert set(told.get_json()) == set(services.told())
    assert problem(refused) == (403, 7, "AUTH-5mWD2")


def test_the_call_has_the_fields_that_are_described(services):
    told = services.told()
    document = services.call("/openapi.json", method="GET").get_json()

    described = {
        name: each.get("properties") for name, each in document["components"]["schemas"].items()
    }
    assert set(told) == set(described["Status"])
    assert set(told["queues"][0]) == set(described["QueueStatus"])
    assert set(told["providers"][0]) == set(described["ProviderStatus"])


@pytest.mark.real_server
def test_a_million_waiting_resets_are_told_of_as_fast_as_none(real_client):
    services = Watched(real_client)
    seconds_for_none = seconds_to_tell(services)
    for tag in keys.TAGS:
        fill = """for i = 1, tonumber(ARGV[1]) do
            redis.call('ZADD', KEYS[1], 4000000000000 + i, ARGV[2] .. i) end"""
        for part in range(50):
            real_client.eval(fill, 1, keys.due(tag, Queue.URGENT), 1_250, f"{part}x")

    assert services.told()["due"]["urgent"] == 1_000_000
    assert seconds_to_tell(services) < 10 * seconds_for_none


def seconds_to_tell(services):
    return min(timeit.repeat(services.told, number=1, repeat=5))
