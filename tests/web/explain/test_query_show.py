from __future__ import annotations

import pytest

from shared.models import Channel, Outcome, Recipient, Status
from shared.store.resets import Finish
from tests.support.builders import a_token, a_user
from tests.support.wire import Wire, problem

NOT_FOUND = (404, 5, None)
FIELDS = {
    "resetId", "userId", "orgId", "channel", "language", "status", "reason", "createdAt",
    "expiresAt", "completedAt", "openedAt", "recipient", "requestId", "batchId", "attempts",
    "events",
}  # fmt: skip
ATTEMPT_FIELDS = {
    "number", "provider", "startedAt", "finishedAt", "outcome", "providerMessageId", "detail",
}  # fmt: skip


@pytest.fixture
def wire(client):
    return Wire(client)


def reset_id_of(response):
    return response.headers["Keyturn-Reset-Id"]


def hand_over(wire, reset_id, address="ada@example.com"):
    """What a worker does when the provider accepts."""
    resets = wire.services.resets
    claim = resets.claim(reset_id)
    digest = wire.services.suppressions.digest(Recipient(claim.reset.channel, address))
    resets.mark_sending(claim, provider="outbox", recipient_digest=digest)
    finish = Finish(
        status=Status.ACCEPTED,
        outcome=Outcome.ACCEPTED,
        provider="outbox",
        provider_message_id="m-1",
    )
    assert resets.finish(claim, finish)


def test_a_fresh_reset_is_told_with_every_field(wire):
    a_user(wire.services, language="de")
    made = wire.reset(X_Request_Id="trace-1")

    told = wire.show(reset_id_of(made)).get_json()

    details = made.get_json()["details"]
    assert set(told) == FIELDS
    assert told == told | {
        "resetId": reset_id_of(made),
        "userId": "ada",
        "orgId": "acme",
        "channel": "email",
        "language": "de",
        "status": "queued",
        "reason": None,
        "createdAt": details["creationDate"],
        "completedAt": None,
        "openedAt": None,
        "recipient": "a***@example.com",
        "requestId": "trace-1",
        "batchId": None,
        "attempts": [],
        "events": [],
    }
    assert told["expiresAt"] > told["createdAt"]


def test_an_accepted_reset_tells_its_attempt(wire):
    reset_id = reset_id_of(wire.reset())
    hand_over(wire, reset_id)

    told = wire.show(reset_id).get_json()

    (attempt,) = told["attempts"]
    assert told["status"] == "accepted"
    assert set(attempt) == ATTEMPT_FIELDS
    assert attempt["number"] == 1
    assert attempt["provider"] == "outbox"
    assert attempt["outcome"] == "accepted"
    assert attempt["providerMessageId"] == "m-1"
    assert attempt["startedAt"] <= attempt["finishedAt"]


def test_an_overtaken_reset_is_cancelled(wire):
    first, second = reset_id_of(wire.reset()), reset_id_of(wire.reset())

    assert wire.show(first).get_json()["status"] == "cancelled"
    assert wire.show(first).get_json()["reason"] == "superseded"
    assert wire.show(second).get_json()["status"] == "queued"


def test_a_phone_is_masked(wire):
    told = wire.show(reset_id_of(wire.reset(body={"type": 1}))).get_json()

    assert told["recipient"] == "+41*****67"


def test_no_answer_holds_the_address_or_the_code(wire):
    reset_id = reset_id_of(wire.reset())
    reset = wire.services.resets.find(reset_id)
    code = wire.services.codes.code(reset.reset_id, reset.key_id)

    text = wire.show(reset_id).get_data(as_text=True)

    assert "ada@" not in text
    assert code.characters not in text
    assert code.link_secret not in text


@pytest.mark.parametrize("fields", [{"email": "other@example.com"}, {"email": None}])
def test_an_address_that_was_not_written_to_is_not_shown(wire, fields):
    reset_id = reset_id_of(wire.reset())
    hand_over(wire, reset_id)
    a_user(wire.services, **fields)

    assert wire.show(reset_id).get_json()["recipient"] is None


def test_a_reset_of_a_removed_user_is_told_without_a_recipient(wire):
    reset_id = reset_id_of(wire.reset())
    wire.redis.delete("kt:user:ada")

    response = wire.show(reset_id)

    assert response.status_code == 200
    assert response.get_json()["recipient"] is None


@pytest.mark.parametrize(
    ("roles", "status"),
    [
        (("ORG_OWNER",), 200),
        (("ORG_USER_MANAGER",), 200),
        (("ORG_OWNER_VIEWER",), 200),
        (("ORG_SETTINGS_MANAGER",), 404),
        (("PROJECT_OWNER_VIEWER",), 404),
        ((), 404),
    ],
)
def test_a_reset_is_shown_to_those_who_may_read_users(wire, roles, status):
    reset_id = reset_id_of(wire.reset())

    response = wire.show(reset_id, token=a_token(wire.services, *roles))

    assert response.status_code == status
    assert status == 200 or problem(response) == NOT_FOUND


def test_a_reset_of_another_organisation_is_hidden(wire):
    reset_id = reset_id_of(wire.reset())
    stranger = a_token(wire.services, "ORG_OWNER", org_id="beta")

    hidden, unknown = wire.show(reset_id, token=stranger), wire.show("0" * 27, token=stranger)

    assert problem(hidden) == NOT_FOUND
    assert hidden.get_json() == unknown.get_json()


def test_an_instance_role_sees_every_reset(wire):
    reset_id = reset_id_of(wire.reset())
    viewer = a_token(wire.services, org_id="beta", instance=("IAM_OWNER_VIEWER",))

    assert wire.show(reset_id, token=viewer).status_code == 200


@pytest.mark.parametrize(
    "reset_id", ["x", "0", "0" * 500, "z" * 27, "%00", "{kt:00}", "0%0a", "🎉", "0:r:x", "*"]
)
def test_what_is_no_reset_is_not_found(wire, reset_id):
    assert problem(wire.show(reset_id)) == NOT_FOUND


def test_a_reset_is_shown_to_nobody_without_a_token(wire):
    reset_id = reset_id_of(wire.reset())

    response = wire.call(f"/keyturn/v1/resets/{reset_id}", method="GET")

    assert problem(response) == (401, 16, None)


def test_an_unknown_organisation_header_is_told(wire):
    reset_id = reset_id_of(wire.reset())

    assert problem(wire.show(reset_id, x_zitadel_orgid="nowhere")) == (403, 7, "AUTH-Bs7Ds")
    assert problem(wire.show(reset_id, x_zitadel_orgid="beta")) == (404, 5, "AUTHZ-cdgFk")


def test_a_reset_by_sms_ends_sooner(wire):
    mail, sms = wire.reset(), wire.reset(body={"type": 1})

    ends = [wire.show(reset_id_of(each)).get_json()["expiresAt"] for each in (mail, sms)]

    assert ends[1] < ends[0]
    assert wire.services.resets.find(reset_id_of(sms)).channel is Channel.SMS


def test_the_version_of_own_texts_is_told_with_the_attempt(wire):
    reset_id = reset_id_of(wire.reset())
    assert "textVersion" not in wire.show(reset_id).get_json()
    resets = wire.services.resets
    claim, fields = resets.claim(reset_id), {"provider": "outbox", "recipient_digest": "d"}
    resets.mark_sending(claim, **fields, text_version="12")

    told = wire.show(reset_id).get_json()
    assert told["textVersion"] == "12"
    explained = wire.call(
        f"/keyturn/v1/resets/{reset_id}/explanation", method="GET", headers=wire.headers()
    )
    assert any("own texts 12" in step["words"] for step in explained.get_json()["chain"])
