"""SetPassword (v2) over REST: every row of the contract's table."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.models import Kind, Status
from tests.support.builders import a_token, a_user, an_organisation
from tests.support.wire import problem
from tests.support.wire_v2 import GOOD, PASSWORD, RETURN, WRONG, WireV2, typed_code, wrong

HIDDEN = (404, 5, "COMMAND-SAF4f")
UNUSABLE = (400, 9, "COMMAND-2M9fs")
MISMATCH = (400, 3, "CODE-woT0xc")
EXPIRED = (400, 9, "CODE-QvUQ4P")
LIMITED = (429, 8, "KEYTURN-RateLimited")
LIFE_SECONDS = 0.15
POLICY = [
    ("Aa1!aaa", "DOMAIN-HuJf6"),
    ("AAAAAA1!", "DOMAIN-co3Xw"),
    ("aaaaaa1!", "DOMAIN-VoaRj"),
    ("aaaaaaA!", "DOMAIN-ZBv4H"),
    ("aaaaaaA1", "DOMAIN-ZDLwA"),
    ("a", "DOMAIN-HuJf6"),
    ("aaaaaaaa", "DOMAIN-VoaRj"),
]


@pytest.fixture
def wire(real_client):
    wire = WireV2(real_client)
    a_user(wire.services, password="Present-password-1")
    return wire


@pytest.fixture
def stranger(wire):
    """A token that is valid and nothing more."""
    return a_token(wire.services, org_id="beta")


@pytest.fixture
def adas(wire):
    """The token of the user herself, without a role."""
    return a_token(wire.services, org_id="beta", user_id="ada")


# By code.


def test_a_right_code_of_the_user_herself_changes_the_password(wire, adas):
    response = wire.set_password(code=wire.a_code(), token=adas)

    assert response.status_code == 200
    assert wire.has_password(GOOD)
    details = response.get_json()["details"]
    assert details["resourceOwner"] == "acme"
    assert details["sequence"] == "2"
    assert details["changeDate"].endswith("Z")


@pytest.mark.parametrize("spell", [str.lower, lambda c: f"{c[:4]}-{c[4:]}", lambda c: f" {c} "])
def test_case_and_hyphens_of_a_code_do_not_matter(wire, spell):
    assert wire.set_password(code=spell(wire.a_code())).status_code == 200


def test_using_a_code_uses_up_all_and_cancels_what_is_queued(wire):
    sent = wire.reset_v2().headers["Keyturn-Reset-Id"]
    first, second = wire.a_code(), wire.a_code()
    wire.set_password(code=first)

    assert problem(wire.set_password(code=second)) == UNUSABLE
    assert wire.services.resets.find(sent).status is Status.CANCELLED


def test_the_person_is_told_by_mail(wire):
    wire.set_password(code=wire.a_code())

    (hint,) = wire.hints.published
    assert wire.services.resets.find(hint.about).kind is Kind.NOTICE


def test_a_used_code_is_unusable(wire):
    code = wire.a_code()
    wire.set_password(code=code)

    assert problem(wire.set_password(code=code)) == UNUSABLE


def test_without_a_live_code_any_is_unusable(wire):
    assert problem(wire.set_password(code="23456789")) == UNUSABLE


def test_a_wrong_code_while_one_is_live_is_a_mismatch(wire):
    assert problem(wire.set_password(code=wrong(wire.a_code()))) == MISMATCH


def test_five_wrong_typed_codes_make_the_caller_wait_and_leave_the_link_alone(wire):
    code = wire.a_code()
    tries = [problem(wire.set_password(code=WRONG)) for _ in range(5)]

    refused = wire.set_password(code=typed_code(wire))

    assert tries == [MISMATCH] * 5
    assert refused.status_code == 429
    assert refused.get_json()["details"][0]["id"] == "KEYTURN-RateLimited"
    assert 890 < int(refused.headers["Retry-After"]) <= 900
    assert wire.set_password(code=code).status_code == 200


def test_a_success_clears_the_caller_s_count_of_wrong_codes(wire):
    for _ in range(2):
        wire.a_code()
        for _ in range(4):
            assert problem(wire.set_password(code=WRONG)) == MISMATCH
        assert wire.set_password(code=typed_code(wire)).status_code == 200


def test_guesses_at_once_get_no_more_than_five_tries(wire):
    code = wire.a_code()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wire.set_password(code=WRONG), range(24)))

    assert sorted(answer.status_code for answer in answers) == [400] * 5 + [429] * 19
    assert wire.set_password(code=code).status_code == 200


def test_wrong_secrets_of_links_cost_no_tries(wire):
    code = wire.a_code()
    for _ in range(25):
        assert problem(wire.set_password(code=wrong(code))) == MISMATCH

    assert wire.set_password(code=typed_code(wire)).status_code == 200


def test_one_code_used_by_many_at_once_changes_the_password_once(wire):
    code = wire.a_code()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wire.set_password(code=code), range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


def test_right_and_old_codes_are_no_guesses(wire):
    code = wire.a_code()
    wire.set_password(code=code)

    answers = [problem(wire.set_password(code=code)) for _ in range(25)]

    assert answers == [UNUSABLE] * 25


def test_a_displaced_code_is_unusable(wire):
    first, *_ = [wire.a_code() for _ in range(4)]

    assert problem(wire.set_password(code=first)) == UNUSABLE


def test_an_expired_code_says_so_even_when_it_is_the_only_one(real_client):
    wire = WireV2(real_client, code_lifetime_seconds=LIFE_SECONDS)
    code = wire.a_code()
    time.sleep(LIFE_SECONDS + 0.05)

    assert problem(wire.set_password(code=code)) == EXPIRED
    assert problem(wire.set_password(code=wrong(code))) == UNUSABLE


def test_an_expired_code_beside_a_live_one_says_so(real_client):
    old = WireV2(real_client, code_lifetime_seconds=LIFE_SECONDS).a_code()
    time.sleep(LIFE_SECONDS + 0.05)
    wire = WireV2(real_client)
    live = wire.a_code()

    assert problem(wire.set_password(code=old)) == EXPIRED
    assert wire.set_password(code=live).status_code == 200


def test_a_code_is_its_users_alone(wire):
    a_user(wire.services, "eve", email="eve@example.com")
    eves = wire.a_code("eve")
    wire.a_code("ada")

    assert problem(wire.set_password("ada", code=eves)) == MISMATCH


@pytest.mark.parametrize("code", ["", "x" * 21, 5, True, {}])
def test_a_code_has_1_to_20_characters(wire, code):
    body = json.dumps({"newPassword": {"password": GOOD}, "verificationCode": code}).encode()

    assert problem(wire._post(PASSWORD.format("ada"), body, {})) == (400, 3, None)


# The new password.


@pytest.mark.parametrize(("password", "rule"), POLICY)
def test_a_password_against_policy_leaves_the_code_usable(wire, password, rule):
    code = wire.a_code()

    for _ in range(6):
        assert problem(wire.set_password(code=code, password=password)) == (400, 3, rule)
    assert wire.set_password(code=code).status_code == 200


def test_the_code_is_judged_before_the_password(wire):
    refused = wire.set_password(code=wrong(wire.a_code()), password="short")

    assert problem(refused) == MISMATCH


@pytest.mark.parametrize("password", [None, ""])
@pytest.mark.parametrize("user_id", ["ada", "nobody"])
def test_a_missing_password_is_told_first_and_costs_no_try(wire, password, user_id):
    code = wire.a_code()

    for _ in range(6):
        refused = wire.set_password(user_id, password=password, code=wrong(code))
        assert problem(refused) == (400, 3, "COMMAND-Mf0sd")
    assert wire.set_password(code=code).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"newPassword":null}', b'{"new_password":{}}'])
def test_an_empty_body_lacks_the_password(wire, body):
    answer = wire._post(PASSWORD.format("ada"), body, {})

    assert problem(answer) == (400, 3, "COMMAND-Mf0sd")


def test_a_password_has_at_most_200_characters(wire):
    code = wire.a_code()

    refused = wire.set_password(code=code, password=GOOD + "ä" * (201 - len(GOOD)))
    taken = wire.set_password(code=code, password=GOOD + "ä" * (200 - len(GOOD)))

    assert problem(refused) == (400, 3, None)
    assert taken.status_code == 200


def test_letters_and_numbers_of_any_script_count(wire):
    assert wire.set_password(code=wire.a_code(), password="Ärger-über-٣").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"newPassword":"x"}',
        b'{"newPassword":{"password":5}}',
        b'{"newPassword":{"password":"Aa1!aaaa","changeRequired":"yes"}}',
        b'{"newPassword":{"password":"Aa1!aaaa","changeRequired":1}}',
        b'{"newPassword":{"password":"Aa1!aaaa\\ud800"}}',
        b'{"newPassword":{"password":"a","password":"b"}}',
        b'{"newPassword":{},"verificationCode":"2","currentPassword":"x"}',
        b'{"newPassword":{},"currentPassword":""}',
        b"[]",
    ],
)
def test_what_cannot_be_understood_is_400(wire, body):
    status, code, error_id = problem(wire._post(PASSWORD.format("ada"), body, {}))

    assert (status, code) == (400, 3)
    assert error_id in (None, "COMMAND-Mf0sd")


# The user.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (None, (400, 9, "COMMAND-G8dh3")),
        ({"kind": "machine"}, (400, 9, "COMMAND-G8dh3")),
        ({"state": "initial"}, (400, 9, "COMMAND-M9dse")),
        ({"state": "locked"}, (400, 9, "KEYTURN-Inactive")),
        ({"state": "inactive"}, (400, 9, "KEYTURN-Inactive")),
    ],
)
@pytest.mark.parametrize("proof", [{"code": "23456789"}, {"current": "x"}])
def test_a_user_who_may_have_no_password_is_refused(wire, fields, proof, expected):
    if fields is not None:
        a_user(wire.services, "eve", **fields)

    assert problem(wire.set_password("eve", **proof)) == expected


def test_a_user_locked_since_the_code_was_sent_is_refused(wire):
    code = wire.a_code()
    a_user(wire.services, state="locked")

    assert problem(wire.set_password(code=code)) == (400, 9, "KEYTURN-Inactive")
    a_user(wire.services, state="active")
    assert problem(wire.set_password(code=code)) == (400, 9, "COMMAND-2M9fs")


# By permission.


@pytest.mark.parametrize("user_id", ["nobody", "a%01b"])
def test_by_permission_an_unknown_user_is_404(wire, user_id):
    assert problem(wire.set_password(user_id)) == HIDDEN


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ({}, HIDDEN),
        ({"memberships": {"beta": ("ORG_OWNER",)}}, HIDDEN),
        ({"roles": ("ORG_OWNER_VIEWER",)}, (403, 7, "AUTH-AWfge")),
        ({"instance": ("IAM_OWNER_VIEWER",)}, (403, 7, "AUTH-AWfge")),
        ({"user_id": "ada"}, (403, 7, "AUTH-AWfge")),
    ],
)
def test_without_proof_the_right_is_needed(wire, grants, expected):
    token = a_token(wire.services, *grants.pop("roles", ()), **grants)

    assert problem(wire.set_password(token=token)) == expected
    assert wire.has_password("Present-password-1")


@pytest.mark.parametrize("fields", [{}, {"state": "locked"}, {"kind": "machine"}])
def test_a_hidden_user_answers_like_an_unknown_one(wire, stranger, fields):
    a_user(wire.services, **fields)

    hidden = wire.set_password("ada", token=stranger)
    unknown = wire.set_password("nobody", token=stranger)

    assert hidden.status_code == unknown.status_code
    assert hidden.get_data() == unknown.get_data()


@pytest.mark.parametrize("grants", [{"roles": ("ORG_OWNER",)}, {"instance": ("IAM_LOGIN_CLIENT",)}])
def test_with_the_right_the_password_is_changed(wire, grants):
    token = a_token(wire.services, *grants.pop("roles", ()), **grants)
    code = wire.a_code()

    assert wire.set_password(token=token).status_code == 200
    assert wire.has_password(GOOD)
    assert problem(wire.set_password(code=code)) == UNUSABLE
    assert len(wire.hints.published) == 1


@pytest.mark.parametrize(("password", "rule"), POLICY)
def test_the_policy_holds_by_permission_too(wire, password, rule):
    assert problem(wire.set_password(password=password)) == (400, 3, rule)


@pytest.mark.parametrize(
    ("state", "expected"), [("initial", "COMMAND-M9dse"), ("locked", "KEYTURN-Inactive")]
)
def test_by_permission_the_state_counts_too(wire, state, expected):
    a_user(wire.services, state=state)

    assert problem(wire.set_password()) == (400, 9, expected)


def test_the_notice_is_in_the_organisations_language_when_the_user_has_none(wire):
    an_organisation(wire.services, language="de")
    a_user(wire.services, language=None)

    assert wire.set_password().status_code == 200

    (notice,) = (wire.services.resets.find(reset_id) for reset_id in wire.records())
    assert (notice.kind, notice.language) == (Kind.NOTICE, "de")


# By the current password.


def test_the_current_password_changes_it(wire, adas):
    assert wire.set_password(current="Present-password-1", token=adas).status_code == 200
    assert wire.has_password(GOOD)


def test_a_wrong_current_password_is_refused(wire):
    assert problem(wire.set_password(current="x")) == (400, 3, "COMMAND-3M0fs")
    assert wire.has_password("Present-password-1")


def test_after_five_wrong_current_passwords_even_the_right_one_waits(wire):
    for _ in range(5):
        assert problem(wire.set_password(current="x")) == (400, 3, "COMMAND-3M0fs")

    response = wire.set_password(current="Present-password-1")

    assert response.status_code == 429
    assert response.get_json()["details"][0]["id"] == "KEYTURN-RateLimited"
    assert 890 < int(response.headers["Retry-After"]) <= 900


def test_a_success_clears_the_count_of_wrong_passwords(wire):
    for current, new in (("Present-password-1", GOOD), (GOOD, "Another-one-2")):
        for _ in range(4):
            wire.set_password(current="x")
        assert wire.set_password(current=current, password=new).status_code == 200


def test_a_code_works_while_the_current_password_waits(wire):
    for _ in range(6):
        wire.set_password(current="x")

    assert wire.set_password(code=wire.a_code()).status_code == 200


def test_a_user_without_a_password_has_no_current_one(wire):
    a_user(wire.services, "eve")

    assert problem(wire.set_password("eve", current="x")) == (400, 3, "COMMAND-3M0fs")


# Who calls, and in which order.


@pytest.mark.parametrize(
    ("user_id", "arguments", "expected"),
    [
        ("ada", {"token": "kt_pat_x", "password": None}, (401, 16, "AUTH-7fs1e")),
        ("x" * 201, {"token": "kt_pat_x"}, (401, 16, "AUTH-7fs1e")),
        ("ada", {"x_zitadel_orgid": "nowhere", "password": None}, (403, 7, "AUTH-Bs7Ds")),
        ("ada", {"x_zitadel_orgid": "beta"}, (404, 5, "AUTHZ-cdgFk")),
        ("x" * 201, {}, (400, 3, None)),
        ("nobody", {"code": "x" * 21}, (400, 3, None)),
        ("nobody", {"current": "x" * 201}, (400, 3, None)),
    ],
)
def test_the_earlier_check_answers(wire, user_id, arguments, expected):
    assert problem(wire.set_password(user_id, **arguments)) == expected


def test_without_a_token_nobody_may(wire):
    answer = wire.call(PASSWORD.format("ada"), json={})

    assert problem(answer) == (401, 16, None)


# Another password is wanted at the next sign-in.


@pytest.mark.parametrize("proof", ["code", "current", None])
def test_a_required_change_is_kept_as_a_fact_of_the_user(wire, proof):
    given = {"code": wire.a_code(), "current": "Present-password-1"}
    chosen = {proof: given[proof]} if proof else {}

    assert wire.set_password(required=True, **chosen).status_code == 200

    assert wire.services.directory.find_user("ada").must_change_password


def test_the_next_password_ends_a_required_change(wire):
    wire.set_password(required=True)

    wire.set_password(code=wire.a_code(), password="Another-one-2")

    assert not wire.services.directory.find_user("ada").must_change_password


def test_an_imported_password_ends_a_required_change(wire):
    wire.set_password(required=True)

    a_user(wire.services, displayName="Ada K.")
    assert wire.services.directory.find_user("ada").must_change_password
    a_user(wire.services, password="Another-one-2")

    assert not wire.services.directory.find_user("ada").must_change_password


def test_no_secret_of_the_call_is_stored_or_logged(wire, capsys):
    code = wire.reset_v2(body=RETURN).get_json()["verificationCode"]
    wire.set_password(code=wrong(code))
    wire.set_password(current="Some-wrong-one-9")
    wire.set_password(code=code, password="A-very-secret-1")

    told = wire.stored_words() + capsys.readouterr().out

    for secret in (code, wrong(code), "Some-wrong-one-9", "A-very-secret-1"):
        assert secret not in told
