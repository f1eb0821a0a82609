"""Many resets in one call: each fares as it would alone, and nobody pays for another."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest

from shared.errors import (
    AccountProviderError,
    DirectoryUnavailableError,
    DoubtfulProviderError,
    StoreUnavailableError,
    TransientProviderError,
)
from shared.models import Channel, Kind, Outcome, Queue, Recipient, Status
from shared.providers.sendgrid import SendGrid
from shared.queue import Task
from shared.store import keys
from shared.store.admin.pauses import Scope
from tests.support.builders import a_user, an_organisation
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.provider_stub_mail import NAMED, UNNAMED


@pytest.fixture
def stub():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def open_worker(client, stub):
    """Makes workers whose first provider is SendGrid at the stub; `more` come behind it."""
    made = []

    def make(*more, kind=SendGrid, **settings):
        fields = {"email_providers": ("sendgrid",), "sendgrid_api_key": "SG.x"}
        worker = some_delivery_services(
            client, *more, **fields | {"sendgrid_api_url": stub.url} | settings
        )
        made.append(kind(worker.services.settings))
        by_channel = {Channel.EMAIL: [made[-1], *more], Channel.SMS: []}
        return replace(worker, providers=by_channel)

    yield make
    for provider in made:
        provider.close()


@pytest.fixture
def worker(open_worker):
    return open_worker()


def people(worker, number, *, domain="@example.com", **fields):
    """So many users, each with a reset in the bulk queue."""
    ids = []
    for n in range(number):
        user_id = f"u{n}{domain}"
        a_user(worker.services, user_id, email=f"u{n}{domain}", displayName=f"Person {n}", **fields)
        ids.append(worker.record(user_id, queue=Queue.BULK))
    return ids


def deliver(worker, ids):
    return worker.bulk_delivery().deliver(ids)


def again(worker, ids):
    for reset_id in ids:
        if worker.stores.due_at(reset_id, Queue.BULK) is not None:
            worker.stores.make_due(reset_id, Queue.BULK)
    return deliver(worker, ids)


def statuses(worker, ids):
    return [worker.look(reset_id).status for reset_id in ids]


def taken(stub):
    return [entry["resetId"] for entry in stub.taken]


def hinted(worker):
    return [(hint.about, hint.task) for hint in worker.services.hints.published]


def test_all_go_out_in_one_call(worker, stub, logs):
    ids = people(worker, 25)

    assert deliver(worker, ids) == 25

    assert len(stub.requests) == 1
    assert sorted(taken(stub)) == sorted(ids)
    assert statuses(worker, ids) == [Status.ACCEPTED] * 25
    (attempt,) = worker.look(ids[7]).attempts
    assert (attempt.provider, attempt.outcome) == ("sendgrid", Outcome.ACCEPTED)
    assert attempt.provider_message_id == stub.taken[0]["id"]
    assert worker.stores.due_at(ids[7], Queue.BULK) is None
    assert worker.stores.census() == worker.stores.counted_now()
    assert next(line for line in logs if line["event"] == "circular.sent")["recipients"] == 25


def test_where_asked_for_one_without_others_is_told_to_go_alone(worker, stub):
    ids = people(worker, 3)
    a_user(worker.services, "gerda", email="gerda@example.com")
    ids.append(worker.record("gerda", queue=Queue.BULK, language="de"))
    alone = []

    worker.bulk_delivery().deliver(ids, alone.append)

    assert sorted(taken(stub)) == sorted(ids[:3])
    assert [reset.reset_id for reset in alone] == ids[3:]
    assert worker.stores.due_at(ids[3], Queue.BULK) is not None
    assert not hinted(worker)


def test_a_second_hint_sends_nothing(worker, stub):
    ids = people(worker, 3)
    deliver(worker, ids)

    assert deliver(worker, ids) == 0
    assert len(stub.taken) == 3


def test_each_gets_the_mail_of_one_alone(worker, stub):
    ids = people(worker, 3)
    single = worker.record("u1@example.com", channel=Channel.EMAIL)
    stub.taken.clear()

    deliver(worker, [ids[0], ids[2]])
    worker.deliver(single)

    alone, together = stub.taken[-1]["mail"], stub.taken[0]["mail"]
    assert set(alone["headers"]) == set(together["headers"])
    for mail in (alone, together):
        assert "Person" in mail["content"][0]["value"]
        assert mail["tracking_settings"]["click_tracking"] == {
            "enable": False,
            "enable_text": False,
        }


def test_languages_and_organisations_do_not_mix(worker, stub):
    an_organisation(worker.services, "bern", name="Bern")
    ids = []
    for n, (org, language) in enumerate(
        [("acme", "en"), ("acme", "de"), ("bern", "de-CH"), ("bern", "de"), ("acme", "en")]
    ):
        a_user(worker.services, f"v{n}", email=f"v{n}@example.com", orgId=org)
        ids.append(worker.record(f"v{n}", queue=Queue.BULK, org_id=org, language=language))

    deliver(worker, ids)

    told = {e["resetId"]: (e["mail"]["subject"], e["recipients"]) for e in stub.taken}
    translate = worker.services.languages.translate
    english, german, bernese = (
        (translate(language, "reset.subject", organisation=name), number)
        for language, name, number in (("en", "Acme", 2), ("de", "Acme", 1), ("de", "Bern", 2))
    )
    assert [told[each] for each in ids] == [english, german, bernese, bernese, english]


def test_a_bulk_email_is_no_larger_than_the_provider_takes(open_worker, stub):
    class Narrow(SendGrid):
        max_recipients = 4

    worker = open_worker(kind=Narrow)
    ids = people(worker, 10)

    deliver(worker, ids)

    assert Counter(entry["recipients"] for entry in stub.taken) == {4: 8, 2: 2}
    assert sorted(taken(stub)) == sorted(ids)


def test_one_bad_address_costs_only_itself(worker, stub):
    ids = people(worker, 20)
    (bad,) = people(worker, 1, domain=NAMED)

    deliver(worker, [*ids[:9], bad, *ids[9:]])

    assert statuses(worker, ids) == [Status.ACCEPTED] * 20
    lost = worker.look(bad)
    assert (lost.status, lost.reason) == (Status.FAILED, "http_400")
    assert len(stub.requests) == 2
    assert sorted(taken(stub)) == sorted(ids)


def test_one_that_is_not_named_is_found_by_halves(worker, stub):
    ids = people(worker, 20)
    (bad,) = people(worker, 1, domain=UNNAMED)

    deliver(worker, [*ids[:9], bad, *ids[9:]])

    assert statuses(worker, ids) == [Status.ACCEPTED] * 20
    assert worker.look(bad).status is Status.FAILED
    assert sorted(taken(stub)) == sorted(ids)
    assert len(stub.requests) <= 11


def test_who_shares_an_address_gets_a_request_of_their_own(worker, stub):
    ids = people(worker, 3)
    a_user(worker.services, "twin", email="u1@example.com")
    twin = worker.record("twin", queue=Queue.BULK)

    deliver(worker, [*ids, twin])

    assert statuses(worker, [*ids, twin]) == [Status.ACCEPTED] * 4
    assert [entry["recipients"] for entry in stub.taken] == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("answer", "status", "outcome"),
    [
        (Answer(429), Status.RETRYING, Outcome.TRANSIENT),
        (Answer(503), Status.RETRYING, Outcome.TRANSIENT),
        (Answer(401), Status.RETRYING, Outcome.ACCOUNT),
        (Answer(502), Status.UNKNOWN, Outcome.DOUBT),
        (Answer(how="cut"), Status.UNKNOWN, Outcome.DOUBT),
    ],
    ids=["429", "503", "401", "502", "cut"],
)
def test_an_answer_holds_for_all(worker, stub, answer, status, outcome):
    ids = people(worker, 5)
    stub.answers(answer)

    deliver(worker, ids)

    assert statuses(worker, ids) == [status] * 5
    assert {worker.outcomes(each)[0] for each in ids} == {outcome}
    assert stub.taken == []

    again(worker, ids)

    assert statuses(worker, ids) == [Status.ACCEPTED] * 5
    assert [entry["recipients"] for entry in stub.taken] == [5] * 5


def test_doubt_costs_one_copy_more_with_the_same_code(worker, stub):
    ids = people(worker, 4)
    stub.answers(Answer(how="cut", takes=True))
    deliver(worker, ids)

    again(worker, ids)

    assert Counter(taken(stub)) == dict.fromkeys(ids, 2)
    for reset_id in ids:
        mails = [entry["mail"] for entry in stub.taken if entry["resetId"] == reset_id]
        assert len({mail["content"][0]["value"] for mail in mails}) == 1
        assert len({mail["content"][1]["value"] for mail in mails}) == 1
        assert len({mail["headers"]["Message-ID"] for mail in mails}) == 1
    assert statuses(worker, ids) == [Status.ACCEPTED] * 4


def test_an_urgent_reset_in_doubt_goes_alone(worker, stub):
    urgent = [worker.record(user_id) for user_id in ("ada", "bob")]
    for user_id in ("ada", "bob"):
        a_user(worker.services, user_id, email=f"{user_id}@example.com")
    stub.answers(Answer(how="cut", takes=True))
    deliver(worker, urgent)
    for reset_id in urgent:
        worker.stores.make_due(reset_id)

    deliver(worker, urgent)

    assert Counter(taken(stub)) == dict.fromkeys(urgent, 1)
    assert statuses(worker, urgent) == [Status.UNKNOWN] * 2
    assert {about for about, _ in hinted(worker)} == set(urgent)


def test_doubt_is_held_where_the_channel_holds_it(open_worker, stub):
    worker = open_worker(email_on_doubt="hold")
    ids = people(worker, 4)
    stub.answers(Answer(how="cut", takes=True))
    deliver(worker, ids)

    again(worker, ids)

    assert Counter(taken(stub)) == dict.fromkeys(ids, 1)
    assert statuses(worker, ids) == [Status.UNKNOWN] * 4
    assert {worker.look(each).reason for each in ids} == {"in_doubt_held"}


def test_who_may_not_be_written_to_is_left_out(worker, stub):
    good, suppressed, locked, gone, nowhere = ids = people(worker, 5)
    worker.services.suppressions.add(
        Recipient(Channel.EMAIL, "u1@example.com"), reason="bounce", source="p"
    )
    a_user(worker.services, "u2@example.com", state="locked")
    worker.stores.client.delete(keys.directory_user("u3@example.com"))
    a_user(worker.services, "u4@example.com", email="u4@example.com", emailVerified=False)

    deliver(worker, ids)

    assert [(worker.look(each).status, worker.look(each).reason) for each in ids] == [
        (Status.ACCEPTED, None),
        (Status.SUPPRESSED, "bounce"),
        (Status.CANCELLED, "user_locked"),
        (Status.CANCELLED, "user_gone"),
        (Status.FAILED, "no_recipient"),
    ]
    assert taken(stub) == [good]
    assert {suppressed, locked, gone, nowhere}.isdisjoint(taken(stub))


def test_a_code_voided_after_the_claim_does_not_go_out(worker, stub):
    ids = people(worker, 3)

    class Voiding:
        def __init__(self, directory):
            self._directory = directory

        def find_users(self, user_ids):
            worker.stores.client.hset(keys.reset(ids[1]), "v", "voided")
            return self._directory.find_users(user_ids)

    voided = worker.with_services(directory=Voiding(worker.services.directory))
    deliver(voided, ids)

    assert sorted(taken(stub)) == sorted([ids[0], ids[2]])
    assert worker.look(ids[1]).status is Status.QUEUED  # the next look cancels it


def test_a_pause_holds_all(worker, stub):
    ids = people(worker, 3)
    worker.services.pauses.pause(Scope.QUEUE, "bulk", by="op", reason="because")

    deliver(worker, ids)

    assert stub.requests == []
    assert {worker.look(each).reason for each in ids} == {"paused_queue"}


def test_a_directory_that_is_away_is_said_once(worker, stub, logs):
    class Away:
        def find_users(self, user_ids):
            raise DirectoryUnavailableError

    ids = people(worker, 3)
    deliver(worker.with_services(directory=Away()), ids)

    assert {worker.look(each).reason for each in ids} == {"directory_unavailable"}
    assert [line["event"] for line in logs].count("directory.unavailable") == 1


def test_what_no_bulk_email_can_hold_goes_out_alone(worker, stub):
    notice = worker.record("ada", queue=Queue.BULK, kind=Kind.NOTICE)
    people(worker, 1)
    template = "https://reset.example.com/" + "x" * 9000
    large = worker.record("u0@example.com", queue=Queue.BULK, extra={"tp": template})

    deliver(worker, [notice, large])

    assert hinted(worker)[0] == (notice, Task.SEND_EMAIL)
    for reset_id in (notice, large):
        worker.deliver(reset_id)
    assert sorted(taken(stub)[-2:]) == sorted([notice, large])


def test_a_provider_of_single_mails_gets_single_mails(open_worker, stub):
    relay = ScriptedProvider(name="relay")
    worker = open_worker(relay)
    ids = people(worker, 3)
    stub.answers(Answer(401))
    deliver(worker, ids)

    again(worker, ids)  # our account's trouble moves on to the relay, which takes one at a time
    for about, _ in hinted(worker)[-3:]:
        worker.deliver(about)

    assert [task for _, task in hinted(worker)[-3:]] == [Task.SEND_EMAIL] * 3
    assert len(relay.messages) == 3
    assert statuses(worker, ids) == [Status.ACCEPTED] * 3


def test_an_error_of_ours_parts_those_it_befell(worker, stub, logs):
    class Broken:
        def language(self, reset):
            return "en"

        def render(self, language, organisation, items):
            raise ZeroDivisionError

    ids = people(worker, 3)
    with pytest.raises(ZeroDivisionError):
        worker.bulk_delivery(Broken()).deliver(ids)

    assert [about for about, _ in hinted(worker)] == ids
    for reset_id in ids:
        worker.deliver(reset_id)
    assert statuses(worker, ids) == [Status.ACCEPTED] * 3


def test_a_provider_that_breaks_leaves_doubt(worker, stub):
    class Breaking(ScriptedProvider):
        max_recipients = 1000

        def send_bulk(self, bulk_email):
            raise ZeroDivisionError

    ids = people(worker, 2)
    broken = replace(worker, providers={Channel.EMAIL: [Breaking()], Channel.SMS: []})
    with pytest.raises(ZeroDivisionError):
        deliver(broken, ids)

    assert statuses(worker, ids) == [Status.SENDING] * 2
    again(worker, ids)
    assert {worker.outcomes(each)[0] for each in ids} == {Outcome.DOUBT}


def test_a_worker_that_stood_still_after_its_marks_does_not_call(worker, stub):
    ids = people(worker, 2)
    resets = worker.services.resets

    class StandsStill:
        def __getattr__(self, name):
            return getattr(resets, name)

        def mark_sending_many(self, marks, **fields):
            numbers = resets.mark_sending_many(marks, **fields)
            for claim, _, _ in marks:
                object.__setattr__(claim, "lease_ends", time.monotonic() - 1)
            return numbers

    deliver(worker.with_services(resets=StandsStill()), ids)

    assert stub.requests == []
    assert {worker.look(each).reason for each in ids} == {"lease_over"}


@pytest.mark.real_server
@pytest.mark.parametrize("client", ["real"], indirect=True)
def test_a_recipient_costs_at_most_eight_writes(worker, client):
    """Each costs an entry in the append-only file; counted by the server itself."""
    ids = people(worker, 600)  # so that shards share what they count
    writing = client.execute_command("ACL CAT", "write")

    def writes():
        stats = client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in writing)

    before = writes()
    deliver(worker, ids)

    assert statuses(worker, ids) == [Status.ACCEPTED] * 600
    assert (writes() - before) / 600 <= 8


class Late:
    """Claims that took so long that they do not last for a call any more."""

    def __init__(self, resets):
        self.resets, self.renewed = resets, []

    def __getattr__(self, name):
        return getattr(self.resets, name)

    def claim_many(self, reset_ids):
        claims = self.resets.claim_many(reset_ids)
        return [replace(claim, lease_ends=time.monotonic() + 6) for claim in claims]

    def renew_many(self, claims):
        self.renewed = self.resets.renew_many(claims)
        return self.renewed


def test_a_lease_that_is_too_short_for_a_call_is_renewed(worker, stub):
    ids = people(worker, 2)
    late = Late(worker.services.resets)

    deliver(worker.with_services(resets=late), ids)

    assert [claim.reset.reset_id for claim in late.renewed] == ids
    assert len(stub.requests) == 1
    assert statuses(worker, ids) == [Status.ACCEPTED] * 2


def test_what_another_worker_has_meanwhile_is_not_sent(worker, stub):
    """The lease ran out while the others were claimed; a second worker took one of them."""
    ids = people(worker, 2)

    class Overtaken(Late):
        def renew_many(self, claims):
            worker.stores.make_due(ids[0], Queue.BULK)
            assert self.resets.claim(ids[0])
            return super().renew_many(claims)

    late = Overtaken(worker.services.resets)
    deliver(worker.with_services(resets=late), ids)

    assert late.renewed[0] is None
    assert [len(request.json["personalizations"]) for request in stub.requests] == [1]
    assert worker.look(ids[1]).status is Status.ACCEPTED
    assert worker.look(ids[0]).status is Status.QUEUED


def test_a_store_that_fails_before_the_call_costs_nothing(worker, stub):
    class AwayOnce:
        def __getattr__(self, name):
            return getattr(worker.services.suppressions, name)

        def find_many(self, recipients):
            raise StoreUnavailableError

    ids = people(worker, 2)
    deliver(worker.with_services(suppressions=AwayOnce()), ids)

    assert stub.requests == []
    assert {worker.look(each).reason for each in ids} == {"store_unavailable"}


@pytest.mark.parametrize(
    "error", [TransientProviderError, AccountProviderError, DoubtfulProviderError]
)
def test_an_error_means_what_it_means_for_one(worker, error):
    class Refusing(ScriptedProvider):
        max_recipients = 1000

        def send_bulk(self, bulk_email):
            return [error("r", "d")] * len(bulk_email.recipients)

    refusing = replace(worker, providers={Channel.EMAIL: [Refusing(error("r", "d"))]})
    together, alone = people(worker, 2)

    deliver(refusing, [together])
    refusing.deliver(alone)

    assert worker.look(together).status == worker.look(alone).status
    assert worker.look(together).reason == worker.look(alone).reason
    assert worker.outcomes(together) == worker.outcomes(alone)
