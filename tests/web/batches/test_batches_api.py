"""Batches by REST: planned, started, watched, paused, cancelled, and what became of everybody."""

from __future__ import annotations

import json

import pytest

from shared.models import Channel, Outcome, Queue, Status
from shared.store.resets import Finish
from tests.support.builders import a_token, a_user, an_organisation
from tests.support.delivery_services import a_renderer
from tests.support.wire import Wire, problem
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder
from worker.delivery import Delivery

PATH = "/keyturn/v1/batches"


@pytest.fixture
def wire(client):
    return Wire(client, sms_prices=(("CH", 0.07),), sms_currency="CHF")


def make(wire, path=PATH, **body):
    token = body.pop("token", None)
    headers = wire.headers(token, **body.pop("headers", {}))
    return wire.call(path, data=json.dumps(body), headers=headers)


def upload(wire, data, *, query="", kind="application/x-ndjson", token=None):
    headers = wire.headers(token, Content_Type=kind)
    return wire.call(f"{PATH}{query}", data=data, headers=headers)


def batch_of(response):
    assert response.status_code == 202, response.get_data(as_text=True)
    return response.get_json()["batchId"]


def show(wire, batch_id, token=None):
    response = wire.call(f"{PATH}/{batch_id}", method="GET", headers=wire.headers(token))
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def change(wire, batch_id, verb, reason="because"):
    return make(wire, f"{PATH}/{batch_id}/_{verb}", reason=reason)


def results(wire, batch_id):
    response = wire.call(f"{PATH}/{batch_id}/results", method="GET", headers=wire.headers())
    assert response.mimetype == "application/x-ndjson"
    return [json.loads(line) for line in response.get_data(as_text=True).splitlines()]


def work(wire, batch_id):
    """What a bulk worker does with it."""
    services = wire.services
    BatchFeeder(services, Estimate(services, a_renderer(services.settings))).feed(batch_id)


def send(wire, user_id, batch_id, status=Status.ACCEPTED, reason=""):
    """What a worker does with one of its resets."""
    resets = wire.services.resets
    claim = resets.claim(wire.services.batch_resets.reset_id(user_id, batch_id))
    resets.mark_sending(claim, provider="outbox", recipient_digest="d")
    outcome = Outcome.ACCEPTED if status is Status.ACCEPTED else Outcome.PERMANENT
    finish = Finish(status=status, reason=reason, outcome=outcome, provider="outbox")
    assert resets.finish(claim, finish)


def people(wire, *user_ids, **fields):
    return [a_user(wire.services, u, email=f"{u}@example.com", **fields) for u in user_ids]


def audited(wire):
    return [
        (e.act.action, e.act.target, e.act.reason)
        for e in wire.services.audit.newest()
        if e.outcome == "done"
    ]


@pytest.mark.topology
def test_a_list_becomes_a_batch(wire):
    response = make(wire, userIds=people(wire, "eve", "bob"), reason="the outage")

    batch_id = batch_of(response)
    assert response.get_json() == {"batchId": batch_id, "total": 2}
    assert show(wire, batch_id) == show(wire, batch_id) | {
        "state": "running", "sentence": "running, 0 of 2 done", "type": "TYPE_EMAIL",
        "reason": "the outage", "total": 2, "waiting": 2, "queued": 0, "failed": 0, "plan": None,
    }  # fmt: skip


def test_a_worker_is_hinted_at_a_new_batch(wire):
    batch_id = batch_of(make(wire, userIds=["ada"]))

    (hint,) = wire.hints.published
    assert (hint.about, hint.task, hint.queue) == (batch_id, "keyturn.feed_batch", Queue.BULK)


@pytest.mark.topology
def test_the_figures_of_a_batch_follow_its_resets(wire):
    batch_id = batch_of(make(wire, userIds=[*people(wire, "eve", "bob"), "ada", "nobody"]))

    work(wire, batch_id)
    send(wire, "eve", batch_id)
    send(wire, "bob", batch_id, Status.FAILED, "refused")
    told = show(wire, batch_id)

    assert told["sentence"] == "running, 3 of 4 done with 1 failure: 1 failed: refused"
    assert (told["queued"], told["accepted"], told["failed"], told["skipped"]) == (1, 1, 1, 1)
    assert told["failures"] == {"failed: refused": 1}
    assert told["skips"] == {"unknown_user": 1}


def test_a_batch_with_failures_never_ends_without_saying_so(wire):
    batch_id = batch_of(make(wire, userIds=people(wire, "eve", "bob")))
    work(wire, batch_id)
    send(wire, "eve", batch_id)
    send(wire, "bob", batch_id, Status.FAILED, "refused")

    told = show(wire, batch_id)

    assert told["state"] == "finished"
    assert told["sentence"] == "finished with 1 failure: 1 failed: refused"


def test_a_batch_without_failures_is_finished(wire):
    batch_id = batch_of(make(wire, userIds=["ada"]))
    work(wire, batch_id)
    send(wire, "ada", batch_id)

    assert show(wire, batch_id)["sentence"] == "finished"


@pytest.mark.topology
def test_everybody_of_a_batch_has_a_result(wire):
    people(wire, "eve", "bob")
    batch_id = batch_of(make(wire, userIds=["eve", "bob", "nobody", "eve"]))
    before = results(wire, batch_id)
    work(wire, batch_id)
    send(wire, "bob", batch_id, Status.FAILED, "refused")

    after = results(wire, batch_id)

    eve, bob = (wire.services.batch_resets.reset_id(u, batch_id) for u in ("eve", "bob"))
    assert {each["status"] for each in before} == {"waiting"}
    assert after == [
        {"userId": "eve", "resetId": eve, "status": "queued", "reason": None},
        {"userId": "bob", "resetId": bob, "status": "failed", "reason": "refused"},
        {"userId": "nobody", "resetId": None, "status": "skipped", "reason": "unknown_user"},
        {"userId": "eve", "resetId": None, "status": "skipped", "reason": "duplicate"},
    ]
    assert wire.show(bob).get_json()["batchId"] == batch_id


def test_results_of_many_lists_come_in_order(wire):
    user_ids = [f"user-{number}" for number in range(1100)]
    batch_id = batch_of(upload(wire, "\n".join(user_ids)))

    assert [each["userId"] for each in results(wire, batch_id)] == user_ids


def test_user_cool_downs_do_not_hold_a_batch_back(client):
    wire = Wire(client, user_cooldown_seconds=60.0, user_limit_per_hour=1)
    first = wire.reset().headers["Keyturn-Reset-Id"]
    claim = wire.services.resets.claim(first)
    wire.services.resets.mark_sending(claim, provider="outbox", recipient_digest="d")
    finish = Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED, provider="outbox")
    wire.services.resets.finish(claim, finish)
    refused = wire.reset().status_code

    batch_id = batch_of(make(wire, userIds=["ada"]))
    work(wire, batch_id)

    assert refused == 429
    assert [each["status"] for each in results(wire, batch_id)] == ["queued"]


def test_sms_are_sent_when_the_type_says_so(wire):
    batch_id = batch_of(make(wire, userIds=["ada"], type="TYPE_SMS"))
    work(wire, batch_id)

    (result,) = results(wire, batch_id)

    assert wire.services.resets.find(result["resetId"]).channel is Channel.SMS


def test_a_plan_answers_its_counts(wire):
    people(wire, "eve", language="de")
    planned = make(wire, userIds=["eve", "ada", "nobody"], dryRun=True, type="TYPE_SMS")
    plan_id = planned.get_json()["planId"]
    work(wire, plan_id)

    told = show(wire, plan_id)

    assert planned.status_code == 202
    assert planned.get_json()["state"] == "planning"
    assert told["state"] == "planned"
    assert told["plan"] == {
        "total": 3, "send": 2, "organisations": {"acme": 2}, "languages": {"de": 1, "en": 1},
        "channels": {"sms": 2}, "skipped": 1, "skips": {"unknown_user": 1},
        "sms": {"segments": 2, "countries": {"CH": 2}, "cost": 0.14, "currency": "CHF",
                "unpriced": 0},
    }  # fmt: skip
    assert wire.records() == []


def test_a_plan_is_answered_with_its_counts_when_a_worker_is_quick(wire, monkeypatch):
    wire.services.dues.heartbeat("bulk of the test")
    monkeypatch.setattr(wire.hints, "publish", lambda hint: work(wire, hint.about))

    told = make(wire, userIds=["ada"], dryRun=True).get_json()

    assert (told["state"], told["plan"]["send"]) == ("planned", 1)


@pytest.mark.topology
def test_a_plan_is_started_with_its_selection(wire):
    plan_id = batch_of(make(wire, userIds=people(wire, "eve", "bob"), dryRun=True))
    work(wire, plan_id)

    first, second = make(wire, planId=plan_id), make(wire, planId=plan_id)
    work(wire, plan_id)

    assert first.get_json() == second.get_json() == {"batchId": plan_id, "total": 2}
    assert len(wire.records()) == 2
    assert [each[0] for each in audited(wire)] == ["batch.start", "batch.plan"]


@pytest.mark.topology
def test_the_same_key_is_the_same_batch(wire):
    key = {"headers": {"Idempotency_Key": "k1"}}
    people(wire, "eve")

    ids = {batch_of(make(wire, userIds=["ada", "eve"], **key)) for _ in range(3)}
    for batch_id in ids:
        work(wire, batch_id)

    assert len(ids) == 1
    assert len(wire.records()) == 2
    assert len(wire.redis.keys("kt:list:*")) == 1


def test_a_key_of_another_caller_is_another_batch(wire):
    key = {"headers": {"Idempotency_Key": "k1"}}
    other = a_token(wire.services, "ORG_OWNER")

    ids = {
        batch_of(make(wire, userIds=["ada"], **key)),
        batch_of(make(wire, userIds=["ada"], token=other, **key)),
    }

    assert len(ids) == 2


def test_users_of_other_organisations_are_skipped(wire):
    people(wire, "bob", orgId="beta")
    batch_id = batch_of(make(wire, userIds=["ada", "bob"]))

    work(wire, batch_id)

    assert show(wire, batch_id)["skips"] == {"unknown_user": 1}


def test_a_caller_of_many_organisations_writes_to_all_of_them(wire):
    people(wire, "bob", orgId="beta")
    token = a_token(wire.services, "ORG_OWNER", memberships={"beta": ("ORG_OWNER",)})
    batch_id = batch_of(make(wire, userIds=["ada", "bob"], token=token))

    work(wire, batch_id)

    assert show(wire, batch_id, token)["skips"] == {}


def test_a_filter_selects_past_resets(wire):
    people(wire, "eve", "bob")
    for user_id in ("ada", "eve", "bob"):
        reset_id = wire.reset(user_id).headers["Keyturn-Reset-Id"]
        if user_id != "bob":
            claim = wire.services.resets.claim(reset_id)
            wire.services.resets.mark_sending(claim, provider="outbox", recipient_digest="d")
            finish = Finish(
                status=Status.FAILED, reason="refused", outcome=Outcome.PERMANENT, provider="outbox"
            )
            wire.services.resets.finish(claim, finish)
    select = {"status": "failed", "provider": "outbox", "channel": "email", "orgId": "acme"}

    batch_id = batch_of(make(wire, select=select | {"since": "2020-01-01T00:00:00Z"}))
    work(wire, batch_id)

    told = [(each["userId"], each["status"]) for each in results(wire, batch_id)]
    assert sorted(told) == [("ada", "queued"), ("eve", "queued")]


def test_a_filter_leaves_out_whoever_the_caller_may_not_write_to(wire):
    people(wire, "bob", orgId="beta")
    owner = a_token(wire.services, "ORG_OWNER", org_id="beta")
    reset_id = wire.reset("bob", token=owner).headers["Keyturn-Reset-Id"]
    claim = wire.services.resets.claim(reset_id)
    wire.services.resets.finish(claim, Finish(status=Status.FAILED, reason="refused"))

    mine, theirs = make(wire, select={}), make(wire, select={}, token=owner)

    assert mine.status_code == 400
    assert theirs.get_json()["total"] == 1


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/plain"])
def test_a_file_is_read_line_by_line(wire, kind):
    lines = '\ufeffada\r\n{"userId":"eve"}\n\n"bob"\n'

    response = upload(wire, lines, kind=kind, query="?type=TYPE_SMS&ratePerSecond=5&reason=x")

    batch_id = batch_of(response)
    told = show(wire, batch_id)
    assert [each["userId"] for each in results(wire, batch_id)] == ["ada", "eve", "bob"]
    assert (told["type"], told["ratePerSecond"], told["reason"]) == ("TYPE_SMS", 5.0, "x")


def test_a_file_is_planned_when_its_query_says_so(wire):
    plan = upload(wire, "ada\n", query="?dryRun=true").get_json()

    assert plan["planId"] == plan["batchId"]


@pytest.mark.parametrize(
    ("verbs", "state"),
    [
        (("pause",), "paused"),
        (("pause", "pause"), "paused"),
        (("pause", "resume"), "running"),
        (("cancel",), "cancelled"),
        (("cancel", "cancel"), "cancelled"),
    ],
)
def test_a_batch_is_paused_resumed_and_cancelled(wire, verbs, state):
    batch_id = batch_of(make(wire, userIds=["ada"]))

    answers = [change(wire, batch_id, verb) for verb in verbs]

    assert [each.status_code for each in answers] == [200] * len(verbs)
    assert answers[-1].get_json()["state"] == state
    told = dict.fromkeys(verbs)
    expected = [("batch.start", batch_id, "")] + [(f"batch.{v}", batch_id, "because") for v in told]
    assert audited(wire)[::-1] == expected


def test_those_a_cancelled_batch_never_reached_are_told_as_cancelled(wire):
    batch_id = batch_of(make(wire, userIds=["ada"]))
    change(wire, batch_id, "cancel")

    assert results(wire, batch_id) == [
        {"userId": "ada", "resetId": None, "status": "cancelled", "reason": "batch_cancelled"}
    ]


@pytest.mark.parametrize(
    ("verb", "words", "step"),
    [
        ("pause", "its batch is paused", "keyturn batch resume"),
        ("cancel", "its batch was cancelled before it was sent", "keyturn audit"),
    ],
)
def test_a_reset_that_its_batch_keeps_back_is_explained(wire, verb, words, step):
    batch_id = batch_of(make(wire, userIds=["ada"]))
    work(wire, batch_id)
    change(wire, batch_id, verb)
    reset_id = wire.services.batch_resets.reset_id("ada", batch_id)
    providers = {channel: [] for channel in Channel}
    renderer = a_renderer(wire.services.settings)
    Delivery(wire.services, providers, renderer).deliver(reset_id)

    path = f"/keyturn/v1/resets/{reset_id}/explanation"
    told = wire.call(path, method="GET", headers=wire.headers()).get_json()

    assert words in told["verdict"]
    assert step in told["next"]


def test_a_cancelled_batch_ends_and_nothing_of_it_waits(wire):
    batch_id = batch_of(make(wire, userIds=people(wire, "eve", "bob")))
    change(wire, batch_id, "cancel")

    told = show(wire, batch_id)

    assert told["finishedAt"]
    assert (told["waiting"], told["queued"], told["cancelled"]) == (0, 0, 2)
    assert [each["status"] for each in results(wire, batch_id)] == ["cancelled"] * 2


def test_a_cancelled_batch_ends_once_all_its_resets_were_taken_back(wire):
    batch_id = batch_of(make(wire, userIds=people(wire, "eve")))
    work(wire, batch_id)
    before = change(wire, batch_id, "cancel").get_json()
    claim = wire.services.resets.claim(wire.services.batch_resets.reset_id("eve", batch_id))
    finish = Finish(status=Status.CANCELLED, reason="batch_cancelled")
    wire.services.resets.finish(claim, finish)

    after = show(wire, batch_id)

    assert (before["finishedAt"], before["queued"], before["cancelled"]) == (None, 1, 0)
    assert after["finishedAt"]
    assert (after["waiting"], after["queued"], after["cancelled"]) == (0, 0, 1)


def test_a_plan_that_was_cancelled_sent_nothing(wire):
    batch_id = batch_of(make(wire, userIds=people(wire, "eve", "bob"), dryRun=True))
    work(wire, batch_id)
    change(wire, batch_id, "cancel")

    told = show(wire, batch_id)

    assert (told["waiting"], told["cancelled"], told["accepted"]) == (0, 2, 0)
    assert {each["status"] for each in results(wire, batch_id)} == {"cancelled"}


def listed(wire, query="", token=None):
    response = wire.call(f"{PATH}{query}", method="GET", headers=wire.headers(token))
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def test_batches_are_listed_newest_first_page_by_page(wire):
    ids = [batch_of(make(wire, userIds=["ada"], reason=f"number {n}")) for n in range(3)]

    first = listed(wire, "?limit=2")
    rest = listed(wire, f"?limit=2&pageToken={first['nextPageToken']}")

    shown = [each["batchId"] for page in (first, rest) for each in page["batches"]]
    assert sorted(shown) == sorted(ids)
    assert len(first["batches"]) == 2
    assert rest["nextPageToken"] is None
    assert first["batches"][0] == show(wire, shown[0])


def test_only_batches_the_caller_may_see_are_listed(wire):
    batch_of(make(wire, userIds=["ada"]))
    an_organisation(wire.services, "globex")
    stranger = a_token(wire.services, "ORG_OWNER", org_id="globex")

    assert listed(wire, token=stranger) == {"batches": [], "nextPageToken": None}


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?pageToken=x", "?state=running"])
def test_a_list_that_cannot_be_understood_is_refused(wire, query):
    response = wire.call(f"{PATH}{query}", method="GET", headers=wire.headers())

    assert problem(response)[:2] == (400, 3)


def test_a_page_behind_a_batch_that_is_no_longer_kept_is_empty(wire):
    batch_of(make(wire, userIds=["ada"]))

    assert listed(wire, f"?pageToken={'0' * 16}") == {"batches": [], "nextPageToken": None}
