"""Leaving: nothing of a person is found afterwards, wherever it was planted before."""

from __future__ import annotations

import json

import pytest

from shared.errors import (
    CallerError,
    ErasingError,
    InvalidRequestError,
    NotFoundError,
    VersionConflictError,
)
from shared.messages.rendering import MessageRenderer
from shared.models import Channel, Organisation, Recipient
from shared.organisations.profile import Branding
from shared.organisations.sender import Sender
from shared.providers.outbox import Outbox
from shared.store import keys
from shared.store.batches import BatchState
from shared.store.batches.lists import ListEntry
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token, a_user
from tests.support.wire import Wire
from web.admin.actions import AuditReason, clear_limit
from web.leaving.erasure import (
    ErasureRequest,
    forget_address,
    forget_user,
    remove_organisation,
    verify_receipt,
)
from web.leaving.export import export_user

USER = "planted-user-7"
ADDRESS = "Planted.Person@planted.example"
FORMER = "before@planted.example"
PHONE = "+41795550123"
NAME = "Planted Person"
WHY = AuditReason("eve", f"{ADDRESS} of {USER} asked us, ticket 7")


def a_request(**more):
    return ErasureRequest(WHY, **more)


pytestmark = pytest.mark.real_server  # for its speed


@pytest.fixture
def wire(real_client, tmp_path):
    return Wire(real_client, data_dir=tmp_path)


def plant(wire, user_id=USER, address=ADDRESS, phone=PHONE):
    """Put something of a person into every place there is; give all that must not be found."""
    services, digests = wire.services, wire.services.digests
    fields = {"displayName": NAME, "userName": address, "phone": phone}
    a_user(services, user_id, email=FORMER, **fields)
    a_user(services, user_id, email=address, **fields)
    owner = wire.headers(a_token(services, instance=("IAM_OWNER",)))
    hook = {"url": "https://hooks.example.com/"}
    assert wire.call("/keyturn/v1/webhooks", headers=wire.headers(), json=hook).status_code == 200
    for number in range(13):
        key = {"Idempotency_Key": f"k{number}"}
        assert wire.reset(user_id, **key).status_code == 200
    assert wire.reset(user_id, body={"type": "TYPE_SMS"}).status_code == 200
    claim = services.resets.claim(wire.services.resets.find_of_user(user_id)[1].reset_id)
    email = services.directory.find_user(user_id).email
    digest = services.suppressions.digest(email)
    services.resets.mark_sending(claim, provider="outbox", recipient_digest=digest)
    new = {"newPassword": {"password": "a Sentence of 5 words!"}}
    wrong = new | {"currentPassword": "wrong"}
    assert wire.call(f"/v2/users/{user_id}/password", headers=owner, json=new).status_code == 200
    assert wire.call(f"/v2/users/{user_id}/password", headers=owner, json=wrong).status_code == 400
    a_user(services, user_id, email=address, state="locked", **fields)
    assert wire.reset(user_id).status_code == 400
    a_user(services, user_id, email=address, state="active", **fields)
    assert wire.reset(user_id).status_code == 200
    recipients = [Recipient(Channel.EMAIL, address), Recipient(Channel.SMS, phone)]
    for recipient in recipients:
        services.suppressions.add(recipient, reason="bounce", source="sendgrid")
    services.suppressions.lift(recipients[0])
    services.suppressions.add(recipients[0], reason="bounce", source="sendgrid")
    clear_limit(services, "user", user_id, AuditReason("eve", f"{NAME} called"))
    typed = new | {"verificationCode": "ABCDEFGH"}
    wire.call(f"/v2/users/{user_id}/password", headers=owner, json=typed)
    for typed in (address.upper(), f" {phone[:3]} {phone[3:]}", NAME, user_id, "ada@example.com"):
        assert wire.call("/keyturn/v1/forgot", json={"identifier": typed}).status_code == 202
    a_token(services, "ORG_OWNER", user_id=user_id)
    a_batch(services, user_id, "ada", f"{user_id}0")
    outbox = Outbox(Channel.EMAIL, services.settings.data_dir)
    outbox.send(_a_mail(services, claim, email))
    _, user = digests.user_place(user_id)
    former = Recipient(Channel.EMAIL, FORMER)
    every = [services.suppressions.digest(each) for each in (*recipients, former)]
    every += [digests.address_digest(each) for each in (address.lower(), phone, FORMER)]
    every += [digests.address_digest(each) for each in (user_id, NAME.lower())]
    return [user_id, address, address.lower(), phone, NAME, FORMER, user, *every]


def _a_mail(services, claim, email):
    renderer = MessageRenderer(services.settings, services.languages)
    user = services.directory.find_user(claim.reset.user_id)
    code = services.codes.code(claim.reset.reset_id, claim.reset.key_id)
    return renderer.render_reset(claim.reset, user, email, None, code, seconds_left=60)


def everything(wire) -> dict[str, str]:
    """All keys with their values, and all files, as text."""
    found = {}
    for name in wire.redis.keys("*"):
        kind = wire.redis.type(name)
        read = {
            "string": wire.redis.get,
            "hash": wire.redis.hgetall,
            "set": wire.redis.smembers,
            "zset": lambda key: wire.redis.zrange(key, 0, -1, withscores=True),
            "list": lambda key: wire.redis.lrange(key, 0, -1),
            "stream": wire.redis.xrange,
        }[kind]
        found[name] = f"{name} {read(name)!r}"
    for path in wire.services.settings.data_dir.rglob("*"):
        if path.is_file():
            found[str(path)] = f"{path.name} {path.read_text(errors='replace')}"
    return found


def places_of(wire, planted, *, but=()):
    """Where something planted is found; `planted-user-70` of the batch is another user."""
    return sorted(
        name
        for name, text in everything(wire).items()
        for mark in planted
        if mark in text.replace(f"{USER}0", "") and not any(each in name for each in but)
    )


@pytest.mark.topology
def test_nothing_planted_is_found_afterwards(wire):
    planted = plant(wire)
    before = places_of(wire, planted)
    assert len(before) > 30

    receipt = forget_user(wire.services, USER, a_request(with_suppressions=True, with_audit=True))

    assert places_of(wire, planted) == []
    assert wire.services.audit.verify().misfit is None
    counts = receipt["erased"]
    assert (counts["users"], counts["tokens"], counts["suppressions"]) == (1, 1, 2)
    assert counts["resets"] > 14
    for what in ("cancelled", "codes", "refusals", "guesses", "webhooks", "idempotencyKeys"):
        assert counts[what] > 0, what
    assert (counts["batchEntries"], counts["outboxMessages"]) == (1, 1)
    assert (counts["forgotRequests"], wire.services.forgot.depth()) == (8, 1)  # ada's stays
    assert counts["auditEntries"] > 0
    assert not any(mark in json.dumps(receipt) for mark in planted)


def test_what_stays_is_named_with_its_reason(wire):
    planted = plant(wire)

    receipt = forget_user(wire.services, USER, a_request())

    assert places_of(wire, planted, but=(":sup:", ":suppressions", ":audit")) == []
    kept = {each["what"]: each for each in receipt["kept"]}
    assert kept["suppressions"]["number"] == 2
    assert all(each["reason"] for each in kept.values())
    assert set(kept) == {"suppressions", "audit entries", "logs"}


def test_the_act_stands_in_the_trail_without_the_person(wire):
    plant(wire)

    receipt = forget_user(wire.services, USER, a_request(with_audit=True))

    (entry,) = [each for each in wire.services.audit.entries() if each.act.action == "user.forget"]
    assert (entry.act.target, entry.outcome) == (receipt["receiptId"], "done")
    assert USER not in entry.act.reason
    assert "ticket 7" in entry.act.reason


def test_others_keep_what_is_theirs(wire):
    a_user(wire.services, "someone.else", email="someone.else@example.com")
    mine = wire.reset("someone.else").headers["Keyturn-Reset-Id"]
    plant(wire)
    places = places_of(wire, ["someone.else"])

    forget_user(wire.services, USER, a_request(with_suppressions=True, with_audit=True))

    assert places_of(wire, ["someone.else"]) == places
    assert wire.services.resets.find(mine) is not None
    batch = wire.services.batches.find(wire.services.batches.every_id()[0])
    users = wire.services.batch_lists.read(batch.list_id, 0)
    assert users == [ListEntry(""), ListEntry("ada"), ListEntry(f"{USER}0")]


@pytest.mark.topology
def test_a_message_under_way_ends_and_its_code_opens_nothing(wire):
    plant(wire)
    services = wire.services
    services.suppressions.lift(Recipient(Channel.EMAIL, ADDRESS))
    reset_id = wire.reset(USER).headers["Keyturn-Reset-Id"]
    claim = services.resets.claim(reset_id)
    open_before = services.counters.totals()["now:queued"]

    forget_user(services, USER, a_request())

    assert services.resets.find(reset_id) is None
    assert services.code_store.list_known(USER) == []
    assert open_before > 0
    assert {n: v for n, v in services.counters.totals().items() if n.startswith("now:") and v} == {}
    from shared.store.resets import ClaimOverError  # beside the one use

    with pytest.raises(ClaimOverError):
        services.resets.mark_sending(claim, provider="outbox", recipient_digest="d")
    assert places_of(wire, [reset_id]) == []


@pytest.mark.parametrize(
    "user_id", ["never-seen", "", "a/b", "x" * 5000, "a\nb", "ada\0", "\udcff"]
)
def test_an_unknown_user_is_said(wire, user_id):
    with pytest.raises(NotFoundError, match="nothing is kept"):
        forget_user(wire.services, user_id, a_request())
    with pytest.raises(NotFoundError, match="nothing is kept"):
        export_user(wire.services, user_id)
    with pytest.raises(NotFoundError):
        remove_organisation(wire.services, user_id, a_request())


def test_it_can_be_repeated_and_goes_on_after_a_cut(wire):
    planted = plant(wire)
    wire.services.directory.remove_user(USER)  # as if it had been cut off behind this step

    receipt = forget_user(wire.services, USER, a_request(with_audit=True))

    assert receipt["erased"]["resets"] > 0
    left = places_of(wire, [USER, planted[6]])
    assert left == [] or all(each.endswith(".json") for each in left)
    with pytest.raises(NotFoundError):
        forget_user(wire.services, USER, a_request())


@pytest.mark.topology
def test_of_two_at_once_one_gets_a_clear_answer(wire):
    plant(wire)

    with wire.services.erasures.turn("user", USER), pytest.raises(ErasingError, match="moment"):
        forget_user(wire.services, USER, a_request())

    assert wire.services.directory.find_user(USER) is not None
    assert forget_user(wire.services, USER, a_request())["erased"]["users"] == 1


@pytest.mark.topology
def test_an_address_goes_and_its_user_stays(wire):
    services, digest = wire.services, wire.services.suppressions.digest
    planted = plant(wire)
    recipient = services.directory.find_user(USER).email

    receipt = forget_address(
        services, ADDRESS.upper(), a_request(with_suppressions=True, with_audit=True)
    )

    user = services.directory.find_user(USER)
    assert (user.email, user.user_name) == (None, "")
    assert user.phone is not None
    assert receipt["erased"]["holders"] == 1
    assert receipt["erased"]["forgotRequests"] == 2  # one, and its budget
    marks = [ADDRESS, ADDRESS.lower(), digest(recipient), planted[10]]
    assert places_of(wire, marks) == []
    assert services.directory.find_users_by_address(ADDRESS) == []
    assert services.audit.verify().misfit is None


def test_a_former_address_goes_too(wire):
    planted = plant(wire)

    receipt = forget_address(wire.services, FORMER, a_request(with_audit=True))

    assert receipt["erased"]["holders"] == 1
    assert places_of(wire, [FORMER, planted[9], planted[12]]) == []
    assert wire.services.directory.find_user(USER).email is not None


def test_an_address_known_by_its_suppression_alone_is_known(wire):
    recipient = Recipient(Channel.EMAIL, "bounced@example.com")
    wire.services.suppressions.add(recipient, reason="bounce", source="sendgrid")

    kept = forget_address(wire.services, "bounced@example.com", a_request())["kept"]

    assert kept[0]["number"] == 1
    forget_address(wire.services, "bounced@example.com", a_request(with_suppressions=True))
    with pytest.raises(NotFoundError, match="nothing is known"):
        forget_address(wire.services, "bounced@example.com", a_request())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no address",
        "a@b@c",
        "a\nb@example.com",
        "eve@example.com\n",
        "+" + "4" * 40,
        "0791234567",
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(wire, text):
    with pytest.raises(InvalidRequestError, match="address") as refused:
        forget_address(wire.services, text, a_request())

    assert not text or text not in str(refused.value)


def test_a_receipt_that_was_changed_is_refused(wire):
    plant(wire)
    receipt = forget_user(wire.services, USER, a_request())

    assert verify_receipt(wire.services, json.dumps(receipt, indent=1)) == receipt
    erased = receipt["erased"] | {"users": 2}
    for changed in (receipt | {"erased": erased}, receipt | {"signature": "0" * 32}):
        with pytest.raises(InvalidRequestError, match="changed"):
            verify_receipt(wire.services, json.dumps(changed))
    twice = json.dumps(receipt).replace("{", '{"subject": "address", ', 1)
    huge = json.dumps(receipt | {"erased": {"users": 10**30}})
    for text in ("", "[]", "{}", "null", "7", '{"signature": 7', b"\xff", twice, huge, "[" * 9000):
        with pytest.raises(InvalidRequestError, match="no receipt"):
            verify_receipt(wire.services, text)


def test_an_organisation_with_users_stays_unless_they_go_too(wire):
    planted = plant(wire)

    with pytest.raises(CallerError, match="2 users"):
        remove_organisation(wire.services, "acme", a_request())
    assert wire.services.callers.organisation_exists("acme")

    receipt = remove_organisation(
        wire.services,
        "acme",
        a_request(with_suppressions=True, with_audit=True),
        with_users=True,
    )

    assert receipt["erased"]["users"] == 2
    assert receipt["erased"]["subscriptions"] == 1
    assert not wire.services.callers.organisation_exists("acme")
    assert wire.services.subscriptions.all() == []
    assert places_of(wire, planted) == []
    with pytest.raises(NotFoundError):
        remove_organisation(wire.services, "acme", a_request())


def test_what_an_organisation_set_goes_with_it_and_does_not_come_back(wire):
    services = wire.services
    services.profiles.save_branding("beta", Branding(display_name="Beta"), version=1)
    text = {"language": "en", "sentences": {"reset.heading": "Hello"}, "by": "eve", "reason": "x"}
    services.profiles.save_text("beta", version=0, **text)
    services.senders.save("beta", Sender(0, {}), version=0)
    a_batch(services, "ada", org_ids=frozenset({"beta"}))

    receipt = remove_organisation(services, "beta", a_request())

    assert receipt["erased"]["cancelledBatches"] == 1
    assert services.batches.active()[0].state is BatchState.CANCELLED
    with pytest.raises(VersionConflictError):  # a save under way
        services.profiles.save_text("beta", version=0, **text)
    names = [name for name in wire.redis.keys("*") if "beta" in name]
    assert (names, wire.redis.smembers(keys.SENDERS)) == ([], set())


def test_a_suppression_of_a_former_number_is_found_by_what_went_to_it(wire):
    services, former = wire.services, Recipient(Channel.SMS, "+41791234567")
    reset_id = wire.reset(body={"type": "TYPE_SMS"}).headers["Keyturn-Reset-Id"]
    claim, digest = services.resets.claim(reset_id), services.suppressions.digest(former)
    services.resets.mark_sending(claim, provider="outbox", recipient_digest=digest)
    services.suppressions.add(former, reason="opt_out", source="twilio")
    a_user(services, phone="+41791234568")

    receipt = forget_user(services, "ada", a_request(with_suppressions=True))

    assert receipt["erased"]["suppressions"] == 1
    assert places_of(wire, [digest]) == []


def test_an_organisation_of_before_its_users_were_listed_is_counted(wire):
    wire.redis.hdel(keys.organisation("acme"), "members")
    wire.redis.delete(keys.members("acme"))

    with pytest.raises(CallerError, match="1 users"):
        remove_organisation(wire.services, "acme", a_request())


def test_an_export_holds_all_that_is_known(wire):
    plant(wire)

    told = json.dumps(export_user(wire.services, USER))

    found = json.loads(told)
    for name in ("resets", "refusals", "guesses", "webhooks", "tokens", "batches", "suppressions"):
        assert found[name], name
    assert (found["limits"]["sequence"] > 14, len(found["resets"]) > 14) == (True, True)
    assert found["auditEntries"]
    assert all(each in told for each in (PHONE, NAME, FORMER))
    with pytest.raises(NotFoundError):
        export_user(wire.services, "never-seen")


def test_an_organisation_s_own_times_are_kept_at_no_further_trip(wire):
    services = wire.services
    plain = wire.reset("ada", body={"type": "TYPE_SMS"}).headers["Keyturn-Reset-Id"]
    services.callers.save_organisation(
        Organisation("acme", "Acme", record_lifetime_seconds=86400, refusal_lifetime_seconds=60)
    )
    services.resets.find(plain)
    wire.app.extensions["keyturn"].auth.forget()

    reset_id = wire.reset("ada").headers["Keyturn-Reset-Id"]
    claim = services.resets.claim(reset_id)
    from shared.models import Status
    from shared.store.resets import Finish

    services.resets.finish(claim, Finish(status=Status.FAILED, reason="x"))

    assert services.resets.find(reset_id).status is Status.FAILED
    left = wire.redis.ttl(keys.reset(reset_id))
    assert 86400 < left <= 86400 + 3600
    a_user(services, state="locked")
    wire.reset("ada")
    assert 0 < wire.redis.ttl(keys.refusals(*services.digests.user_place("ada"))) <= 60
