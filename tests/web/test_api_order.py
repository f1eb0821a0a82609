from __future__ import annotations

import dataclasses
import json
from itertools import combinations

import pytest

from shared.errors import StoreUnavailableError
from shared.models import Channel, Recipient
from shared.store.idempotency import KeyedRequest
from shared.store.limits import Limit
from shared.store.scripts import GOING_WELL, Scripts
from tests.support.builders import a_token, a_user
from tests.support.wire import V1, Wire, problem
from web.app import create_app

# Every check in its order, and what it answers.
CHECKS = {
    "route": (404, 5, None),
    "size": (413, 8, None),
    "decode": (400, 3, None),
    "token": (401, 16, "AUTH-7fs1e"),
    "organisation header": (403, 7, "AUTH-Bs7Ds"),
    "permission": (403, 7, "AUTH-5mWD2"),
    "range": (400, 3, None),
    "idempotency": (400, 9, "KEYTURN-IdempotencyMismatch"),
    "user": (400, 9, "COMMAND-Hj9ds"),
    "initial": (400, 9, "COMMAND-2M9sd"),
    "machine": (400, 9, "KEYTURN-NotHuman"),
    "inactive": (400, 9, "KEYTURN-Inactive"),
    "address": (400, 9, "KEYTURN-NoRecipient"),
    "country": (400, 9, "KEYTURN-CountryNotAllowed"),
    "suppression": (400, 9, "KEYTURN-Suppressed"),
    "provider": (503, 14, "KEYTURN-NoProvider"),
    "limits": (429, 8, "KEYTURN-RateLimited"),
    "record": (503, 14, "KEYTURN-Unavailable"),
}
FACTS = {
    "user": {"orgId": "beta"},
    "initial": {"state": "initial"},
    "machine": {"kind": "machine"},
    "inactive": {"state": "locked"},
    "address": {"phoneVerified": False},
    "country": {"phone": "+4915112345678"},
}
# A user has one state; what is decoded and what is in range are told apart by their messages.
PAIRS = [pair for pair in combinations(CHECKS, 2) if pair != ("initial", "inactive")]


class NoResets:
    """A store whose records cannot be written; its gate works."""

    def __init__(self, client):
        self.scripts = Scripts(client)

    def record_behind(self, gate, _new, _hint):
        passed = self.scripts.run(*gate)
        if passed[0] in GOING_WELL:
            raise StoreUnavailableError
        return passed, None

    def find(self, _reset_id):
        return None


def a_wire_with(client, faults):
    providers = () if "provider" in faults else ("outbox",)
    wire = Wire(client, sms_countries=("CH",), sms_providers=providers, org_limit_per_minute=1)
    fields = {name: value for fault in faults for name, value in FACTS.get(fault, {}).items()}
    a_user(wire.services, "eve", **fields)
    if "suppression" in faults:
        recipient = Recipient(Channel.SMS, fields.get("phone", "+41791234567"))
        wire.services.suppressions.add(recipient, reason="opt_out", source="hand")
    if "limits" in faults:
        wire.services.limits.pass_gate(
            [Limit("organisation", "acme", 1, 60)], recipient_digest="", version=-1, reset_id="0x"
        )
    if "record" in faults:
        wire.app = create_app(dataclasses.replace(wire.services, resets=NoResets(client)))
    return wire


def a_token_with(wire, faults):
    if "token" in faults:
        return "kt_pat_" + "x" * 43
    role = "ORG_OWNER_VIEWER" if "permission" in faults else "ORG_OWNER"
    return a_token(wire.services, role)


def a_body_with(faults):
    body = {"type": 2 if "range" in faults else 1} | ({"userId": 5} if "decode" in faults else {})
    return json.dumps(body) + " " * (70_000 if "size" in faults else 0)


def call_with(wire, faults):
    token = a_token_with(wire, faults)
    headers = wire.headers(token)
    if "organisation header" in faults:
        headers["x-zitadel-orgid"] = "nowhere"
    if "idempotency" in faults:
        headers["Idempotency-Key"] = "used"
        wire.services.idempotency.begin(a_request_of_another_meaning(wire, token))
    slash = "/" if "route" in faults else ""
    return wire.call(V1.format("eve") + slash, data=a_body_with(faults), headers=headers)


def a_request_of_another_meaning(wire, token):
    caller = wire.services.callers.find_caller(token)
    return KeyedRequest(caller.token_id if caller else "", "used", "another")


@pytest.mark.parametrize("fault", CHECKS)
def test_a_check_answers_by_itself(fake_client, fault):
    wire = a_wire_with(fake_client, {fault})

    response = call_with(wire, {fault})

    assert problem_of(response) == CHECKS[fault]


@pytest.mark.parametrize("pair", PAIRS, ids=" before ".join)
def test_of_two_faults_the_earlier_is_told(fake_client, pair):
    wire = a_wire_with(fake_client, set(pair))

    response = call_with(wire, set(pair))

    assert problem_of(response) == CHECKS[pair[0]]
    if set(pair) == {"decode", "range"}:
        assert "userId" in response.get_json()["message"]
    if pair[0] == "range":
        assert "TYPE_EMAIL" in response.get_json()["message"]


def test_without_any_fault_the_call_succeeds(fake_client):
    response = call_with(a_wire_with(fake_client, set()), set())

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "user_id"),
    [(b'{"type":7}', "ada"), (b'{"type":"TYPE_PIGEON"}', "ada"), (b"", "a" * 201)],
    ids=["number out of range", "unknown name", "long user id"],
)
def test_ranges_are_judged_after_the_token(fake_client, body, user_id):
    wire = Wire(fake_client)

    response = wire.call(V1.format(user_id), data=body)

    assert problem(response) == (401, 16, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"[]", (400, 3, None)), (b" " * 65_537, (413, 8, None)), (b'{"type":true}', (400, 3, None))],
    ids=["not an object", "too large", "wrong type"],
)
def test_what_cannot_be_read_is_told_without_a_token(fake_client, body, expected):
    wire = Wire(fake_client)

    response = wire.call(V1.format("ada"), data=body)

    assert problem(response) == expected


def problem_of(response):
    """As `problem`, but a limit's answer also carries when to try again."""
    if response.status_code == 429:
        body = response.get_json()
        return 429, body["code"], body["details"][0]["id"]
    return problem(response)
