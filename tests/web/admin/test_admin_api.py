"""The operator's actions by the API: who may do which, and what stands in the audit trail."""

from __future__ import annotations

import pytest

from shared.store.admin.pauses import Scope
from tests.support.builders import a_token, a_user
from tests.support.wire import Wire, problem

WHY = {"reason": "a test"}
ACME = {"scope": "organisation", "name": "acme"} | WHY
SMS = {"scope": "channel", "name": "sms"} | WHY
DENIED, NO_MEMBER = (403, 7, "AUTH-5mWD2"), (404, 5, "AUTHZ-cdgFk")


class AdminWire(Wire):
    """The wire, and whoever may do everything."""

    def __init__(self, client, **settings):
        super().__init__(client, **settings)
        self.owner = a_token(self.services, instance=("IAM_OWNER",))
        self.viewer = a_token(self.services, instance=("IAM_OWNER_VIEWER",))

    def post(self, path, body, token=None, **headers):
        told = self.headers(token or self.owner, **headers)
        return self.call(f"/keyturn/v1/{path}", json=body, headers=told)

    def get(self, path, token=None):
        return self.call(
            f"/keyturn/v1/{path}", method="GET", headers=self.headers(token or self.owner)
        )

    def trail(self):
        return [(e.act.action, e.act.target) for e in self.services.audit.newest()]

    def a_reset(self, **fields):
        return self.reset(**fields).headers["Keyturn-Reset-Id"]


@pytest.fixture
def wire(client):
    return AdminWire(client)


@pytest.mark.topology
def test_a_pause_and_its_end_are_told(wire):
    paused = wire.post("pauses", SMS)
    listed = wire.get("pauses").get_json()["pauses"]
    again = wire.post("pauses", SMS)
    resumed = wire.post("pauses/_resume", SMS | {"ratePerSecond": 2.5})

    assert paused.get_json() == {"scope": "channel", "name": "sms", "wasPaused": False}
    assert listed[0] == listed[0] | SMS
    assert again.get_json()["wasPaused"]
    assert resumed.get_json()["wasPaused"]
    told = wire.get("pauses").get_json()
    assert told["pauses"] == []
    assert told["releases"][0]["ratePerSecond"] == 2.5


@pytest.mark.topology
def test_who_and_why_stand_in_the_trail(wire):
    wire.post("pauses", SMS)

    (entry,) = wire.get("audit").get_json()["entries"]

    assert entry["by"].startswith("token ")
    assert (entry["action"], entry["target"], entry["reason"]) == ("channel.pause", "sms", "a test")
    assert entry["at"].endswith("Z")


@pytest.mark.parametrize(
    ("roles", "instance", "body", "expected"),
    [
        ((), ("IAM_OWNER",), SMS, None),
        ((), ("IAM_OWNER_VIEWER",), SMS, DENIED),
        ((), ("IAM_USER_MANAGER",), SMS, DENIED),
        (("ORG_OWNER",), (), SMS, DENIED),
        (("IAM_OWNER",), (), SMS, DENIED),
        (("ORG_OWNER",), (), ACME, None),
        (("ORG_OWNER_VIEWER",), (), ACME, DENIED),
        ((), ("IAM_OWNER",), ACME, None),
        ((), (), ACME, NO_MEMBER),
        (("ORG_OWNER",), (), ACME | {"name": "beta"}, NO_MEMBER),
    ],
)
def test_an_action_without_permission_changes_nothing(wire, roles, instance, body, expected):
    token = a_token(wire.services, *roles, instance=instance)

    response = wire.post("pauses", body, token)

    assert response.status_code == 200 if expected is None else problem(response) == expected
    assert bool(wire.services.pauses.all()) == (expected is None)
    assert bool(wire.trail()) == (expected is None)


def test_pauses_of_others_are_not_listed(wire):
    wire.post("pauses", SMS)
    wire.post("pauses", ACME)
    stranger = a_token(wire.services, "ORG_OWNER", org_id="beta")

    def seen(token):
        return [each["name"] for each in wire.get("pauses", token).get_json()["pauses"]]

    assert seen(wire.viewer) == ["sms", "acme"]
    assert seen(wire.token) == ["acme"]
    assert seen(stranger) == []


@pytest.mark.parametrize(("token", "status"), [("owner", 200), ("viewer", 200), ("token", 403)])
def test_the_trail_is_for_those_who_see_the_whole_installation(wire, token, status):
    assert wire.get("audit", getattr(wire, token)).status_code == status


def test_the_trail_is_cut_where_it_is_asked_to_be(wire):
    wire.post("pauses", SMS)
    wire.post("pauses/_resume", SMS)

    entries = wire.get("audit?limit=1").get_json()["entries"]

    assert [entry["action"] for entry in entries] == ["channel.resume"]
    for wrong in ("0", "1001", "x", "-1", "1.5", ""):
        assert problem(wire.get(f"audit?limit={wrong}"))[:2] == (400, 3)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("pauses", {"scope": "planet", "name": "earth"} | WHY, (400, 3, None)),
        ("pauses", {"scope": "channel", "name": "sms"}, (400, 3, None)),
        ("pauses", SMS | {"reason": "  "}, (400, 3, None)),
        ("pauses", SMS | {"reason": "x" * 501}, (400, 3, None)),
        ("pauses", SMS | {"name": "pigeon"}, (404, 5, None)),
        ("pauses", ACME | {"name": "nowhere"}, (404, 5, None)),
        ("pauses/_resume", SMS | {"ratePerSecond": -1}, (400, 3, None)),
        ("pauses/_resume", SMS | {"ratePerSecond": "5"}, (400, 3, None)),
        ("pauses/_resume", SMS | {"ratePerSecond": True}, (400, 3, None)),
        ("limits/_clear", {"limit": "moon"} | WHY, (400, 3, None)),
        ("limits/_clear", {"limit": "user", "id": "nobody"} | WHY, (404, 5, None)),
        ("resets/nothing/_hold", WHY, (404, 5, None)),
    ],
)
def test_what_cannot_be_done_is_said(wire, path, body, expected):
    assert problem(wire.post(path, body)) == expected
    assert wire.trail() == []


def test_a_pace_out_of_this_world_is_taken(wire):
    assert wire.post("pauses/_resume", SMS | {"ratePerSecond": 1e-300}).status_code == 200


def test_a_reason_cannot_steer_a_terminal(wire):
    wire.post("pauses", SMS | {"reason": "so \x1b[2J what"})

    assert wire.services.pauses.all()[0].reason == "so \N{REPLACEMENT CHARACTER}[2J what"


def test_a_cleared_user_may_ask_at_once(client):
    wire = AdminWire(client, user_cooldown_seconds=60.0, user_limit_per_hour=1)
    wire.reset()
    assert problem(wire.reset())[2] == "KEYTURN-RateLimited"

    told = wire.post("limits/_clear", {"limit": "user", "id": "ada"} | WHY, wire.token)

    assert told.get_json() == {
        "limit": "user", "id": "ada", "wasCounted": True, "cleared": {"cooldown": 1, "requests": 1},
    }  # fmt: skip
    assert wire.reset().status_code == 200
    assert wire.trail() == [("limit.clear", "user ada")]


@pytest.mark.parametrize(
    ("setting", "limit"),
    [
        ("org_limit_per_minute", "organisation"),
        ("caller_limit_per_minute", "caller"),
        ("sms_budget_per_day", "sms_budget"),
    ],
)
@pytest.mark.topology
def test_a_cleared_limit_begins_anew(client, setting, limit):
    wire = AdminWire(client, **{setting: 1})
    caller = wire.services.callers.find_caller(wire.token).token_id
    about = {"organisation": "acme", "caller": caller, "sms_budget": None}[limit]
    wire.reset(body={"type": 1})
    assert problem(wire.reset(body={"type": 1}))[2] == "KEYTURN-RateLimited"

    told = wire.post("limits/_clear", {"limit": limit, "id": about} | WHY)

    assert told.get_json()["wasCounted"]
    assert wire.reset(body={"type": 1}).status_code == 200


@pytest.mark.parametrize(
    ("limit", "about", "expected"),
    [
        ("caller", "x", DENIED),
        ("sms_budget", None, DENIED),
        ("organisation", "beta", NO_MEMBER),
        ("user", "bob", (404, 5, None)),
    ],
)
def test_limits_of_others_are_not_cleared(wire, limit, about, expected):
    a_user(wire.services, "bob", orgId="beta")

    answer = wire.post("limits/_clear", {"limit": limit, "id": about} | WHY, wire.token)

    assert problem(answer) == expected


def test_a_viewer_may_not_clear_a_limit(wire):
    viewer = a_token(wire.services, "ORG_OWNER_VIEWER")

    answer = wire.post("limits/_clear", {"limit": "user", "id": "ada"} | WHY, viewer)

    assert problem(answer) == DENIED


def test_a_held_reset_tells_who_holds_it(wire):
    reset_id = wire.a_reset()

    held = wire.post(f"resets/{reset_id}/_hold", WHY, wire.token)
    released = wire.post(f"resets/{reset_id}/_release", WHY, wire.token)
    again = wire.post(f"resets/{reset_id}/_release", WHY, wire.token)

    assert held.get_json() == {"resetId": reset_id, "isHeld": True}
    assert released.get_json() == {"resetId": reset_id, "isHeld": False}
    assert problem(again) == (400, 9, "KEYTURN-ResetState")
    events = wire.show(reset_id).get_json()["events"]
    assert [each["type"] for each in events] == ["held", "released"]
    assert events[0]["detail"].startswith("by token ")


@pytest.mark.parametrize(
    ("roles", "org_id", "expected"),
    [
        (("ORG_OWNER_VIEWER",), "acme", DENIED),
        (("ORG_OWNER",), "beta", (404, 5, None)),
        ((), "acme", (404, 5, None)),
    ],
)
@pytest.mark.parametrize("lever", ["_hold", "_release", "_resend"])
def test_a_reset_of_others_is_left_alone(wire, roles, org_id, expected, lever):
    reset_id = wire.a_reset()
    stranger = a_token(wire.services, *roles, org_id=org_id)

    assert problem(wire.post(f"resets/{reset_id}/{lever}", WHY, stranger)) == expected


def test_scopes_are_told_by_their_words():
    assert [each.value for each in Scope] == ["queue", "channel", "provider", "organisation"]
