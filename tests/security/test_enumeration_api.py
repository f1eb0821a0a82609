"""The API does not say who exists: what is another tenant's answers as what is not there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.store import keys
from shared.store.batches import BatchState
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token, a_user, an_organisation
from tests.support.delivery_services import a_renderer
from tests.support.wire import Wire, problem
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder

OWN = "/keyturn/v1"
WHY = {"reason": "a test"}
EMPTY = {"resets": [], "nextPageToken": None}
# Users of `beta`, whom a caller of `acme` may not see, each beside an id that does not exist.
HIDDEN: dict[str, dict[str, Any]] = {
    "active": {},
    "machine": {"kind": "machine"},
    "initial": {"state": "initial"},
    "locked": {"state": "locked"},
    "mute": {"email": None, "phone": None},
}
CALLERS: dict[str, dict[str, Any]] = {
    "owner": {"memberships": {"acme": ("ORG_OWNER",)}},
    "viewer": {"memberships": {"acme": ("ORG_OWNER_VIEWER",)}},
    "nobody special": {},
    "a user": {"user_id": "ada"},
    "instance owner": {"instance": ("IAM_OWNER",)},
    "instance viewer": {"instance": ("IAM_OWNER_VIEWER",)},
    "sign-in pages": {"instance": ("IAM_LOGIN_CLIENT",)},
    "owner elsewhere": {"org_id": "beta", "memberships": {"beta": ("ORG_OWNER",)}},
}


@pytest.fixture
def wire(real_client):
    wire = Wire(real_client)
    for name, fields in HIDDEN.items():
        a_user(wire.services, name, orgId="beta", **fields)
    return wire


def told(response: Any) -> tuple[int, bytes, dict[str, str]]:
    headers = {k: v for k, v in response.headers.items() if k.lower() != "x-request-id"}
    return response.status_code, response.get_data(), headers


# Batches.


def feed(wire: Wire, batch_id: str) -> None:
    services = wire.services
    BatchFeeder(services, Estimate(services, a_renderer(services.settings))).feed(batch_id)


def make(wire: Wire, *user_ids: str, token: str | None = None, **fields: Any) -> str:
    body = {"userIds": list(user_ids)} | fields
    answer = wire.call(f"{OWN}/batches", json=body, headers=wire.headers(token))
    assert answer.status_code == 202, answer.get_data(as_text=True)
    feed(wire, answer.get_json()["batchId"])
    return answer.get_json()["batchId"]


def show(wire: Wire, batch_id: str, more: str = "") -> str:
    path = f"{OWN}/batches/{batch_id}{more}"
    return wire.call(path, method="GET", headers=wire.headers()).get_data(as_text=True)


@pytest.mark.parametrize("kind", ["TYPE_EMAIL", "TYPE_SMS"])
@pytest.mark.parametrize("is_plan", [False, True])
def test_a_batch_has_one_word_and_one_count_for_unknown_and_hidden(wire, kind, is_plan):
    ids = [*HIDDEN, "no-1", "no-2"]
    batch_id = make(wire, *ids, type=kind, dryRun=is_plan)

    shown = json.loads(show(wire, batch_id))
    found = shown["plan"] if is_plan else shown

    assert found["skips"] == {"unknown_user": len(ids)}
    if not is_plan:
        lines = [json.loads(line) for line in show(wire, batch_id, "/results").splitlines()]
        words = {(each["resetId"], each["status"], each["reason"]) for each in lines}
        assert words == {(None, "skipped", "unknown_user")}


def test_two_batches_one_of_hidden_one_of_unknown_read_alike(wire):
    """All but the ids themselves and the moments, in progress, plan and results."""

    def read(prefix: str, ids: list[str]) -> str:
        whole = ""
        for is_plan in (True, False):
            batch_id = make(wire, *ids, dryRun=is_plan)
            body = json.loads(show(wire, batch_id))
            for name in ("batchId", "createdAt", "startedAt", "finishedAt"):
                body.pop(name)
            whole += json.dumps(body) + show(wire, batch_id, "/results")
        for number, each in enumerate(ids):
            whole = whole.replace(f'"{each}"', f'"{prefix}{number}"')
        return whole

    assert read("id", list(HIDDEN)) == read("id", [f"no-{n}" for n in range(len(HIDDEN))])


def test_hidden_users_take_the_same_steps_of_redis(wire):
    def asked(*ids: str) -> dict[str, int]:
        a_batch(wire.services, *ids, batch_id=ids[0], org_ids=frozenset({"acme"}))
        before = _commands(wire)
        feed(wire, ids[0])
        return {name: n - before.get(name, 0) for name, n in _commands(wire).items()}

    asked("warm")
    assert asked(*HIDDEN) == asked(*(f"no-{n}" for n in range(len(HIDDEN))))


def _commands(wire: Wire) -> dict[str, int]:
    found = wire.redis.info("commandstats")
    return {name: each["calls"] for name, each in found.items() if name != "cmdstat_info"}


def test_an_upload_is_sorted_alike(wire):
    lines = "\n".join(["ada", *HIDDEN, *(f"no-{n}" for n in range(1200))])
    headers = wire.headers(Content_Type="text/plain")
    batch_id = wire.call(f"{OWN}/batches", data=lines, headers=headers).get_json()["batchId"]
    feed(wire, batch_id)

    assert json.loads(show(wire, batch_id))["skips"] == {"unknown_user": 1200 + len(HIDDEN)}


@pytest.mark.parametrize("state", [BatchState.RUNNING, BatchState.PLANNED])
def test_an_old_batch_that_says_not_yours_reads_as_unknown(wire, state):
    a_batch(wire.services, "x", "y", "z", batch_id="old", org_ids=frozenset({"acme"}))
    counts = {"k:not_yours": 2, "k:unknown_user": 1, "k:inactive": 4}
    counts |= {"p:skip:not_yours": 2, "p:skip:unknown_user": 1, "p:send": 1}
    wire.redis.hset(keys.batch("old"), mapping=counts | {"st": state.value, "cu": 1, "co": 0})
    wire.services.batch_lists.note_skips("old", 0, {0: "not_yours", 1: "unknown_user"}, 60)

    whole = show(wire, "old") + show(wire, "old", "/results")
    shown = json.loads(show(wire, "old"))

    assert shown["skips"] == {"inactive": 4, "unknown_user": 3}
    assert shown["plan"]["skips"] == {"unknown_user": 3}
    assert "not_yours" not in whole


def test_users_of_all_organisations_are_the_instances(wire):
    token = a_token(wire.services, instance=("IAM_OWNER",))

    make(wire, "active", token=token)

    assert len(wire.records()) == 1


@pytest.mark.parametrize("verb", ["", "/results", "/_pause", "/_resume", "/_cancel"])
def test_a_batch_of_another_tenant_is_not_there(wire, verb):
    a_batch(wire.services, "active", batch_id="b" * 16, org_ids=frozenset({"beta"}))

    def ask(batch_id: str) -> Any:
        method = "POST" if verb.startswith("/_") else "GET"
        path = f"{OWN}/batches/{batch_id}{verb}"
        return told(wire.call(path, method=method, headers=wire.headers()))

    assert ask("b" * 16) == ask("c" * 16) == ask("nonsense")
    assert ask("b" * 16)[0] == 404


def test_a_plan_of_another_tenant_is_not_there(wire):
    fields = {"org_ids": frozenset({"beta"}), "state": BatchState.PLANNING}
    a_batch(wire.services, "active", batch_id="b" * 16, **fields)

    theirs, none = (
        told(wire.call(f"{OWN}/batches", json={"planId": plan}, headers=wire.headers()))
        for plan in ("b" * 16, "c" * 16)
    )

    assert theirs == none
    assert theirs[0] == 404


# Resets.


@pytest.mark.parametrize("caller", CALLERS)
def test_a_list_of_a_user_without_visible_resets_is_empty(wire, caller):
    token = a_token(wire.services, **CALLERS[caller])

    answers = [
        wire.call(f"{OWN}/resets?userId={user}", method="GET", headers=wire.headers(token))
        for user in ("nobody", "active", "machine", "ada", "a%01b", "%F0%9F%94%91")
    ]

    assert [(each.status_code, each.get_json()) for each in answers] == [(200, EMPTY)] * 6
    assert len({answer.get_data() for answer in answers}) == 1


def test_the_resets_of_a_hidden_user_are_not_listed(wire):
    theirs = a_token(wire.services, "ORG_OWNER", org_id="beta")
    wire.reset("active", token=theirs)

    for query in ("?userId=active", "?userId=active&status=queued", "", "?limit=1"):
        answer = wire.call(f"{OWN}/resets{query}", method="GET", headers=wire.headers())
        assert answer.get_json() == EMPTY


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/resets/{}"),
        ("GET", "/resets/{}/explanation"),
        ("POST", "/resets/{}/_hold"),
        ("POST", "/resets/{}/_release"),
        ("POST", "/resets/{}/_resend"),
        ("GET", "/webhooks/{}"),
        ("GET", "/webhooks/{}/dead"),
        ("DELETE", "/webhooks/{}"),
        ("POST", "/webhooks/{}/_replay"),
        ("POST", "/webhooks/{}/_enable"),
    ],
)
@pytest.mark.parametrize("caller", ["owner", "viewer", "nobody special", "a user"])
def test_what_is_another_tenants_answers_as_what_is_not_there(wire, method, path, caller):
    services = wire.services
    theirs = a_token(services, "ORG_OWNER", org_id="beta")
    reset_id = wire.reset("active", token=theirs).headers["Keyturn-Reset-Id"]
    hook = {"url": "https://hooks.example.com/k"}
    added = wire.call(f"{OWN}/webhooks", json=hook, headers=wire.headers(theirs)).get_json()
    existing = added["subscriptionId"] if "webhooks" in path else reset_id
    token = a_token(services, **CALLERS[caller])

    def ask(thing_id: str) -> Any:
        body = WHY if method == "POST" and "resets" in path else None
        url = OWN + path.format(thing_id)
        return told(wire.call(url, method=method, json=body, headers=wire.headers(token)))

    absent = services.digests.new_reset_id("active")
    assert ask(existing) == ask(absent) == ask("hook_none") == ask("%F0%9F%94%91")
    assert ask(existing)[0] in (403, 404)


@pytest.mark.parametrize("caller", ["owner", "viewer", "nobody special", "a user"])
@pytest.mark.parametrize(
    ("path", "body", "existing"),
    [
        ("limits/_clear", {"limit": "user", "id": None}, "active"),
        ("limits/_clear", {"limit": "organisation", "id": None}, "beta"),
        ("limits/_clear", {"limit": "caller", "id": None}, "a token's"),
        ("pauses", {"scope": "organisation", "name": None}, "beta"),
        ("pauses/_resume", {"scope": "organisation", "name": None}, "beta"),
    ],
)
def test_actions_on_another_tenants_things_answer_alike(wire, path, body, existing, caller):
    an_organisation(wire.services, "gamma")
    services = wire.services
    if existing == "a token's":
        existing = services.callers.list_tokens()[0].token_id
    token = a_token(services, **CALLERS[caller])

    def ask(name: str) -> Any:
        given = {key: name if value is None else value for key, value in body.items()}
        call = wire.call(f"{OWN}/{path}", json=given | WHY, headers=wire.headers(token))
        return told(call)

    assert ask(existing) == ask("none-such")
    assert ask(existing)[0] in (403, 404)
    assert services.audit.newest() == []


# ZITADEL's calls.


@pytest.mark.parametrize("person", HIDDEN)
@pytest.mark.parametrize("key", [{}, {"Idempotency_Key": "k"}])
def test_resets_of_hidden_and_unknown_users_answer_alike(wire, person, key):
    v2 = "/v2/users/{}/password_reset"

    for path, expected in (
        ("/management/v1/users/{}/password/_reset", (400, 9, "COMMAND-Hj9ds")),
        (v2, (404, 5, "COMMAND-SAF4f")),
    ):
        hidden = wire.call(path.format(person), headers=wire.headers(**key))
        unknown = wire.call(path.format("nobody"), headers=wire.headers(**key))

        assert problem(hidden) == expected
        links = [told(each)[2].pop("Link", "") for each in (hidden, unknown)]
        assert links[0].replace(person, "") == links[1].replace("nobody", "")
        assert hidden.get_data() == unknown.get_data()
    assert wire.records() == []
