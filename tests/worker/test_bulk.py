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
from shared.hints import Task
from shared.models import Channel, Kind, Outcome, Queue, Recipient, Status
from shared.providers.sendgrid import SendGrid
from shared.store import keys
from shared.store.pauses import Scope
from tests.builders import a_user, an_organisation
from tests.delivery_house import ScriptedProvider, a_delivery_house
from tests.provider_stub import Answer, ProviderStub
from tests.provider_stub_mail import NAMED, UNNAMED


@pytest.fixture
def stub():
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def open_house(client, stub):
    """Makes houses whose first provider is SendGrid at the stub; `more` come behind it."""
    made = []

    def make(*more, kind=SendGrid, **settings):
        facts = {"email_providers": ("sendgrid",), "sendgrid_api_key": "SG.x"}
        house = a_delivery_house(client, *more, **facts | {"sendgrid_api_url": stub.url} | settings)
        made.append(kind(house.services.settings))
        by_channel = {Channel.EMAIL: [made[-1], *more], Channel.SMS: []}
        return replace(house, providers=by_channel)

    yield make
    for provider in made:
        provider.close()


@pytest.fixture
def house(open_house):
    return open_house()


def people(house, number, *, domain="@example.com", **facts):
    """So many users, each with a reset in the bulk queue."""
    ids = []
    for n in range(number):
        user_id = f"u{n}{domain}"
        a_user(house.services, user_id, email=f"u{n}{domain}", displayName=f"Person {n}", **facts)
        ids.append(house.record(user_id, queue=Queue.BULK))
    return ids


def deliver(house, ids):
    delivery = house.delivery
    return delivery.many(house.circulars).deliver(ids)


def again(house, ids):
    for reset_id in ids:
        if house.stores.due_at(reset_id, Queue.BULK) is not None:
            house.stores.make_due(reset_id, Queue.BULK)
    return deliver(house, ids)


def statuses(house, ids):
    return [house.look(reset_id).status for reset_id in ids]


def taken(stub):
    return [entry["resetId"] for entry in stub.taken]


def hinted(house):
    return [(hint.about, hint.task) for hint in house.services.hints.published]


def test_all_go_out_in_one_call(house, stub, logs):
    ids = people(house, 25)

    assert deliver(house, ids) == 25

    assert len(stub.requests) == 1
    assert sorted(taken(stub)) == sorted(ids)
    assert statuses(house, ids) == [Status.ACCEPTED] * 25
    (attempt,) = house.look(ids[7]).attempts
    assert (attempt.provider, attempt.outcome) == ("sendgrid", Outcome.ACCEPTED)
    assert attempt.provider_message_id == stub.taken[0]["id"]
    assert house.stores.due_at(ids[7], Queue.BULK) is None
    assert house.stores.census() == house.stores.counted_now()
    assert next(line for line in logs if line["event"] == "circular.sent")["recipients"] == 25


def test_a_second_hint_sends_nothing(house, stub):
    ids = people(house, 3)
    deliver(house, ids)

    assert deliver(house, ids) == 0
    assert len(stub.taken) == 3


def test_each_gets_the_mail_of_one_alone(house, stub):
    ids = people(house, 3)
    single = house.record("u1@example.com", channel=Channel.EMAIL)
    stub.taken.clear()

    deliver(house, [ids[0], ids[2]])
    house.deliver(single)

    alone, together = stub.taken[-1]["mail"], stub.taken[0]["mail"]
    assert set(alone["headers"]) == set(together["headers"])
    for mail in (alone, together):
        assert "Person" in mail["content"][0]["value"]
        assert mail["tracking_settings"]["click_tracking"] == {
            "enable": False,
            "enable_text": False,
        }


def test_languages_and_organisations_do_not_mix(house, stub):
    an_organisation(house.services, "bern", name="Bern")
    ids = []
    for n, (org, language) in enumerate(
        [("acme", "en"), ("acme", "de"), ("bern", "de-CH"), ("bern", "de"), ("acme", "en")]
    ):
        a_user(house.services, f"v{n}", email=f"v{n}@example.com", orgId=org)
        ids.append(house.record(f"v{n}", queue=Queue.BULK, org_id=org, language=language))

    deliver(house, ids)

    told = {e["resetId"]: (e["mail"]["subject"], e["recipients"]) for e in stub.taken}
    say = house.services.languages.say
    english, german, bernese = (
        (say(language, "reset.subject", organisation=name), number)
        for language, name, number in (("en", "Acme", 2), ("de", "Acme", 1), ("de", "Bern", 2))
    )
    assert [told[each] for each in ids] == [english, german, bernese, bernese, english]


def test_a_circular_is_no_larger_than_the_provider_takes(open_house, stub):
    class Narrow(SendGrid):
        most_copies = 4

    house = open_house(kind=Narrow)
    ids = people(house, 10)

    deliver(house, ids)

    assert Counter(entry["recipients"] for entry in stub.taken) == {4: 8, 2: 2}
    assert sorted(taken(stub)) == sorted(ids)


def test_one_bad_address_costs_only_itself(house, stub):
    ids = people(house, 20)
    (bad,) = people(house, 1, domain=NAMED)

    deliver(house, [*ids[:9], bad, *ids[9:]])

    assert statuses(house, ids) == [Status.ACCEPTED] * 20
    lost = house.look(bad)
    assert (lost.status, lost.reason) == (Status.FAILED, "http_400")
    assert len(stub.requests) == 2
    assert sorted(taken(stub)) == sorted(ids)


def test_one_that_is_not_named_is_found_by_halves(house, stub):
    ids = people(house, 20)
    (bad,) = people(house, 1, domain=UNNAMED)

    deliver(house, [*ids[:9], bad, *ids[9:]])

    assert statuses(house, ids) == [Status.ACCEPTED] * 20
    assert house.look(bad).status is Status.FAILED
    assert sorted(taken(stub)) == sorted(ids)
    assert len(stub.requests) <= 11


def test_who_shares_an_address_gets_a_request_of_their_own(house, stub):
    ids = people(house, 3)
    a_user(house.services, "twin", email="u1@example.com")
    twin = house.record("twin", queue=Queue.BULK)

    deliver(house, [*ids, twin])

    assert statuses(house, [*ids, twin]) == [Status.ACCEPTED] * 4
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
def test_an_answer_holds_for_all(house, stub, answer, status, outcome):
    ids = people(house, 5)
    stub.answers(answer)

    deliver(house, ids)

    assert statuses(house, ids) == [status] * 5
    assert {house.outcomes(each)[0] for each in ids} == {outcome}
    assert stub.taken == []

    again(house, ids)

    assert statuses(house, ids) == [Status.ACCEPTED] * 5
    assert [entry["recipients"] for entry in stub.taken] == [5] * 5


def test_doubt_costs_one_copy_more_with_the_same_code(house, stub):
    ids = people(house, 4)
    stub.answers(Answer(how="cut", takes=True))
    deliver(house, ids)

    again(house, ids)

    assert Counter(taken(stub)) == dict.fromkeys(ids, 2)
    for reset_id in ids:
        mails = [entry["mail"] for entry in stub.taken if entry["resetId"] == reset_id]
        assert len({mail["content"][0]["value"] for mail in mails}) == 1
        assert len({mail["content"][1]["value"] for mail in mails}) == 1
        assert len({mail["headers"]["Message-ID"] for mail in mails}) == 1
    assert statuses(house, ids) == [Status.ACCEPTED] * 4


def test_doubt_is_held_where_the_channel_holds_it(open_house, stub):
    house = open_house(email_on_doubt="hold")
    ids = people(house, 4)
    stub.answers(Answer(how="cut", takes=True))
    deliver(house, ids)

    again(house, ids)

    assert Counter(taken(stub)) == dict.fromkeys(ids, 1)
    assert statuses(house, ids) == [Status.UNKNOWN] * 4
    assert {house.look(each).reason for each in ids} == {"in_doubt_held"}


def test_who_may_not_be_written_to_is_left_out(house, stub):
    good, suppressed, locked, gone, nowhere = ids = people(house, 5)
    house.services.suppressions.add(
        Recipient(Channel.EMAIL, "u1@example.com"), reason="bounce", source="p"
    )
    a_user(house.services, "u2@example.com", state="locked")
    house.stores.client.delete(keys.directory_user("u3@example.com"))
    a_user(house.services, "u4@example.com", email="u4@example.com", emailVerified=False)

    deliver(house, ids)

    assert [(house.look(each).status, house.look(each).reason) for each in ids] == [
        (Status.ACCEPTED, None),
        (Status.SUPPRESSED, "bounce"),
        (Status.CANCELLED, "user_locked"),
        (Status.CANCELLED, "user_gone"),
        (Status.FAILED, "no_recipient"),
    ]
    assert taken(stub) == [good]
    assert {suppressed, locked, gone, nowhere}.isdisjoint(taken(stub))


def test_a_code_voided_after_the_claim_does_not_go_out(house, stub):
    ids = people(house, 3)

    class Voiding:
        def __init__(self, directory):
            self._directory = directory

        def find_users(self, user_ids):
            house.stores.client.hset(keys.reset(ids[1]), "v", "voided")
            return self._directory.find_users(user_ids)

    voided = house.with_services(directory=Voiding(house.services.directory))
    deliver(voided, ids)

    assert sorted(taken(stub)) == sorted([ids[0], ids[2]])
    assert house.look(ids[1]).status is Status.QUEUED  # the next look cancels it


def test_a_pause_holds_all(house, stub):
    ids = people(house, 3)
    house.services.pauses.pause(Scope.QUEUE, "bulk", by="op", reason="because")

    deliver(house, ids)

    assert stub.requests == []
    assert {house.look(each).reason for each in ids} == {"paused_queue"}


def test_a_directory_that_is_away_is_said_once(house, stub, logs):
    class Away:
        def find_users(self, user_ids):
            raise DirectoryUnavailableError

    ids = people(house, 3)
    deliver(house.with_services(directory=Away()), ids)

    assert {house.look(each).reason for each in ids} == {"directory_unavailable"}
    assert [line["event"] for line in logs].count("directory.unavailable") == 1


def test_what_no_circular_can_hold_goes_out_alone(house, stub):
    notice = house.record("ada", queue=Queue.BULK, kind=Kind.NOTICE)
    people(house, 1)
    template = "https://reset.example.com/" + "x" * 9000
    large = house.record("u0@example.com", queue=Queue.BULK, extra={"tp": template})

    deliver(house, [notice, large])

    assert hinted(house)[0] == (notice, Task.SEND_EMAIL)
    for reset_id in (notice, large):
        house.deliver(reset_id)
    assert sorted(taken(stub)[-2:]) == sorted([notice, large])


def test_a_provider_of_single_mails_gets_single_mails(open_house, stub):
    relay = ScriptedProvider(name="relay")
    house = open_house(relay)
    ids = people(house, 3)
    stub.answers(Answer(401))
    deliver(house, ids)

    again(house, ids)  # our account's trouble moves on to the relay, which takes one at a time
    for about, _ in hinted(house)[-3:]:
        house.deliver(about)

    assert [task for _, task in hinted(house)[-3:]] == [Task.SEND_EMAIL] * 3
    assert len(relay.messages) == 3
    assert statuses(house, ids) == [Status.ACCEPTED] * 3


def test_an_error_of_ours_parts_those_it_befell(house, stub, logs):
    class Broken:
        def language(self, reset):
            return "en"

        def render(self, language, organisation, drafts):
            raise ZeroDivisionError

    ids = people(house, 3)
    with pytest.raises(ZeroDivisionError):
        house.delivery.many(Broken()).deliver(ids)

    assert [about for about, _ in hinted(house)] == ids
    for reset_id in ids:
        house.deliver(reset_id)
    assert statuses(house, ids) == [Status.ACCEPTED] * 3


def test_a_provider_that_breaks_leaves_doubt(house, stub):
    class Breaking(ScriptedProvider):
        most_copies = 1000

        def send_many(self, circular):
            raise ZeroDivisionError

    ids = people(house, 2)
    broken = replace(house, providers={Channel.EMAIL: [Breaking()], Channel.SMS: []})
    with pytest.raises(ZeroDivisionError):
        deliver(broken, ids)

    assert statuses(house, ids) == [Status.SENDING] * 2
    again(house, ids)
    assert {house.outcomes(each)[0] for each in ids} == {Outcome.DOUBT}


def test_a_lease_that_is_too_short_sends_nothing(house, stub):
    ids = people(house, 2)
    claims = house.services.resets.claim_many(ids)

    class Late:
        def __getattr__(self, name):
            return getattr(house.services.resets, name)

        def claim_many(self, reset_ids):
            return [replace(claim, lease_ends=time.monotonic() + 6) for claim in claims]

    deliver(house.with_services(resets=Late()), ids)

    assert stub.requests == []
    assert {house.look(each).reason for each in ids} == {"lease_too_short"}


def test_a_store_that_fails_before_the_call_costs_nothing(house, stub):
    class AwayOnce:
        def __getattr__(self, name):
            return getattr(house.services.suppressions, name)

        def find_many(self, recipients):
            raise StoreUnavailableError

    ids = people(house, 2)
    deliver(house.with_services(suppressions=AwayOnce()), ids)

    assert stub.requests == []
    assert {house.look(each).reason for each in ids} == {"store_unavailable"}


@pytest.mark.parametrize(
    "error", [TransientProviderError, AccountProviderError, DoubtfulProviderError]
)
def test_an_error_means_what_it_means_for_one(house, error):
    class Refusing(ScriptedProvider):
        most_copies = 1000

        def send_many(self, circular):
            return [error("r", "d")] * len(circular.copies)

    refusing = replace(house, providers={Channel.EMAIL: [Refusing(error("r", "d"))]})
    together, alone = people(house, 2)

    deliver(refusing, [together])
    refusing.deliver(alone)

    assert house.look(together).status == house.look(alone).status
    assert house.look(together).reason == house.look(alone).reason
    assert house.outcomes(together) == house.outcomes(alone)
