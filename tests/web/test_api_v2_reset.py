"""PasswordReset (v2) over REST: every row of the contract, in its order."""

from __future__ import annotations

import time

import pytest

from shared.models import Kind, Status
from shared.store import keys
from tests.support.builders import a_token, a_user
from tests.support.wire import problem
from tests.support.wire_v2 import RESET, RETURN, WireV2, wrong

HIDDEN = (404, 5, "COMMAND-SAF4f")
BAD_ENUM = {"sendLink": {"notificationType": "NOTIFICATION_TYPE_Pigeon"}}
TEMPLATE = "https://reset.example.com/x?u={{.UserID}}&c={{.Code}}&o={{.OrgID}}"


@pytest.fixture
def wire(real_client):
    return WireV2(real_client)


@pytest.mark.parametrize(
    ("body", "channel"),
    [
        (b"", "email"),
        (b" \n", "email"),
        ({}, "email"),
        ({"sendLink": None}, "email"),
        ({"sendLink": {}}, "email"),
        ({"sendLink": {"notificationType": "NOTIFICATION_TYPE_Unspecified"}}, "email"),
        ({"sendLink": {"notificationType": None}}, "email"),
        ({"sendLink": {"notificationType": 0}}, "email"),
        ({"sendLink": {"notificationType": 1}}, "email"),
        ({"sendLink": {"notificationType": "NOTIFICATION_TYPE_Email"}}, "email"),
        ({"sendLink": {"notificationType": "NOTIFICATION_TYPE_SMS"}}, "sms"),
        ({"sendLink": {"notificationType": 2.0}}, "sms"),
        ({"send_link": {"notification_type": 2}}, "sms"),
        ({"userId": "somebody else", "unknown": [1]}, "email"),
    ],
)
def test_a_reset_goes_by_the_channel_asked_for(wire, body, channel):
    response = wire.reset_v2(body=body)

    assert response.status_code == 200
    assert wire.channel_of(response) == channel
    assert [hint.task for hint in wire.hints.published] == [f"keyturn.send_{channel}"]


@pytest.mark.topology
def test_a_200_has_the_details_and_no_code(wire):
    body = wire.reset_v2().get_json()

    assert set(body) == {"details"}
    assert body["details"]["sequence"] == "1"
    assert body["details"]["resourceOwner"] == "acme"
    assert body["details"]["changeDate"] == body["details"]["creationDate"]


def test_v2_is_not_deprecated(wire):
    assert "Deprecation" not in wire.reset_v2().headers


@pytest.mark.parametrize(
    "body",
    [
        BAD_ENUM,
        {"sendLink": {"notificationType": "1"}},
        {"sendLink": {"notificationType": 3}},
        {"sendLink": {"notificationType": -1}},
        {"sendLink": {"notificationType": True}},
        {"sendLink": {"notificationType": 1.5}},
        {"sendLink": {"urlTemplate": ""}},
        {"sendLink": {"urlTemplate": "x" * 201}},
        {"sendLink": {"urlTemplate": 5}},
        {"sendLink": True},
        {"sendLink": []},
        {"returnCode": True},
        {"returnCode": {}, "sendLink": {}},
        {"userId": 5},
        b'{"sendLink":{},"sendLink":{}}',
        b'{"sendLink":{},"send_link":{}}',
        b'{"sendLink":{"urlTemplate":"\\ud800"}}',
        b"[]",
        b"null",
        b"{} {}",
        b"{",
        b"\xff",
    ],
)
def test_what_cannot_be_understood_is_400_without_details(wire, body):
    assert problem(wire.reset_v2(body=body)) == (400, 3, None)
    assert wire.records() == []


@pytest.mark.parametrize("user_id", ["", "a/b", "ada/"])
def test_an_id_that_is_no_path_segment_is_not_found(wire, user_id):
    assert problem(wire.reset_v2(user_id)) == (404, 5, None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "initial"}, (400, 9, "COMMAND-Sfe4g")),
        ({"state": "initial", "kind": "machine"}, (400, 9, "COMMAND-Sfe4g")),
        ({"kind": "machine"}, HIDDEN),
        ({"kind": "machine", "state": "locked"}, HIDDEN),
        ({"state": "locked"}, (400, 9, "KEYTURN-Inactive")),
        ({"state": "inactive"}, (400, 9, "KEYTURN-Inactive")),
        ({"email": None}, (400, 9, "KEYTURN-NoRecipient")),
        ({"emailVerified": False}, (400, 9, "KEYTURN-NoRecipient")),
    ],
)
def test_a_user_who_may_have_no_message_is_refused(wire, fields, expected):
    a_user(wire.services, "eve", **({"email": "eve@example.com"} | fields))

    assert problem(wire.reset_v2("eve")) == expected
    assert wire.records() == []


def test_an_unverified_address_is_written_to_where_the_setting_says_so(real_client):
    wire = WireV2(real_client, allow_unverified=True)
    a_user(wire.services, emailVerified=False)

    assert wire.reset_v2().status_code == 200


def test_an_sms_to_a_country_that_is_not_allowed_is_refused(real_client):
    wire = WireV2(real_client, sms_countries=("DE",))

    response = wire.reset_v2(body={"sendLink": {"notificationType": 2}})

    assert problem(response) == (400, 9, "KEYTURN-CountryNotAllowed")


@pytest.mark.topology
def test_a_suppressed_address_is_refused(wire):
    user = wire.services.directory.find_user("ada")
    wire.services.suppressions.add(user.email, reason="bounce", source="test")

    assert problem(wire.reset_v2()) == (400, 9, "KEYTURN-Suppressed")
    assert wire.reset_v2(body=RETURN).status_code == 200


def test_a_channel_without_a_provider_is_503(real_client):
    wire = WireV2(real_client, email_providers=(), sms_providers=())

    assert problem(wire.reset_v2()) == (503, 14, "KEYTURN-NoProvider")


# Who may.


def test_without_a_token_nobody_may(wire):
    response = wire.call(RESET.format("ada"), json=BAD_ENUM)

    assert problem(response) == (401, 16, None)
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_body_that_cannot_be_decoded_is_400_even_without_a_token(wire):
    assert wire.call(RESET.format("ada"), data=b"{").status_code == 400


def test_a_body_that_is_too_large_is_413_even_without_a_token(wire):
    assert wire.call(RESET.format("ada"), data=b" " * 65537).status_code == 413


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ({}, HIDDEN),
        ({"roles": ("ORG_SETTINGS_MANAGER",)}, HIDDEN),
        ({"roles": ("ORG_OWNER_VIEWER",)}, (403, 7, "AUTH-AWfge")),
        ({"instance": ("IAM_OWNER_VIEWER",)}, (403, 7, "AUTH-AWfge")),
        ({"memberships": {"beta": ("ORG_OWNER",)}}, HIDDEN),
    ],
)
def test_a_caller_without_the_right_is_refused(wire, grants, expected):
    token = a_token(wire.services, *grants.pop("roles", ()), **grants)

    assert problem(wire.reset_v2(token=token)) == expected
    assert problem(wire.reset_v2(body=RETURN, token=token)) == expected


@pytest.mark.parametrize(
    "grants",
    [
        {"roles": ("ORG_USER_MANAGER",)},
        {"org_id": "beta", "memberships": {"acme": ("ORG_OWNER",)}},
        {"org_id": "beta", "instance": ("IAM_LOGIN_CLIENT",)},
    ],
)
def test_a_caller_with_the_right_in_the_users_organisation_may(wire, grants):
    token = a_token(wire.services, *grants.pop("roles", ()), **grants)

    assert wire.reset_v2(token=token).status_code == 200


BODIES = [
    b"", RETURN, {"sendLink": {"urlTemplate": "https://evil.example/"}},
    {"sendLink": {"urlTemplate": TEMPLATE}}, {"sendLink": {"urlTemplate": "{{.Nobody}}"}},
    {"sendLink": {"notificationType": 2}}, BAD_ENUM,
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("fields", [{}, {"state": "locked"}, {"state": "initial"}, {"email": None}])
def test_a_hidden_user_answers_like_an_unknown_one(wire, body, fields):
    a_user(wire.services, **fields)
    token = a_token(wire.services, "ORG_OWNER", org_id="beta")

    hidden = wire.reset_v2("ada", body, token=token)
    unknown = wire.reset_v2("nobody", body, token=token)

    assert hidden.status_code == unknown.status_code >= 400
    assert hidden.get_data() == unknown.get_data()
    assert set(hidden.headers.keys()) == set(unknown.headers.keys())


def test_a_hidden_user_answers_like_an_unknown_one_under_a_repeated_key(wire):
    token = a_token(wire.services, "ORG_OWNER", org_id="beta")

    answers = [
        wire.reset_v2(user, token=token, Idempotency_Key=f"key-{user}").get_data()
        for user in ("ada", "ada", "nobody", "nobody")
    ]

    assert len(set(answers)) == 1


def test_the_organisation_header_is_checked_and_plays_no_other_part(wire):
    beta = a_token(wire.services, memberships={"acme": ("ORG_OWNER",), "beta": ("PROJECT_OWNER",)})

    assert problem(wire.reset_v2(x_zitadel_orgid="nowhere")) == (403, 7, "AUTH-Bs7Ds")
    assert problem(wire.reset_v2(x_zitadel_orgid="beta")) == (404, 5, "AUTHZ-cdgFk")
    assert wire.reset_v2(token=beta, x_zitadel_orgid="beta").status_code == 200
    assert wire.reset_v2(x_zitadel_orgid="").status_code == 200


@pytest.mark.parametrize("body", [b"", RETURN])
@pytest.mark.topology
def test_a_caller_may_always_reset_itself(wire, body):
    token = a_token(wire.services, org_id="beta", user_id="ada")

    assert wire.reset_v2(body=body, token=token).status_code == 200
    assert problem(wire.reset_v2("eve", body, token=token)) == HIDDEN


def test_a_machine_cannot_reset_itself(wire):
    a_user(wire.services, "robot", kind="machine", email=None, phone=None)

    assert problem(wire.reset_v2("robot", token=a_token(wire.services, user_id="robot"))) == HIDDEN


# The order of checks: each request breaks two rules, and the earlier one answers.


@pytest.mark.parametrize(
    ("user_id", "body", "headers", "expected"),
    [
        ("ada", BAD_ENUM, {"token": "kt_pat_x"}, (401, 16, "AUTH-7fs1e")),
        ("x" * 201, b"", {"token": "kt_pat_x"}, (401, 16, "AUTH-7fs1e")),
        ("ada", BAD_ENUM, {"x_zitadel_orgid": "nowhere"}, (403, 7, "AUTH-Bs7Ds")),
        ("x" * 201, b"", {"Idempotency_Key": "a b"}, (400, 3, None)),
        ("nobody", BAD_ENUM, {}, (400, 3, None)),
        ("nobody", b"", {"Idempotency_Key": "ä"}, (400, 3, None)),
        ("nobody", {"sendLink": {"urlTemplate": "{{"}}, {}, (400, 3, "DOMAIN-oGh5e")),
        ("nobody", {"sendLink": {"urlTemplate": "{{.X}}"}}, {}, (400, 3, "DOMAIN-ieYa7")),
        ("nobody", {"sendLink": {"urlTemplate": "https://evil.example"}}, {}, HIDDEN),
        ("new", {"sendLink": {"urlTemplate": "ftp://x"}}, {}, (400, 3, "KEYTURN-UrlNotAllowed")),
        ("new", {"sendLink": {"notificationType": 2}}, {}, (400, 9, "COMMAND-Sfe4g")),
    ],
)
def test_the_earlier_check_answers(wire, user_id, body, headers, expected):
    a_user(wire.services, "new", state="initial", phone=None)

    assert problem(wire.reset_v2(user_id, body, **headers)) == expected


@pytest.mark.topology
def test_suppression_is_looked_at_before_providers_and_limits(real_client):
    wire = WireV2(real_client, email_providers=(), org_limit_per_minute=1)
    user = wire.services.directory.find_user("ada")
    wire.reset_v2(body=RETURN)
    wire.services.suppressions.add(user.email, reason="bounce", source="test")

    assert problem(wire.reset_v2()) == (400, 9, "KEYTURN-Suppressed")


# The code in the answer.


def test_a_returned_code_sends_nothing(wire):
    response = wire.reset_v2(body=RETURN)

    reset = wire.services.resets.find(response.headers["Keyturn-Reset-Id"])
    assert wire.hints.published == []
    assert (reset.kind, reset.status, reset.reason) == (
        Kind.RETURNED, Status.ACCEPTED, "code_returned",
    )  # fmt: skip
    assert [key for tag in keys.TAGS for key in wire.redis.keys(f"{tag}:due:*")] == []


@pytest.mark.topology
def test_a_returned_code_works_once(wire):
    code = wire.a_code()

    assert wire.set_password(code=code).status_code == 200
    assert problem(wire.set_password(code=code)) == (400, 9, "COMMAND-2M9fs")


def test_a_returned_code_lives_as_long_as_a_mailed_one(wire):
    response = wire.reset_v2(body=RETURN)

    reset = wire.services.resets.find(response.headers["Keyturn-Reset-Id"])
    life = reset.deadline_at - reset.created_at
    assert life.total_seconds() == pytest.approx(3600, abs=0.01)


def test_a_returned_code_needs_neither_address_nor_provider(real_client):
    wire = WireV2(real_client, email_providers=(), sms_providers=())
    a_user(wire.services, email=None, phone=None)

    assert wire.reset_v2(body=RETURN).status_code == 200


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ({"user_cooldown_seconds": 60.0}, 1),
        ({"user_limit_per_hour": 2}, 2),
        ({"user_limit_per_day": 2}, 2),
        ({"org_limit_per_minute": 2}, 2),
        ({"caller_limit_per_minute": 2}, 2),
    ],
)
@pytest.mark.topology
def test_a_returned_code_counts_toward_every_limit(real_client, limit, most):
    wire = WireV2(real_client, **limit)
    for _ in range(most):
        assert wire.reset_v2(body=RETURN).status_code == 200

    response = wire.reset_v2()

    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 86400
    kinds = [detail["@type"] for detail in response.get_json()["details"]]
    assert kinds == [
        "type.googleapis.com/zitadel.v1.ErrorDetail", "type.googleapis.com/google.rpc.RetryInfo",
    ]  # fmt: skip


def test_a_returned_code_displaces_the_oldest_of_three(wire):
    first, *others = [wire.a_code() for _ in range(4)]

    assert problem(wire.set_password(code=first)) == (400, 9, "COMMAND-2M9fs")
    assert wire.set_password(code=others[0]).status_code == 200


def test_a_returned_code_does_not_cancel_the_message_on_its_way(wire):
    sent = wire.reset_v2().headers["Keyturn-Reset-Id"]

    wire.reset_v2(body=RETURN)

    assert wire.services.resets.find(sent).status is Status.QUEUED


def test_a_returned_code_stands_nowhere_in_the_store(wire):
    code = wire.reset_v2(body=RETURN, Idempotency_Key="k").get_json()["verificationCode"]
    wire.reset_v2(body=RETURN, Idempotency_Key="k")
    wire.set_password(code=wrong(code))
    wire.set_password(code=code, password="short")

    stored = wire.stored_words()

    assert len(stored) > 1000
    assert code.casefold() not in stored.casefold()
    assert f"{code[:4]}-{code[4:]}".casefold() not in stored.casefold()


# Repeating.


@pytest.mark.topology
def test_a_repeated_key_gives_the_same_code_again(wire):
    first, second = (wire.reset_v2(body=RETURN, Idempotency_Key="k") for _ in range(2))

    assert first.get_json() == second.get_json()
    assert first.headers["Keyturn-Reset-Id"] == second.headers["Keyturn-Reset-Id"]
    assert len(wire.records()) == 1


def test_a_repeated_key_whose_code_can_no_longer_be_made_says_so(real_client):
    old, new = "o" * 32, "n" * 32
    wire = WireV2(real_client, secret_keys=(old,))
    first = wire.reset_v2(body=RETURN, Idempotency_Key="k")
    both = WireV2(real_client, secret_keys=(new, old))
    again = both.reset_v2(body=RETURN, token=wire.token, Idempotency_Key="k")
    alone = WireV2(real_client, secret_keys=(new,))

    gone = alone.reset_v2(body=RETURN, token=wire.token, Idempotency_Key="k")

    assert again.get_json() == first.get_json()
    assert problem(gone) == (400, 9, "CODE-QvUQ4P")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"", {"sendLink": {"notificationType": "NOTIFICATION_TYPE_Email"}}),
        ({}, {"send_link": {"notification_type": 0}}),
        (RETURN, {"return_code": {}, "userId": "ada"}),
    ],
)
def test_the_same_meaning_in_other_bytes_is_the_same_reset(wire, first, second):
    ids = [
        wire.reset_v2(body=body, Idempotency_Key="k").headers["Keyturn-Reset-Id"]
        for body in (first, second)
    ]

    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("user_id", "body"),
    [
        ("ada", RETURN),
        ("eve", b""),
        ("ada", {"sendLink": {"notificationType": 2}}),
        ("ada", {"sendLink": {"urlTemplate": TEMPLATE}}),
    ],
)
@pytest.mark.topology
def test_another_meaning_under_a_key_is_refused(wire, user_id, body):
    a_user(wire.services, "eve")
    wire.reset_v2(Idempotency_Key="k")

    refused = wire.reset_v2(user_id, body, Idempotency_Key="k")

    assert problem(refused) == (400, 9, "KEYTURN-IdempotencyMismatch")


def test_the_v1_call_is_another_call(wire):
    wire.reset(Idempotency_Key="k")

    refused = wire.reset_v2(Idempotency_Key="k")

    assert problem(refused) == (400, 9, "KEYTURN-IdempotencyMismatch")


def test_an_answer_that_recorded_nothing_is_not_kept(wire):
    assert problem(wire.reset_v2("eve", Idempotency_Key="k")) == HIDDEN
    a_user(wire.services, "eve")

    assert wire.reset_v2("eve", Idempotency_Key="k").status_code == 200


def test_the_record_keeps_the_callers_template(wire):
    response = wire.reset_v2(body={"sendLink": {"urlTemplate": TEMPLATE}})

    reset = wire.services.resets.find(response.headers["Keyturn-Reset-Id"])
    assert reset.url_template == TEMPLATE


@pytest.mark.topology
def test_hidden_and_unknown_users_take_the_same_steps(wire):
    """A rough guard against a look-up that only one of them costs."""
    token = a_token(wire.services, "ORG_OWNER", org_id="beta")

    def seconds(user_id: str) -> float:
        started_at = time.perf_counter()
        wire.reset_v2(user_id, token=token)
        return time.perf_counter() - started_at

    seconds("ada")
    hidden, unknown = (min(seconds(user) for _ in range(15)) for user in ("ada", "nobody"))

    assert hidden < unknown * 2 + 0.002
    assert unknown < hidden * 2 + 0.002
