"""What is wrong with a batch is said; nothing is started then, and nothing left behind."""

from __future__ import annotations

import json

import pytest

from tests.support.builders import a_token, an_organisation
from tests.support.wire import Wire, problem
from tests.web.batches.test_batches_api import PATH, batch_of, change, make, show, upload, work
from web.batches import uploads

STATE = (400, 9, "KEYTURN-BatchState")
INVALID = (400, 3, None)
SELECTION = (400, 3, "KEYTURN-Selection")
NOT_FOUND = (404, 5, None)


@pytest.fixture
def wire(client):
    return Wire(client)


def left_behind(wire):
    return wire.redis.keys("kt:list:*") + wire.redis.keys("*batch*")


def message(response):
    return response.get_json()["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "give userIds, select or planId"),
        ({"userIds": []}, "the selection is empty"),
        ({"select": {}}, "the selection is empty"),
        ({"userIds": ["ada"], "select": {}}, "only one of userIds and select"),
        ({"userIds": ["ada"], "planId": "x"}, "only one of userIds and planId"),
        ({"userIds": "ada"}, "userIds: Not a valid list"),
        ({"userIds": ["ada", 5]}, "userIds"),
        ({"userIds": ["ada", ""]}, "userIds[1] must be 1 to 200 printable characters"),
        ({"userIds": ["a\nb"]}, "userIds[0] must be 1 to 200 printable characters"),
        ({"userIds": ["ada"], "type": "TYPE_PIGEON"}, "type must be TYPE_EMAIL"),
        ({"userIds": ["ada"], "ratePerSecond": -1}, "ratePerSecond: must be a number, 0 or more"),
        ({"userIds": ["ada"], "ratePerSecond": "5"}, "ratePerSecond: must be a number, 0 or more"),
        ({"userIds": ["ada"], "ratePerSecond": True}, "ratePerSecond: must be a number"),
        ({"userIds": ["ada"], "ratePerSecond": 1e-9}, "ratePerSecond must be from 0.01"),
        ({"userIds": ["ada"], "dryRun": "yes"}, "dryRun: must be true or false"),
        ({"userIds": ["ada"], "reason": "x" * 501}, "reason: Longer than maximum length 500"),
        ({"select": {"status": "accepted"}}, "select.status: must be one of failed, expired"),
        ({"select": {"status": ["failed", 5]}}, "select.status: must be one of failed, expired"),
        ({"select": {"since": "yesterday"}}, "select.since: must be a moment such as"),
        ({"select": {"since": "2026-11-23T12:00:00"}}, "select.since: must be a moment such as"),
        ({"select": {"since": "2026-W48-1T12:00Z"}}, "select.since: must be a moment such as"),
        ({"select": {"since": 5}}, "select.since: must be a moment such as"),
        ({"select": {"channel": "pigeon"}}, "select.channel: must be one of email, sms"),
        ({"select": {"provider": "pigeon"}}, "select.provider: must be one of sendgrid"),
        (
            {"select": {"since": "2026-11-23T12:00:60Z", "until": "2026-11-23t11:00:60z"}},
            "select.until lies before select.since",
        ),
        ({"select": []}, "select"),
        ({"planId": "p1", "dryRun": True}, "a plan stands already"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_body_that_is_no_batch_is_refused(wire, body, words):
    response = make(wire, **body)

    assert problem(response) in (INVALID, SELECTION)
    assert words in message(response)
    assert left_behind(wire) == []


def test_no_pace_is_no_pace(wire):
    batch_id = batch_of(make(wire, userIds=["ada"], ratePerSecond=0))

    assert show(wire, batch_id)["ratePerSecond"] == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", "is not JSON"),
        ('{"user":"ada"}', "must be a userId"),
        ('{"userId":5}', "must be a userId"),
        ("[]", "must be a userId"),
        ("a/b", "without a slash"),
        ("x" * 201, "must be 1 to 200 printable characters"),
        ("x" * 3000, "at most 2048 bytes"),
        ("a\x00b", "must be 1 to 200 printable characters"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
    ids=repr,
)
def test_a_bad_line_is_named(wire, line, words):
    raw = line if isinstance(line, bytes) else line.encode()

    response = upload(wire, b"ada\n" * 4 + raw + b"\nada\n")

    assert problem(response) == SELECTION
    assert message(response).startswith("line 5: ")
    assert words in message(response)
    assert "nothing was started" in message(response)
    assert left_behind(wire) == []


def test_line_700001_is_named_and_nothing_is_left_behind(real_client):
    wire = Wire(real_client)
    lines = b"\n".join(b"user-%d" % number for number in range(700_000)) + b"\n{broken\n"

    response = upload(wire, lines)

    assert problem(response) == SELECTION
    assert message(response) == "line 700001: is not JSON; nothing was started (KEYTURN-Selection)"
    assert left_behind(wire) == []


def test_too_many_lines_are_refused(wire, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_LINES", 10)

    response = upload(wire, "ada\n" * 11)

    assert problem(response) == SELECTION
    assert message(response) == "a batch has at most 10 lines (KEYTURN-Selection)"
    assert left_behind(wire) == []


@pytest.mark.parametrize("data", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused(wire, data):
    response = upload(wire, data)

    assert problem(response) == SELECTION
    assert "the selection is empty" in message(response)


@pytest.mark.parametrize(
    "query",
    ["?ratePerSecond=-1", "?ratePerSecond=fast", "?ratePerSecond=nan", "?ratePerSecond=inf",
     "?dryRun=maybe", "?type=TYPE_PIGEON"],
)  # fmt: skip
def test_a_query_that_cannot_be_read_is_refused(wire, query):
    assert problem(upload(wire, "ada\n", query=query)) == INVALID
    assert left_behind(wire) == []


def test_a_json_body_keeps_its_cap(wire):
    response = make(wire, userIds=["x" * 100] * 700)

    assert response.status_code == 413


@pytest.mark.parametrize("org_id", ["beta", "nowhere"])
def test_an_organisation_that_is_not_the_callers_is_not_there(wire, org_id):
    assert problem(make(wire, select={"orgId": org_id})) == (404, 5, "AUTHZ-cdgFk")


def test_a_caller_who_may_only_read_starts_nothing(wire):
    viewer = a_token(wire.services, "ORG_OWNER_VIEWER")

    assert problem(make(wire, userIds=["ada"], token=viewer)) == (403, 7, "AUTH-5mWD2")


def test_nothing_starts_on_a_channel_without_a_provider(client):
    wire = Wire(client, sms_providers=())

    response = make(wire, userIds=["ada"], type="TYPE_SMS")

    assert problem(response) == (503, 14, "KEYTURN-NoProvider")
    assert left_behind(wire) == []


def test_another_batch_under_the_same_key_is_refused(wire):
    key = {"headers": {"Idempotency_Key": "k1"}}
    make(wire, userIds=["ada"], **key)

    answers = [
        make(wire, userIds=["eve"], **key),
        make(wire, userIds=["ada"], dryRun=True, **key),
        make(wire, select={}, **key),
    ]

    assert {problem(each) for each in answers} == {(400, 9, "KEYTURN-IdempotencyMismatch")}
    assert len(wire.redis.keys("kt:list:*")) == 1


@pytest.mark.parametrize("key", ["a b", "ü", "x" * 256])
def test_a_key_that_is_none_is_refused(wire, key):
    headers = wire.headers(Idempotency_Key=key.encode().decode("latin-1"))

    response = wire.call(PATH, data=json.dumps({"userIds": ["ada"]}), headers=headers)

    assert problem(response) == INVALID


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
@pytest.mark.parametrize("batch_id", ["nothing", "x" * 500, "{kt}", "🎉"])
def test_what_is_no_batch_is_not_found(wire, verb, batch_id):
    assert problem(change(wire, batch_id, verb)) == NOT_FOUND


@pytest.mark.parametrize("path", ["", "/results"])
def test_what_is_no_batch_cannot_be_read(wire, path):
    response = wire.call(f"{PATH}/nothing{path}", method="GET", headers=wire.headers())

    assert problem(response) == NOT_FOUND


def test_a_plan_that_does_not_exist_is_not_found(wire):
    assert problem(make(wire, planId="nothing")) == NOT_FOUND


def test_a_batch_of_others_is_hidden(wire):
    an_organisation(wire.services, "gamma")
    batch_id = batch_of(make(wire, userIds=["ada"]))
    stranger = a_token(wire.services, "ORG_OWNER", org_id="gamma")
    headers = wire.headers(stranger)

    answers = [
        wire.call(f"{PATH}/{batch_id}", method="GET", headers=headers),
        wire.call(f"{PATH}/{batch_id}/results", method="GET", headers=headers),
        wire.call(f"{PATH}/{batch_id}/_cancel", headers=headers),
    ]

    assert {problem(each) for each in answers} == {NOT_FOUND}
    assert show(wire, batch_id)["state"] == "running"


@pytest.mark.parametrize(
    ("before", "verb", "words"),
    [
        (("cancel",), "resume", "was cancelled; make a new one: it cannot be resumed"),
        (("cancel",), "pause", "was cancelled; make a new one: it cannot be paused"),
        ((), "plan", "is still being planned"),
    ],
)
def test_what_the_state_does_not_allow_is_told(wire, before, verb, words):
    batch_id = batch_of(make(wire, userIds=["ada"], dryRun=verb == "plan"))
    for each in before:
        change(wire, batch_id, each)

    response = make(wire, planId=batch_id) if verb == "plan" else change(wire, batch_id, verb)

    assert problem(response) == STATE
    assert words in message(response)


def test_a_plan_is_neither_paused_nor_resumed(wire):
    plan_id = batch_of(make(wire, userIds=["ada"], dryRun=True))
    work(wire, plan_id)

    answers = [change(wire, plan_id, verb) for verb in ("pause", "resume")]

    assert [problem(each) for each in answers] == [STATE] * 2
    assert "was planned and not started" in message(answers[0])


def test_a_bad_line_is_named_in_every_language(wire):
    headers = wire.headers(Content_Type="text/plain", Accept_Language="de")

    response = wire.call(PATH, data="ada\n{broken\n", headers=headers)

    assert message(response).startswith("Die Auswahl des Stapels")
    assert "line 2: is not JSON" in message(response)
