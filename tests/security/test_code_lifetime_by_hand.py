"""A code voided by an operator, who is told of a changed password, and what `explain` says."""

from __future__ import annotations

import time

import pytest

from shared.errors import DoubtfulProviderError
from shared.models import CallbackEvent, Channel, EventType, Kind, Queue, Status
from shared.store import keys
from tests.support.builders import a_token, a_user
from tests.support.code_life import EMAIL, REFUSED, SMS, Life
from tests.support.delivery_services import TAKEN
from tests.support.pages import see
from tests.support.wire import problem
from tests.support.wire_v2 import GOOD
from worker.receipts import OtherChannel

DENIED = (403, 7, "AUTH-5mWD2")
ABSENT = (404, 5, None)


@pytest.fixture
def life(client):
    return Life(client)


def trail(life):
    return [each.act for each in life.services.audit.newest()]


# Voided by an operator.


@pytest.mark.parametrize("channel", Channel)
def test_a_voided_code_opens_nothing(life, channel):
    text = life.send(channel)
    (reset,) = life.services.resets.find_of_user("ada")

    assert life.void(reset.reset_id).get_json() == {"resetId": reset.reset_id, "isVoided": True}

    page = life.by_page(text)
    assert page.status_code == 410
    assert "This code no longer works" in see(page).text
    assert problem(life.by_api(text)) == REFUSED
    assert not life.has_password(GOOD)
    (act,) = trail(life)
    assert (act.action, act.target, act.reason) == ("reset.void", reset.reset_id, "a stolen phone")
    assert act.by.startswith("token ")
    verdict = life.explain(reset.reset_id)
    assert "The code ended: an operator voided it at 20" in verdict
    assert f"by {act.by}: a stolen phone" in verdict


def test_what_still_waits_is_not_sent(life):
    reset_id = life.ask()

    life.void(reset_id)

    shown = life.show(reset_id).get_json()
    assert (shown["status"], shown["reason"]) == ("cancelled", "code_voided_by_operator")
    assert [(e["type"], e["detail"].partition(": ")[2]) for e in shown["events"]] == [
        ("voided", "a stolen phone")
    ]
    assert life.worker.deliver(reset_id) == "nothing due"
    assert life.recipients() == []
    assert "an operator voided it" in life.explain(reset_id)


def test_what_is_under_way_goes_out_and_opens_nothing(life):
    reset_id = life.ask()
    claim = life.services.resets.claim(reset_id)
    life.worker.stores.mark_sending(claim)

    assert life.void(reset_id).status_code == 200

    assert life.look(reset_id).status is Status.SENDING
    assert problem(life.set_password(code=life.code(reset_id))) == REFUSED


def test_a_doubtful_one_gets_no_second_copy(fake_client):
    life = Life(fake_client, DoubtfulProviderError("answer_cut", "no answer"), TAKEN)
    reset_id = life.ask()
    life.worker.deliver(reset_id)

    life.void(reset_id)
    life.worker.again(reset_id)

    assert life.recipients() == ["ada@example.com"]
    assert life.look(reset_id).status is Status.UNKNOWN


def test_a_held_one_and_one_of_a_batch_are_voided_too(life):
    held = life.ask()
    life.services.waiting.hold(held, by="eve", reason="x")
    assert life.void(held).status_code == 200
    bulk = life.ask(SMS)
    tag = keys.tag_of(bulk)
    life.redis.hset(keys.reset(bulk), "q", "bulk")
    life.redis.zrem(keys.due(tag, Queue.URGENT), bulk)
    life.redis.zadd(keys.due(tag, Queue.BULK), {bulk: 0})

    assert life.void(bulk).status_code == 200

    assert life.redis.zcard(keys.due(tag, Queue.BULK)) == 0
    assert life.look(held).status is life.look(bulk).status is Status.CANCELLED


def test_a_voided_one_is_not_offered_by_the_other_channel(fake_client):
    life = Life(fake_client, offer_other_channel=True)
    life.send()
    (reset,) = life.services.resets.find_of_user("ada")
    life.void(reset.reset_id)
    bounce = CallbackEvent(
        reset_id=reset.reset_id, provider="p", event_id="1", type=EventType.UNDELIVERED
    )

    offer = OtherChannel(life.services).offer(life.look(reset.reset_id), bounce)

    assert offer is None


def ended_codes(life):
    """Resets whose code is over, each by another way, and the words that refuse voiding it."""
    used = life.ask()
    life.set_password(code=life.code(used))
    yield used, "(used)"
    voided = life.ask()
    life.void(voided)
    yield voided, "(voided by operator)"
    expired = life.ask()
    life.worker.stores.end_in(expired, -1)
    yield expired, "(expired)"
    superseded = life.ask()
    newer = life.ask()
    yield superseded, "(replaced)"
    a_user(life.services, email=None)
    life.worker.deliver(newer)
    yield newer, "(failed)"


def test_a_code_that_is_over_is_refused_and_not_noted_as_done(fake_client):
    life = Life(fake_client)
    for reset_id, words in ended_codes(life):
        answer = life.void(reset_id)

        assert problem(answer) == (400, 9, "KEYTURN-ResetState")
        assert words in answer.get_json()["message"]
        (entry,) = life.services.audit.newest(most=1)
        assert (entry.act.action, entry.act.target) == ("reset.void", reset_id)
        assert entry.outcome.startswith("refused: ")


def test_a_code_that_is_being_used_right_now_is_left_alone(life):
    reset_id = life.ask()
    token = life.worker.stores.take(reset_id)

    answer = life.void(reset_id)

    assert "being used right now" in answer.get_json()["message"]
    life.services.code_store.release("ada", token)
    assert life.void(reset_id).status_code == 200


@pytest.mark.parametrize(
    ("roles", "org", "expected"),
    [
        (("ORG_USER_MANAGER",), "acme", None),
        (("ORG_OWNER_VIEWER",), "acme", DENIED),
        (("ORG_OWNER",), "beta", ABSENT),
    ],
)
def test_who_may_void(life, roles, org, expected):
    reset_id = life.ask()

    answer = life.void(reset_id, a_token(life.services, *roles, org_id=org))

    assert answer.status_code == 200 if expected is None else problem(answer) == expected
    assert bool(trail(life)) == (expected is None)


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": " "}, {"reason": None}])
def test_a_reason_is_wanted(life, body):
    reset_id = life.ask()

    assert problem(life.void(reset_id, **body))[:2] == (400, 3)
    assert life.look(reset_id).status is Status.QUEUED


@pytest.mark.parametrize("reset_id", ["nothing", "0" * 27])
def test_what_does_not_exist_cannot_be_voided(life, reset_id):
    assert problem(life.void(reset_id)) == ABSENT


def test_a_notice_has_no_code(life):
    life.set_password(password=GOOD)
    (hint,) = [each for each in life.hints.published if life.look(each.about)]

    assert "it is a notice" in life.void(hint.about).get_json()["message"]


# Who is told of a changed password.


def told(life):
    """Deliver every notice; the addresses it went to."""
    life.providers[EMAIL].messages.clear()
    for hint in life.hints.published:
        reset = life.look(hint.about)
        if reset and reset.kind is Kind.NOTICE:
            life.worker.deliver(reset.reset_id)
    life.hints.published.clear()
    life.redis.hdel(keys.user(*life.services.digests.user_place("ada")), "nn")
    return sorted(life.recipients())


def test_the_former_and_the_present_address_are_told(life):
    life.change({"email": "new@example.com"})

    life.by_api(life.send())

    assert told(life) == ["ada@example.com", "new@example.com"]


def test_a_changed_address_is_told_after_every_way_to_set_a_password(life):
    life.change({"password": "Former-horse-1"}, {"email": "new@example.com"})
    both = ["ada@example.com", "new@example.com"]

    life.set_password(password=GOOD)
    assert told(life) == both
    life.set_password(password="Another-horse-2", current=GOOD)
    assert told(life) == both
    life.by_api(life.send(SMS))
    assert told(life) == both
    life.set_password(code=life.a_code())
    assert told(life) == both


def test_all_addresses_of_the_last_day_are_told_once(life):
    life.change(
        {"email": "b@example.com"},
        {"email": "C@example.com"},
        {"email": "c@example.com"},
        {},
        {"email": "d@example.com"},
    )

    life.set_password()

    assert told(life) == ["ada@example.com", "b@example.com", "c@example.com", "d@example.com"]
    assert told(life) == []


def test_the_first_address_cannot_be_pushed_out_by_changes(life):
    life.change(*({"email": f"n{number}@example.com"} for number in range(9)))

    life.set_password()

    addresses = told(life)
    assert {"ada@example.com", "n8@example.com"} <= set(addresses)
    assert len(addresses) <= 6


def test_an_address_that_was_removed_is_told(life):
    life.change({"email": None})

    life.set_password()

    assert told(life) == ["ada@example.com"]


def test_who_changes_the_address_right_after_the_password_hides_nothing(life):
    life.set_password()
    life.change({"email": "thief@example.com"})

    assert told(life) == ["ada@example.com"]


def test_a_former_address_that_was_not_verified_is_not_written_to(life):
    life.change({"emailVerified": False}, {"email": "new@example.com"})

    life.set_password()

    assert told(life) == ["new@example.com"]


def test_a_suppressed_former_address_is_not_written_to(life):
    ada = life.services.directory.find_user("ada").email
    life.services.suppressions.add(ada, reason="bounce", source="p")
    life.change({"email": "new@example.com"})

    life.set_password()

    assert told(life) == ["new@example.com"]


def test_nobody_else_is_told_where_no_address_changed(life):
    life.change({"displayName": "Countess", "email": "ADA@example.com", "phone": "+41791234568"})

    life.set_password()

    assert [each.lower() for each in told(life)] == ["ada@example.com"]


def test_a_former_address_stands_in_the_users_record_alone_and_a_day_long(life, monkeypatch):
    life.change({"email": "new@example.com"})
    life.set_password()

    def places():
        return [
            key for key in life.redis.keys("*") if "ada@example.com" in f"{key} {life._value(key)}"
        ]

    assert places() == [keys.directory_user("ada")]
    directory = life.services.directory
    directory.forget_former_emails()
    assert directory.find_user("ada").former_emails
    later = time.time() + 24 * 3600 + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert directory.find_user("ada").former_emails == ()
    directory._forget_at = 0.0
    directory.forget_former_emails()
    assert places() == []
    assert life.redis.zcard(keys.FORMER_EMAILS) == 0


# What `explain` says.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([{"email": "new@example.com"}], "the address, or its verification, changed"),
        ([{"email": None}], "the address, or its verification, changed"),
        ([{"emailVerified": False}], "the address, or its verification, changed"),
        ([{"email": "x@example.com"}, {}], "the address, or its verification, changed"),
        ([{"password": "Another-horse-2"}], "the user's password, state or organisation changed"),
        ([{"orgId": "beta"}], "the user's password, state or organisation changed"),
        ([{"state": "inactive"}], "the user's password, state or organisation changed"),
    ],
)
@pytest.mark.parametrize("is_tried", [False, True])
def test_explain_names_what_ended_a_code(fake_client, changes, words, is_tried):
    life = Life(fake_client)
    text = life.send()
    (reset,) = life.services.resets.find_of_user("ada")
    life.change(*changes)
    if is_tried:
        life.by_page(text)

    verdict = life.explain(reset.reset_id)

    assert verdict == f"The code ended: {words} after it was sent."


def test_explain_says_that_a_code_ended_with_another_that_was_used(fake_client):
    life = Life(fake_client)
    life.send()
    (first,) = life.services.resets.find_of_user("ada")
    life.by_api(life.send())

    assert "The code ended: the password was changed with another" in life.explain(first.reset_id)
