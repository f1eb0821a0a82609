"""People who forgot are looked up later: who gets what, and what becomes of bad entries."""

import re
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from shared.errors import DirectoryUnavailableError, StoreUnavailableError
from shared.models import Channel, Organisation, Status
from shared.organisations.sender import Route, Sender
from shared.store import keys
from shared.store.codes import Guesser
from shared.store.forgot import LEASE_SECONDS, ForgotRequest
from tests.support.builders import a_user, an_organisation
from tests.support.delivery_services import some_delivery_services
from web.admin.schemas import serialise_status
from web.admin.status import load_status
from web.explain.query import explain_user
from web.passwords import complete_reset
from web.services import build_web_services
from worker.forgot import ForgotProcessor


@pytest.fixture
def kit(fake_client):
    return some_delivery_services(fake_client, sms_countries=("CH",))


def ask(kit, *identifiers, org_id=""):
    request = ForgotRequest(identifiers=identifiers, org_id=org_id, request_id="r1")
    kit.services.forgot.ask(request, source="192.0.2.1/32")


def answer(kit, **parts):
    return ForgotProcessor(replace(kit.services, **parts)).answer()


def resets(kit, user_id="ada"):
    return kit.services.resets.find_of_user(user_id)


def reason(kit, user_id="ada"):
    return [(each.error, each.caller_id) for each in kit.services.refusals.find_of_user(user_id)]


def make_due(kit):
    for item in kit.services.forgot._client.zrange(keys.FORGOT, 0, -1):
        kit.services.forgot._client.zadd(keys.FORGOT, {item: 0})


def test_a_message_goes_out_by_the_usual_path(kit):
    ask(kit, "ada@example.com")

    assert answer(kit) == 1
    (reset,) = resets(kit)
    assert (reset.caller_id, reset.request_id, reset.status) == ("forgot", "r1", Status.QUEUED)
    kit.deliver(reset.reset_id)
    assert kit.look(reset.reset_id).status is Status.ACCEPTED


def test_each_of_several_users_with_one_address_gets_a_message(kit):
    an_organisation(kit.services, "beta")
    a_user(kit.services, "bea", orgId="beta")
    a_user(kit.services, "cy")

    ask(kit, "ada@example.com")
    answer(kit)

    assert [len(resets(kit, user)) for user in ("ada", "bea", "cy")] == [1, 1, 1]


@pytest.fixture
def listing(fake_client):
    """Three users of acme and one of beta with one address, of whom acme's share a mail."""
    kit = some_delivery_services(
        fake_client, forgot_shared_address="list", user_cooldown_seconds=60.0
    )
    an_organisation(kit.services, "beta")
    for user_id in ("ada", "cy", "di"):
        a_user(kit.services, user_id, userName=f"{user_id}.lovelace")
    a_user(kit.services, "bea", orgId="beta")
    ask(kit, "ada@example.com")
    return kit


def deliver(kit):
    """Deliver what is due; give the mails."""
    hints = [hint.about for hint in kit.services.hints.published if hint.about != "all"]
    for reset_id in dict.fromkeys(hints):
        kit.deliver(reset_id)
    return kit.providers[Channel.EMAIL][0].messages


def test_users_with_one_address_may_share_a_mail_with_a_link_each(listing):
    assert answer(listing) == 1
    mail, of_beta = deliver(listing)

    names = [line for line in mail.text.splitlines() if line.endswith(".lovelace")]
    assert names == ["ada.lovelace", "cy.lovelace", "di.lovelace"]
    assert "Several accounts" in mail.text
    assert "Several accounts" not in of_beta.text
    links = dict.fromkeys(re.findall(r"https?://\S*userID=(\w+)&\S+", mail.text))
    assert list(links) == ["ada", "cy", "di"]
    for user_id in links:
        code = re.search(rf"userID={user_id}&code=(\w+)", mail.text)[1]
        assert f"userID={user_id}&amp;code={code}" in mail.html
        done = complete_reset(
            build_web_services(listing.services),
            user_id=user_id,
            typed_code=code,
            new_password="Correct-horse-7",
            guesser=Guesser("x", "x"),
        )
        assert done.user.user_id == user_id


def test_a_listed_user_who_may_get_nothing_is_not_in_the_mail(listing):
    a_user(listing.services, "ada", state="locked")
    answer(listing)
    a_user(listing.services, "di", email="new@example.com")

    mail, _ = deliver(listing)

    assert re.findall(r"userID=(\w+)", mail.text) == ["cy"]
    assert reason(listing) == [("UserInactive", "forgot")]


def test_explain_says_that_a_code_stands_in_a_shared_mail(listing):
    answer(listing)

    told = explain_user(build_web_services(listing.services), "di").diagnosis.text

    assert "lists all users" in told


def test_a_shared_mail_is_recorded_once_and_asked_for_within_limits(listing):
    (claimed,) = listing.services.forgot.claim(most=5)
    for _ in range(2):  # a worker died before the entry was removed
        ForgotProcessor(listing.services)._answer_one(claimed)

    assert [len(resets(listing, user)) for user in ("ada", "cy", "di", "bea")] == [2, 1, 1, 1]
    ask(listing, "ada@example.com")
    answer(listing)
    assert [len(resets(listing, user)) for user in ("ada", "cy", "di", "bea")] == [2, 1, 1, 1]


def test_the_organisation_bounds_who_is_found(kit):
    an_organisation(kit.services, "beta")
    a_user(kit.services, "bea", orgId="beta")

    ask(kit, "ada@example.com", org_id="beta")
    answer(kit)

    assert (len(resets(kit)), len(resets(kit, "bea"))) == (0, 1)


def test_a_user_with_two_readings_gets_one_message(kit):
    ask(kit, "+41791234567", "ada@example.com")
    answer(kit)

    assert [each.channel for each in resets(kit)] == [Channel.SMS]


@pytest.mark.parametrize(
    ("user", "typed", "channel"),
    [
        ({}, "lovelace", Channel.EMAIL),
        ({"email": None}, "lovelace", Channel.SMS),
        ({"phone": None}, "lovelace", Channel.EMAIL),
    ],
)
def test_a_name_is_answered_on_the_channel_there_is(kit, user, typed, channel):
    a_user(kit.services, userName="Lovelace", **user)

    ask(kit, typed)
    answer(kit)

    assert [each.channel for each in resets(kit)] == [channel]


def test_a_provider_of_the_organisation_alone_counts(fake_client):
    kit = some_delivery_services(fake_client, sms_providers=())
    route = Route(("twilio",), {}, countries=("CH",))
    kit.services.senders.save("acme", Sender(0, {Channel.SMS: route}), version=0)

    ask(kit, "+41791234567")
    answer(kit)

    assert [each.channel for each in resets(kit)] == [Channel.SMS]


def test_a_refusal_is_kept_as_long_as_its_organisation_says(kit, fake_client):
    kit.services.callers.save_organisation(
        Organisation("acme", "Acme", refusal_lifetime_seconds=60)
    )
    a_user(kit.services, state="locked")

    ask(kit, "ada@example.com")
    answer(kit)

    assert 0 < fake_client.ttl(keys.refusals(*kit.services.digests.user_place("ada"))) <= 60


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"emailVerified": False}, "RecipientMissing"),
        ({"state": "locked"}, "UserInactive"),
        ({"state": "initial"}, "UserNotInitialised"),
        ({"kind": "machine"}, "MachineUser"),
    ],
)
def test_explain_shows_why_a_user_got_nothing(kit, changes, error):
    a_user(kit.services, **changes)

    ask(kit, "ada@example.com")
    answer(kit)

    assert resets(kit) == []
    assert reason(kit) == [(error, "forgot")]
    assert explain_user(build_web_services(kit.services), "ada").diagnosis.text


def test_a_suppressed_address_gets_nothing_and_explain_says_so(kit):
    user = kit.services.directory.find_user("ada")
    kit.services.suppressions.add(user.email, reason="bounce", source="test")

    ask(kit, "ada@example.com")
    answer(kit)

    assert reason(kit) == [("RecipientSuppressed", "forgot")]


def test_the_pause_between_two_messages_holds_and_leaves_the_api_alone(fake_client):
    kit = some_delivery_services(fake_client, user_cooldown_seconds=60.0, page_limit_per_hour=2)
    ask(kit, "ada@example.com")
    ask(kit, "ada@example.com")

    assert answer(kit) == 2

    (reset,) = resets(kit)
    assert reason(kit) == [("TooManyRequests", "forgot")]
    assert kit.services.refusals.find_of_user("ada")[0].limit == "page_user_pause"
    kit.deliver(reset.reset_id)
    assert kit.record() != reset.reset_id  # the user's own limits were not touched


def test_an_unknown_identifier_leaves_nothing_behind(kit, fake_client):
    ask(kit, "nobody@example.com")
    before = set(fake_client.keys("*"))

    assert answer(kit) == 1
    assert set(fake_client.keys("*")) == before - {keys.FORGOT}


def test_what_was_typed_is_nowhere_to_be_read(kit, fake_client):
    ask(kit, "lady.lovelace@planted.example", org_id="acme")

    for key in fake_client.keys("*"):
        assert "lovelace@planted" not in key
        assert b"planted" not in fake_client.dump(key)


def test_an_entry_of_a_worker_that_died_is_answered_after_its_lease_and_once(kit):
    ask(kit, "ada@example.com")
    (claimed,) = kit.services.forgot.claim(most=5)
    ForgotProcessor(kit.services)._answer_one(claimed)  # it dies before the entry is removed

    assert answer(kit) == 0
    make_due(kit)

    assert answer(kit) == 1
    assert len(resets(kit)) == 1
    assert reason(kit) == []
    assert kit.services.forgot.depth() == 0
    assert LEASE_SECONDS > 10


def test_two_workers_do_not_share_an_entry(kit):
    ask(kit, "ada@example.com")

    assert len(kit.services.forgot.claim(most=5)) == 1
    assert kit.services.forgot.claim(most=5) == []


class AwayDirectory:
    def find_by_identifier(self, identifier, org_id):
        raise DirectoryUnavailableError


def test_entries_wait_while_the_directory_is_away(kit):
    ask(kit, "ada@example.com")
    ask(kit, "eve@example.com")

    assert answer(kit, directory=AwayDirectory()) == 0
    assert kit.services.forgot.depth() == 2
    assert answer(kit) == 0  # not at once
    now = kit.services.dues.now_ms()
    scores = [s for _, s in kit.services.forgot._client.zrange(keys.FORGOT, 0, -1, withscores=True)]
    assert all(0 < score - now <= 5000 for score in scores)
    make_due(kit)
    assert answer(kit) == 2
    assert len(resets(kit)) == 1


def test_an_entry_that_was_removed_meanwhile_does_not_come_back(kit):
    ask(kit, "ada@example.com")
    (claimed,) = kit.services.forgot.claim(most=5)
    kit.services.forgot.remove(claimed.item)

    kit.services.forgot.retry_later([claimed.item])

    assert kit.services.forgot.depth() == 0


@pytest.mark.parametrize(
    "item",
    [
        "",
        "poison",
        "1:gAAAA",
        f"1:{Fernet(Fernet.generate_key()).encrypt(b'[]').decode()}",
        "\0:\0",
    ],
)
def test_what_cannot_be_read_is_dropped_and_counted(kit, fake_client, item):
    fake_client.zadd(keys.FORGOT, {item: 0})
    ask(kit, "ada@example.com")

    assert answer(kit) == 2
    assert kit.services.counters.totals()["forgot:unreadable"] == 1
    assert len(resets(kit)) == 1
    assert kit.services.forgot.depth() == 0


@pytest.mark.parametrize("content", ["7", "[]", '["a"]', '[7,"",""]', '{"a":1}'])
def test_what_another_version_sealed_is_dropped(kit, fake_client, content):
    sealed = kit.services.digests.seal("forgot", content)
    fake_client.zadd(keys.FORGOT, {f"{int(kit.services.dues.now_ms())}:{sealed}": 0})

    assert answer(kit) == 1
    assert kit.services.counters.totals()["forgot:unreadable"] == 1


def test_an_entry_as_old_as_an_expired_code_is_dropped(kit, fake_client):
    ask(kit, "ada@example.com")
    (item,) = fake_client.zrange(keys.FORGOT, 0, -1)
    at_ms, _, sealed = item.partition(":")
    fake_client.zrem(keys.FORGOT, item)
    fake_client.zadd(keys.FORGOT, {f"{int(at_ms) - 3_601_000}:{sealed}": 0})

    assert answer(kit) == 1
    assert resets(kit) == []
    assert kit.services.counters.totals()["forgot:late"] == 1


def test_a_full_queue_takes_no_more(kit, fake_client, monkeypatch):
    monkeypatch.setattr("shared.store.forgot.MAX_WAITING", 1)
    ask(kit, "ada@example.com")

    with pytest.raises(StoreUnavailableError):
        ask(kit, "eve@example.com")


def test_the_job_hints_while_entries_wait(kit):
    processor = ForgotProcessor(kit.services)
    processor.hint()
    assert kit.services.hints.published == []

    ask(kit, "ada@example.com")
    processor.hint()

    assert [hint.task.value for hint in kit.services.hints.published] == [
        "keyturn.answer_forgotten"
    ]


def test_after_a_full_claim_the_rest_is_hinted_at(kit, monkeypatch):
    monkeypatch.setattr("worker.forgot.MAX_AT_ONCE", 2)
    for number in range(3):
        ask(kit, f"eve{number}@example.com")

    assert answer(kit) == 2
    assert len(kit.services.hints.published) == 1


def test_the_status_says_how_many_wait_and_how_many_were_dropped(kit, fake_client):
    fake_client.zadd(keys.FORGOT, {"poison": 0})
    answer(kit)
    ask(kit, "ada@example.com")

    told = serialise_status(load_status(build_web_services(kit.services)))

    assert (told["forgotten"], told["forgottenDropped"]) == (1, 1)
