"""What callers and operators see of the guard of SMS: errors, explanations, status, levers."""

from __future__ import annotations

import json

import pytest

from shared.models import Channel
from shared.store import keys
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token, a_user
from tests.support.wire import ERROR_DETAIL, problem
from tests.support.wire_v2 import WireV2
from web.explain.query import explain_user
from web.passwords import request_fresh
from web.services import build_web_services

SMS = {"type": "TYPE_SMS"}
PREFIXES = "/keyturn/v1/sms/prefixes"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class GuardedWire(WireV2):
    """An installation whose users have numbers in a row."""

    def __init__(self, client, **settings):
        super().__init__(client, **settings)
        self.owner = a_token(self.services, instance=("IAM_OWNER",))

    def a_person(self, number, phone="+88017123{:05}", **fields):
        return a_user(
            self.services,
            f"user-{number}",
            email=f"user-{number}@example.com",
            phone=phone.format(number),
            **fields,
        )

    def ask(self, number, phone="+88017123{:05}", **fields):
        return self.reset(self.a_person(number, phone, **fields), body=SMS)

    def attack(self, count=30, **fields):
        """The answers until the first refusal, and that one."""
        for number in range(count):
            answer = self.ask(number, **fields)
            if answer.status_code != 200:
                return number, answer
        return count, None

    def change(self, prefix="+8801", action="block", token=None, **more):
        body = {"prefix": prefix, "action": action, "reason": "a test"} | more
        body = {name: value for name, value in body.items() if value is not None}
        headers = self.headers(token or self.owner)
        return self.call(PREFIXES, data=json.dumps(body), headers=headers)

    def show(self, path=PREFIXES):
        return self.call(path, method="GET", headers=self.headers(self.owner)).get_json()

    def explained(self, number):
        services = build_web_services(self.services)
        return explain_user(services, f"user-{number}").diagnosis


@pytest.fixture
def wire(fake_client):
    return GuardedWire(fake_client)


def test_an_attack_is_stopped_and_e_mail_offered(wire):
    sent, refused = wire.attack()

    assert sent == 6
    assert problem(refused) == (400, 9, "KEYTURN-SmsSuspicious")
    details = refused.get_json()["details"]
    assert [each["@type"] for each in details] == [ERROR_DETAIL, ERROR_INFO]
    assert details[1]["metadata"] == {"type": "TYPE_EMAIL"}
    assert wire.reset(f"user-{sent}").status_code == 200  # by e-mail


def test_e_mail_is_not_offered_where_there_is_none(wire):
    wire.attack()

    refused = wire.ask(99, emailVerified=False)

    assert [each["@type"] for each in refused.get_json()["details"]] == [ERROR_DETAIL]


def test_the_refusal_is_translated(wire):
    wire.attack()

    answer = wire.reset(wire.a_person(99), body=SMS, Accept_Language="de")

    assert "vorerst gestoppt" in answer.get_json()["message"]


def test_v2_and_rpc_answer_the_same(wire):
    wire.attack()
    body = {"sendLink": {"notificationType": "NOTIFICATION_TYPE_SMS"}}
    path = "/zitadel.user.v2.UserService/PasswordReset"

    by_rest = wire.reset_v2(wire.a_person(99), body)
    by_connect = wire.call(
        path,
        data=json.dumps({"userId": "user-99"} | body),
        headers=wire.headers(Content_Type="application/json"),
    )

    assert problem(by_rest) == (400, 9, "KEYTURN-SmsSuspicious")
    assert by_connect.status_code == 400
    assert by_connect.get_json()["code"] == "failed_precondition"
    assert len(by_connect.get_json()["details"]) == 2


def test_nothing_is_recorded_of_what_is_refused(wire):
    sent, _ = wire.attack()

    assert len(wire.records()) == sent


def test_a_person_whose_request_was_refused_is_explained(wire):
    sent, _ = wire.attack()

    found = wire.explained(sent)

    assert found.kind == "blocked"
    assert "the rule velocity stopped SMS (+8801712) until 20" in found.text
    assert "keyturn sms lift '+8801712'" in found.next_step


def test_the_status_says_who_until_when_and_why(wire):
    wire.attack()

    told = wire.show("/keyturn/v1/status")

    (state,) = told["sms"]
    assert (state["prefix"], state["rule"], state["level"]) == ("+8801712", "velocity", "stop")
    assert (state["by"], state["sent"], state["used"]) == ("rule", 6, 0)
    assert state["until"] > state["since"]
    assert any("SMS to +8801712 (stop, by the rule velocity)" in t for t in told["troubles"])


def test_metrics_count_what_was_refused(wire):
    wire.attack()

    told = wire.call("/metrics", method="GET").text

    assert 'keyturn_sms_guard_met_total{level="stop",rule="velocity"} 1.0' in told
    assert 'keyturn_sms_guard_tripped_total{level="stop",rule="velocity"} 1.0' in told


def test_codes_that_are_used_by_people_stop_nobody(wire, fake_client):
    for number in range(8):
        reset_id = wire.ask(number).headers["Keyturn-Reset-Id"]
        services = wire.services
        reset = services.resets.find(reset_id)
        code = services.codes.code(reset_id, reset.key_id).characters
        done = wire.set_password(f"user-{number}", code=code)
        assert done.status_code == 200, done.text

    assert wire.show()["prefixes"] == []


def test_a_call_refused_by_the_users_own_limits_counts_nothing(fake_client):
    wire = GuardedWire(fake_client, user_cooldown_seconds=60.0)
    for number in range(10):
        assert wire.reset(wire.a_person(number)).status_code == 200
        assert wire.ask(number).status_code == 429

    found = wire.redis.hgetall(keys.sms_subject("+8801712"))
    assert {n for field, n in found.items() if field[1:].isdecimal()} <= {"0"}
    assert wire.show()["prefixes"] == []


@pytest.mark.parametrize(
    ("phone", "settings", "status"),
    [
        ("+41900123456", {}, 400),
        ("+41442345678", {}, 400),
        ("+41442345678", {"sms_allow_lines": ("fixed_line",)}, 200),
        ("+12025550123", {}, 200),
    ],
)
def test_a_line_that_is_no_persons(fake_client, phone, settings, status):
    wire = GuardedWire(fake_client, **settings)

    answer = wire.ask(1, phone)

    assert answer.status_code == status
    if status == 400:
        assert problem(answer) == (400, 9, "KEYTURN-LineType")
        assert wire.records() == []
        assert wire.explained(1).kind == "blocked"


@pytest.mark.parametrize(
    ("budget", "name"),
    [("country=2/hour", "sms_country"), ("organisation=2/day", "sms_organisation"),
     ("prefix=2/hour", "sms_prefix"), ("all=2/day", "sms_all"),
     ("country=0.25EUR/day", "sms_country")],
)  # fmt: skip
def test_a_budget_is_kept(fake_client, budget, name):
    from shared.guard.rules import parse_budgets

    wire = GuardedWire(fake_client, sms_budgets=parse_budgets(budget), sms_prices=(("*", 0.1),))

    sent, refused = wire.attack()

    assert sent == 2
    assert problem(refused) == (429, 8, "KEYTURN-RateLimited")
    assert name in refused.get_json()["message"]
    assert "KEYTURN_SMS_BUDGETS" in wire.explained(sent).next_step


def test_an_operator_blocks_allows_and_lifts(wire):
    assert wire.change().get_json() == {"prefix": "+8801", "action": "block", "until": None}
    assert problem(wire.ask(1))[2] == "KEYTURN-SmsSuspicious"
    assert "an operator stopped SMS (+8801) until that is lifted" in wire.explained(1).text

    assert wire.change(action="allow", forSeconds=60).get_json()["until"]
    assert wire.attack()[1] is None

    assert wire.change(action="lift").status_code == 200
    assert wire.change(action="lift").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"prefix": "8801"},
        {"prefix": "+88O1"},
        {"prefix": "+999"},
        {"prefix": "+8801712345678"},
        {"prefix": ""},
        {"prefix": None},
        {"prefix": 880},
        {"prefix": "source x"},
        {"action": "blok"},
        {"action": None},
        {"reason": None},
        {"reason": " "},
        {"forSeconds": 0},
        {"forSeconds": -5},
        {"forSeconds": 1.5},
        {"forSeconds": "1d"},
        {"forSeconds": 10**12},
        {"action": "lift", "forSeconds": 5},
    ],
    ids=str,
)
def test_a_wrong_change_is_refused_and_changes_nothing(wire, fields):
    answer = wire.change(**fields)

    assert (answer.status_code, answer.get_json()["code"]) == (400, 3)
    assert wire.show()["prefixes"] == []


def test_only_those_who_run_the_installation_may(wire):
    assert wire.change(token=wire.token).status_code == 403
    headers = wire.headers()
    assert wire.call(PREFIXES, method="GET", headers=headers).status_code == 403


def test_allowing_a_prefix_ends_what_rules_hold_below_it(wire):
    sent, _ = wire.attack()
    wire.change("+880", "allow")

    assert [each["rule"] for each in wire.show()["prefixes"]] == ["allow"]
    assert wire.ask(sent).status_code == 200


def test_a_source_that_is_listed_can_be_lifted(fake_client):
    levels = (("velocity", "off"), ("source", "stop"), ("conversion", "off"))
    wire = GuardedWire(fake_client, sms_guard=levels, sms_guard_numbers=2)
    sent, _ = wire.attack()
    (state,) = wire.show()["prefixes"]

    assert sent == 4
    assert state["prefix"].startswith("source ")
    assert wire.change(state["prefix"], "lift").status_code == 200
    assert wire.show()["prefixes"] == []


def test_no_number_reaches_a_log_or_the_trail(wire, capsys):
    wire.attack()
    wire.change()

    assert "1712300" not in capsys.readouterr().out
    assert all("1712300" not in key for key in wire.redis.keys("*") if ":user:" not in key)


def test_a_batch_skips_what_is_blocked(wire):
    from worker.batches.selection import BatchSelection

    wire.change("+88017")
    people = [
        wire.a_person(1),
        wire.a_person(2, "+8801912345{:03}"),
        wire.a_person(3, "+41900123456"),
    ]
    batch = a_batch(wire.services, *people, channel=Channel.SMS)
    entries = wire.services.batch_lists.read(batch.list_id, 0)

    found = BatchSelection(wire.services).sort(batch, 0, list(enumerate(entries)))

    assert found.skips == {0: "sms_blocked", 2: "line_type"}
    assert [each.index for each in found.chosen] == [1]


def test_the_button_of_the_page_counts_by_its_source(wire):
    reset_id = wire.ask(1).headers["Keyturn-Reset-Id"]
    reset = wire.services.resets.find(reset_id)
    secret = wire.services.codes.code(reset_id, reset.key_id).link_secret
    wire.redis.delete(*wire.redis.keys("{kt:gate}:smsto:*"))  # the code's life later
    services = build_web_services(wire.services)

    request_fresh(services, user_id="user-1", typed_code=secret, source="192.0.2.77")

    (subject,) = wire.redis.keys("{kt:gate}:sms:source page *")
    assert "192.0.2" not in subject
    counts = wire.redis.hgetall(subject)
    assert [n for field, n in counts.items() if field[1:].isdecimal()] == ["1"]
