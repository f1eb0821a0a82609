"""SetPassword: what a caller may not see looks, and costs, as if it did not exist."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from shared.models import Kind
from shared.store import keys
from tests.support.builders import a_token, a_user
from tests.support.rpc import SET_PASSWORD, RpcCaller, RpcServer
from tests.support.wire import problem
from tests.support.wire_v2 import GOOD, WireV2
from web.rpc.generated.user_pb2 import SetPasswordRequest
from web.rpc.grpc_web import write_frame

PRESENT = "Xylophon-quartz-1"
UNKNOWN = (400, 9, "COMMAND-G8dh3")
WRONG = (400, 3, "COMMAND-3M0fs")
LIMITED = (429, 8, "KEYTURN-RateLimited")
STRANGERS: dict[str, dict[str, Any]] = {
    "no role": {"org_id": "beta"},
    "another tenant's owner": {"org_id": "beta", "memberships": {"beta": ("ORG_OWNER",)}},
    "another tenant's user": {"org_id": "beta", "user_id": "bob"},
    "a role without users": {"memberships": {"acme": ("ORG_SETTINGS_MANAGER",)}},
    "a colleague": {"user_id": "carl"},
    "an instance role without users": {"instance": ("IAM_ADMIN_IMPERSONATOR",)},
}
SEEING: dict[str, dict[str, Any]] = {
    "herself": {"org_id": "beta", "user_id": "ada"},
    "a viewer": {"memberships": {"acme": ("ORG_OWNER_VIEWER",)}},
    "the instance's viewer": {"org_id": "beta", "instance": ("IAM_OWNER_VIEWER",)},
    "the sign-in pages": {"org_id": "beta", "instance": ("IAM_LOGIN_CLIENT",)},
    "a manager from elsewhere": {
        "org_id": "beta",
        "memberships": {"acme": ("ORG_USER_MANAGER",)},
    },
}
PEOPLE: dict[str, dict[str, Any]] = {
    "active": {"password": PRESENT},
    "without a password": {},
    "machine": {"kind": "machine", "password": PRESENT},
    "initial": {"state": "initial"},
    "locked": {"state": "locked", "password": PRESENT},
    "inactive": {"state": "inactive", "password": PRESENT},
}
CHANGING = ("x-request-id", "date")
PROOFS = ("right code", "wrong code", "right password", "wrong password")


@pytest.fixture
def wire(real_client):
    return WireV2(real_client)


def proof_of(wire: WireV2, proof: str) -> dict[str, str]:
    if proof == "right code":
        return {"code": wire.a_code()}
    if proof == "wrong code":
        return {"code": "23456789"}
    return {"current": PRESENT if proof == "right password" else "x"}


def told(response: Any) -> tuple[int, bytes, dict[str, str]]:
    """Everything a caller can tell apart, but time."""
    headers = {
        name: value for name, value in response.headers.items() if name.lower() not in CHANGING
    }
    return response.status_code, response.get_data(), headers


def test_a_right_code_in_a_strangers_hands_opens_nothing_and_lives_on(wire):
    a_user(wire.services, password=PRESENT)
    code = wire.a_code()
    for grants in STRANGERS.values():
        answer = wire.set_password(code=code, token=a_token(wire.services, **grants))
        assert problem(answer) == UNKNOWN

    assert wire.has_password(PRESENT)
    assert wire.set_password(code=code).status_code == 200


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_gets_the_answer_of_a_user_that_does_not_exist(wire, stranger, person):
    a_user(wire.services, **PEOPLE[person])
    grants = STRANGERS[stranger]
    for proof in PROOFS[0 if person == "active" else 1 :]:
        given = proof_of(wire, proof)
        hidden = wire.set_password(token=a_token(wire.services, **grants), **given)
        unknown = wire.set_password("nobody", token=a_token(wire.services, **grants), **given)

        assert problem(unknown) == UNKNOWN
        assert told(hidden) == told(unknown)
    for response in (hidden, unknown):
        assert "Retry-After" not in response.headers


@pytest.mark.parametrize("seeing", SEEING)
@pytest.mark.parametrize("proof", ["right code", "right password"])
def test_the_user_and_those_who_see_it_may(wire, seeing, proof):
    a_user(wire.services, password=PRESENT)
    token = a_token(wire.services, **SEEING[seeing])

    assert wire.set_password(token=token, **proof_of(wire, proof)).status_code == 200
    assert wire.has_password(GOOD)


def test_a_token_of_another_user_by_the_same_name_elsewhere_is_a_stranger(wire):
    """The id counts, not the organisation the token was made for."""
    a_user(wire.services, password=PRESENT)
    a_user(wire.services, "bob", password=PRESENT)
    bobs = a_token(wire.services, user_id="bob")

    assert problem(wire.set_password("ada", current=PRESENT, token=bobs)) == UNKNOWN
    assert wire.set_password("bob", current=PRESENT, token=bobs).status_code == 200


def test_the_organisation_header_opens_nobody_elses_user(wire):
    a_user(wire.services, password=PRESENT)
    token = a_token(wire.services, "ORG_OWNER", org_id="beta")

    in_force = wire.set_password(current=PRESENT, token=token, x_zitadel_orgid="beta")
    other = wire.set_password(current=PRESENT, token=token, x_zitadel_orgid="acme")

    assert problem(in_force) == UNKNOWN
    assert problem(other) == (404, 5, "AUTHZ-cdgFk")
    assert wire.has_password(PRESENT)


# The other protocols.


def request_of(user_id: str, **proof: str) -> SetPasswordRequest:
    names = {"code": "verification_code", "current": "current_password"}
    fields = {names[name]: value for name, value in proof.items()}
    return SetPasswordRequest(user_id=user_id, new_password={"password": GOOD}, **fields)


@pytest.mark.parametrize("proof", PROOFS)
def test_grpc_answers_a_stranger_alike(wire, proof):
    a_user(wire.services, password=PRESENT)
    given = proof_of(wire, proof)
    server = RpcServer(wire.services).start()
    try:
        stranger = RpcCaller(server.target, a_token(wire.services, org_id="beta"))
        errors = [
            stranger.start(SET_PASSWORD, request_of(user_id, **given)).exception()
            for user_id in ("ada", "nobody")
        ]
        stranger.channel.close()
    finally:
        server.stop()

    hidden, unknown = ((e.code(), e.details(), _details(e)) for e in errors)
    assert hidden == unknown
    assert "COMMAND-G8dh3" in hidden[1]
    assert wire.has_password(PRESENT)


def _details(error: Any) -> Any:
    return dict(error.trailing_metadata()).get("grpc-status-details-bin")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/proto", "application/grpc-web", "application/grpc-web+proto"],
)
@pytest.mark.parametrize("proof", PROOFS)
def test_grpc_web_and_connect_answer_a_stranger_alike(wire, kind, proof):
    a_user(wire.services, password=PRESENT)
    given, token = proof_of(wire, proof), a_token(wire.services, org_id="beta")

    def call(user_id: str):
        message = request_of(user_id, **given).SerializeToString()
        body = write_frame(message) if "grpc" in kind else message
        if kind == "application/json":
            name = "verificationCode" if "code" in given else "currentPassword"
            fields = {"userId": user_id, "newPassword": {"password": GOOD}}
            json = fields | {name: next(iter(given.values()))}
            return wire.call(SET_PASSWORD, json=json, headers=wire.headers(token))
        return wire.call(SET_PASSWORD, data=body, content_type=kind, headers=wire.headers(token))

    hidden, unknown = call("ada"), call("nobody")

    assert told(hidden) == told(unknown)
    assert b"COMMAND-G8dh3" in hidden.get_data()
    assert wire.has_password(PRESENT)


# Time: the same argon2, the same trips.


def cpu_seconds(wire: WireV2, user_id: str, **arguments: Any) -> float:
    """What one call costs this thread; other processes do not count."""
    started_at = time.thread_time()
    wire.set_password(user_id, **arguments)
    return time.thread_time() - started_at


def test_a_user_that_does_not_exist_costs_the_same_argon2(real_hashes, wire):
    for number, (name, fields) in enumerate(PEOPLE.items()):
        a_user(wire.services, f"u{number}", displayName=name, **fields)
    one_hash = min(_hash_seconds(wire) for _ in range(3))

    def best(user_id: str, **grants: Any) -> float:
        tokens = [a_token(wire.services, **grants) for _ in range(4)]
        return min(cpu_seconds(wire, user_id, current="x", token=token) for token in tokens)

    viewer = {"memberships": {"acme": ("ORG_OWNER_VIEWER",)}}
    costs = [best(user_id, **viewer) for user_id in ("u0", "u1", "u2", "nobody", "a%01b")]
    costs += [best(user_id, org_id="beta") for user_id in ("u0", "u1", "u2", "u4", "nobody")]

    assert min(costs) > one_hash * 0.8
    assert max(costs) < one_hash * 1.8


def _hash_seconds(wire: WireV2) -> float:
    started_at = time.thread_time()
    wire.services.directory.hash_password("x")
    return time.thread_time() - started_at


@pytest.mark.parametrize("proof", ["wrong code", "wrong password", "right password"])
def test_redis_is_asked_the_same(wire, proof):
    a_user(wire.services, password=PRESENT)
    given = proof_of(wire, proof)

    def asked(user_id: str) -> Counter[str]:
        token = a_token(wire.services, org_id="beta")  # not known to this process yet
        before = _commands(wire)
        wire.set_password(user_id, token=token, **given)
        return _commands(wire) - before

    assert asked("ada")
    assert asked("ada") == asked("nobody")


def _commands(wire: WireV2) -> Counter[str]:
    found = wire.redis.info("commandstats")
    return Counter({name: each["calls"] for name, each in found.items() if name != "cmdstat_info"})


# Tries of the current password belong to the one who guesses.


def test_refusals_of_many_tries_tell_no_more(wire):
    a_user(wire.services, password=PRESENT)
    token = a_token(wire.services, org_id="beta")

    def tries(user_id: str) -> list[Any]:
        return [problem(wire.set_password(user_id, current="x", token=token)) for _ in range(7)]

    assert tries("ada") == tries("nobody") == [UNKNOWN] * 5 + [LIMITED] * 2


def test_a_strangers_tries_lock_nobody_else_out(wire):
    a_user(wire.services, password=PRESENT)
    viewer = a_token(wire.services, "ORG_OWNER_VIEWER")
    stranger = a_token(wire.services, org_id="beta")
    for token in [viewer] * 7 + [stranger] * 7:
        wire.set_password(current="x", token=token)

    assert problem(wire.set_password(current="x", token=viewer)) == LIMITED
    own = a_token(wire.services, user_id="ada")
    assert wire.set_password(current=PRESENT, token=own).status_code == 200


def test_tries_at_one_user_leave_those_at_another(wire):
    a_user(wire.services, password=PRESENT)
    a_user(wire.services, "bob", password=PRESENT)
    for _ in range(6):
        wire.set_password(current="x")

    assert wire.set_password("bob", current=PRESENT).status_code == 200


def test_a_right_password_forgets_the_callers_wrong_ones(wire):
    a_user(wire.services, password=PRESENT)
    own = a_token(wire.services, user_id="ada")
    for current, new in ((PRESENT, GOOD), (GOOD, "Another-one-2"), ("Another-one-2", GOOD)):
        for _ in range(4):
            assert problem(wire.set_password(current="x", token=own)) == WRONG
        changed = wire.set_password(current=current, password=new, token=own)
        assert changed.status_code == 200


def test_one_password_tried_at_many_users_is_limited_and_fills_no_memory(wire):
    """A hundred in 15 minutes, existing or not; those who may write are not counted so."""
    a_user(wire.services, password=PRESENT)
    token = a_token(wire.services, org_id="beta")
    names = [f"user-{number}" for number in range(104)]

    answers = [problem(wire.set_password(each, current="x", token=token)) for each in names]

    assert answers == [UNKNOWN] * 100 + [LIMITED] * 4
    assert problem(wire.set_password("ada", current=PRESENT, token=token)) == LIMITED
    counters = wire.redis.keys(f"{keys.GATE}:n:*")
    assert len(counters) <= 102
    assert all(0 < wire.redis.ttl(each) <= 900 for each in counters)
    assert wire.set_password(current=PRESENT).status_code == 200


def test_a_revoked_token_changes_no_password_from_then_on(wire):
    """Though a process may know its caller for two seconds more."""
    a_user(wire.services, password=PRESENT)
    token = a_token(wire.services, "ORG_OWNER")
    assert wire.set_password(token=token).status_code == 200
    for each in wire.services.callers.list_tokens():
        wire.services.callers.revoke_token(each.token_id)

    assert problem(wire.set_password(token=token, password=PRESENT)) == (401, 16, "AUTH-7fs1e")
    assert wire.has_password(GOOD)


# The mail "your password was changed".


def notices(wire: WireV2) -> list[Any]:
    found = (wire.services.resets.find(reset_id) for reset_id in wire.records())
    return sorted((each for each in found if each.kind is Kind.NOTICE), key=lambda n: n.sequence)


def test_sixty_changes_make_one_mail_which_tells_of_the_last(wire):
    a_user(wire.services)
    for number in range(60):
        assert wire.set_password(password=f"Correct-horse-{number}").status_code == 200

    (notice,) = notices(wire)
    assert wire.has_password("Correct-horse-59")
    assert notice.completed_at > notice.created_at


def test_a_change_after_the_mail_went_out_is_told_five_minutes_after_it(wire):
    a_user(wire.services)
    wire.set_password()
    (first,) = notices(wire)
    _send(wire, first.reset_id)

    for _ in range(3):
        wire.set_password(password="Another-one-2")

    first, second = notices(wire)
    gap = (second.next_look_at - first.created_at).total_seconds()
    assert gap == pytest.approx(300, abs=10)
    assert wire.services.resets.claim(second.reset_id) is None
    assert (second.deadline_at - second.created_at).total_seconds() == pytest.approx(86400, abs=1)


def test_the_next_mail_may_go_once_the_gap_is_over(wire):
    a_user(wire.services)
    wire.set_password()
    (first,) = notices(wire)
    _send(wire, first.reset_id)
    user = keys.user(*wire.services.digests.user_place("ada"))
    sent = json.loads(wire.redis.hget(user, "nn"))
    earlier = {address: [each, at - 300_000] for address, (each, at) in sent.items()}
    wire.redis.hset(user, "nn", json.dumps(earlier))

    wire.set_password(password="Another-one-2")

    assert wire.services.resets.claim(notices(wire)[1].reset_id) is not None


def test_each_user_has_mails_of_its_own(wire):
    for name in ("ada", "bob"):
        a_user(wire.services, name)
        wire.set_password(name)

    assert {each.user_id for each in notices(wire)} == {"ada", "bob"}


def _send(wire: WireV2, reset_id: str) -> None:
    """As a worker does, which then dies: the attempt is marked."""
    claim = wire.services.resets.claim(reset_id)
    assert wire.services.resets.mark_sending(claim, provider="outbox", recipient_digest="d")
