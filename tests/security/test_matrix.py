"""Every call by every kind of caller, with every kind of organisation header, at all tenants'.

The calls are those of Flask's url_map and of the RPC table: a new one fails the test until CALLS
says who may. No refused call changes anything; what a caller may not see answers like what is
not there; and no answer holds what another tenant calls its own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import Parse

from shared.directories.passwords import Argon2Hasher
from shared.store import keys
from shared.store.connection import connect
from shared.validation import format_timestamp
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token, a_user
from tests.support.fakes import FakeRedis
from tests.support.wire import Wire
from tests.test_architecture import CONSOLE_ROUTES, OPEN_ROUTES
from web.problems import HTTP_STATUS
from web.rpc.calls import CALLS as RPC_CALLS
from web.rpc.grpc_web import write_frame
from web.rpc.http import PROTOCOLS

SECRET = "known-to-its-tenant-alone"
PRESENT = "Xylophon-quartz-1"
NEW = "Correct-horse-battery-staple-1"
WHY = {"reason": "a test"}
SINCE = format_timestamp(datetime.now(UTC) - timedelta(minutes=15))  # longer ones read for long
UNKNOWN_PERSON = ("COMMAND-Hj9ds", "COMMAND-G8dh3")  # 400 by ZITADEL's ids; as good as a 404
ORGS = ("acme", "beta")
USERS = {"acme": "ada", "beta": "bob", None: "nobody"}
HEADERS = (None, "acme", "beta", "nowhere", "ACME", "x" * 201, "a b\tc", "{kt:gate}")

# What ZITADEL's roles may do here, told apart from the product's own table.
WRITERS = {"ORG_OWNER", "ORG_USER_MANAGER", "IAM_OWNER", "IAM_ORG_MANAGER", "IAM_USER_MANAGER",
           "IAM_LOGIN_CLIENT"}  # fmt: skip
DELETERS = {"ORG_OWNER", "ORG_USER_MANAGER", "IAM_OWNER"}
READERS = WRITERS | {"ORG_OWNER_VIEWER", "IAM_OWNER_VIEWER"}
ORG_WRITERS = {"ORG_OWNER", "ORG_SETTINGS_MANAGER", "IAM_OWNER"}
ORG_READERS = ORG_WRITERS | {"ORG_OWNER_VIEWER", "IAM_OWNER_VIEWER"}


@dataclass(frozen=True)
class Who:
    """A caller whose token is good."""

    org_id: str = "acme"
    user_id: str | None = None
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    instance: tuple[str, ...] = ()

    def may(self, org_id: str | None, roles: set[str]) -> bool:
        return bool(roles & {*self.instance, *self.roles.get(org_id or "", ())})

    @property
    def own_org_of_user(self) -> str | None:
        """The organisation of the user that the token is of."""
        return next((org for org, user in USERS.items() if user == self.user_id), "")

    def is_member(self, org_id: str) -> bool:
        return bool(self.instance or self.roles.get(org_id))


KNOWN = {
    "owner": Who(roles={"acme": ("ORG_OWNER",)}),
    "user manager": Who(roles={"acme": ("ORG_USER_MANAGER",)}),
    "viewer": Who(roles={"acme": ("ORG_OWNER_VIEWER",)}),
    "settings manager": Who(roles={"acme": ("ORG_SETTINGS_MANAGER",)}),
    "instance role in one organisation": Who(roles={"acme": ("IAM_OWNER_VIEWER",)}),
    "without a role": Who(),
    "ordinary user": Who(user_id="ada"),
    "ordinary user elsewhere": Who("beta", user_id="bob"),
    "owner elsewhere": Who("beta", roles={"beta": ("ORG_OWNER",)}),
    "viewer elsewhere": Who("beta", roles={"beta": ("ORG_OWNER_VIEWER",)}),
    "viewer here, owner elsewhere": Who(
        roles={"acme": ("ORG_OWNER_VIEWER",), "beta": ("ORG_OWNER",)}
    ),
    "instance owner": Who(instance=("IAM_OWNER",)),
    "instance viewer": Who(instance=("IAM_OWNER_VIEWER",)),
    "instance user manager": Who("beta", instance=("IAM_USER_MANAGER",)),
    "sign-in pages": Who(instance=("IAM_LOGIN_CLIENT",)),
    "impersonator": Who(instance=("IAM_ADMIN_IMPERSONATOR",)),
}
UNSIGNED = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    for part in ({"alg": "none"}, {"sub": "ada", "exp": 9999999999}, {})
)
# Authorization headers without a caller; `%` stands for a token that is good otherwise.
UNKNOWN: dict[str, str | None] = {
    "no token": None,
    "empty": "",
    "scheme alone": "Bearer",
    "token alone": "%",
    "other scheme": "Basic %",
    "lower case": "bearer %",
    "two spaces": "Bearer  %",
    "two tokens": "Bearer % %",
    "comma": "Bearer %,%",
    "cut": "Bearer %~",
    "longer": "Bearer %x",
    "wrong": f"Bearer {keys.TOKEN_PREFIX}{'A' * 43}",
    "unsigned": f"Bearer {UNSIGNED}",
    "expired": "Bearer expired",
    "revoked": "Bearer revoked",
}
# Of a call at a thing of `target` (None: none there), with `force` the organisation in force.
Rule = Callable[[Who, str, str | None], bool]


def in_force(roles: set[str]) -> Rule:
    return lambda who, force, target: who.may(force, roles) and target == force


def anywhere_in_force(roles: set[str]) -> Rule:
    """What is named plays no part."""
    return lambda who, force, _: who.may(force, roles)


def of_thing(roles: set[str]) -> Rule:
    return lambda who, _, target: target is not None and who.may(target, roles)


def batch(who: Who, force: str, target: str | None) -> bool:
    return who.may(force, WRITERS) and target is not None and who.may(target, WRITERS)


def selection(who: Who, force: str, target: str | None) -> bool:
    return who.may(force, WRITERS) and who.may(target, WRITERS)


def person(roles: set[str]) -> Rule:
    return lambda who, _, target: (
        target is not None and (who.may(target, roles) or who.user_id == USERS[target])
    )


def operator(who: Who, _: str, target: str | None) -> bool:
    return target is not None and (who.may(target, WRITERS) or "IAM_OWNER" in who.instance)


def clearing(who: Who, _: str, target: str | None) -> bool:
    """Of those who may everywhere, no id is checked."""
    return who.may(target, WRITERS)


def instance(*roles: str) -> Rule:
    return lambda who, _, __: bool({*who.instance} & {*roles})


def owner_of_all(who: Who, _: str, target: str | None) -> bool:
    return target is not None and "IAM_OWNER" in who.instance


def everyone(_: Who, __: str, ___: str | None) -> bool:
    return True


class Call(NamedTuple):
    """How a route is called, and who may; `%` in the body or the query is the thing's id."""

    rule: Rule
    thing: str = ""  # user, reset, hook, batch, org; nothing: no thing is named
    body: Any = None
    query: str = ""
    changes: bool = False  # though it has no body


V1 = [Call(in_force(WRITERS), "user", {})]
BY_CODE = {"newPassword": {"password": NEW}, "verificationCode": "23456789"}
OWN = "/keyturn/v1"
CALLS: dict[str, list[Call]] = {
    "POST /management/v1/users/<user_id>/password/_reset": V1,
    "POST /users/<user_id>/password/_reset": V1,
    "POST /v2/users/<user_id>/password_reset": [
        Call(person(WRITERS), "user", {}),
        Call(person(WRITERS), "user", {"returnCode": {}}),
    ],
    "POST /v2/users/<user_id>/password": [
        Call(of_thing(WRITERS), "user", {"newPassword": {"password": NEW}}),
        Call(person(READERS), "user", BY_CODE),
        Call(person(READERS), "user", BY_CODE | {"verificationCode": "%code"}),
        Call(person(READERS), "user", {"newPassword": {"password": NEW}, "currentPassword": "x"}),
        Call(
            person(READERS), "user", {"newPassword": {"password": NEW}, "currentPassword": PRESENT}
        ),
    ],
    f"GET {OWN}/resets": [
        Call(everyone, query=f"?since={SINCE}"),
        Call(everyone, "user", query="?userId=%"),
        Call(everyone, "user", query="?userId=%&status=queued&limit=1"),
    ],
    f"GET {OWN}/resets/<reset_id>": [Call(of_thing(READERS), "reset")],
    f"GET {OWN}/resets/<reset_id>/explanation": [Call(of_thing(READERS), "reset")],
    f"POST {OWN}/resets/<reset_id>/_hold": [Call(of_thing(WRITERS), "reset", WHY)],
    f"POST {OWN}/resets/<reset_id>/_release": [Call(of_thing(WRITERS), "reset", WHY)],
    f"POST {OWN}/resets/<reset_id>/_void": [Call(of_thing(WRITERS), "reset", WHY)],
    f"POST {OWN}/resets/<reset_id>/_resend": [Call(of_thing(WRITERS), "reset", WHY)],
    f"GET {OWN}/pauses": [Call(everyone)],
    f"POST {OWN}/pauses": [
        Call(operator, "org", {"scope": "organisation", "name": "%"} | WHY),
        Call(instance("IAM_OWNER"), body={"scope": "channel", "name": "sms"} | WHY),
    ],
    f"POST {OWN}/pauses/_resume": [
        Call(operator, "org", {"scope": "organisation", "name": "%"} | WHY),
        Call(instance("IAM_OWNER"), body={"scope": "queue", "name": "bulk"} | WHY),
    ],
    f"POST {OWN}/limits/_clear": [
        Call(operator, "user", {"limit": "user", "id": "%"} | WHY),
        Call(clearing, "org", {"limit": "organisation", "id": "%"} | WHY),
        Call(instance("IAM_OWNER"), "user", {"limit": "caller", "id": "%"} | WHY),
        Call(instance("IAM_OWNER"), body={"limit": "sms_budget"} | WHY),
    ],
    f"GET {OWN}/sms/prefixes": [Call(instance("IAM_OWNER", "IAM_OWNER_VIEWER"))],
    f"POST {OWN}/sms/prefixes": [
        Call(instance("IAM_OWNER"), body={"prefix": "+8801", "action": "block"} | WHY)
    ],
    f"GET {OWN}/status": [Call(instance("IAM_OWNER", "IAM_OWNER_VIEWER"))],
    f"GET {OWN}/audit": [Call(instance("IAM_OWNER", "IAM_OWNER_VIEWER"))],
    f"GET {OWN}/webhooks": [Call(anywhere_in_force(READERS))],
    f"POST {OWN}/webhooks": [
        Call(anywhere_in_force(WRITERS), body={"url": "https://hooks.example.com/new"})
    ],
    f"GET {OWN}/webhooks/<subscription_id>": [Call(in_force(READERS), "hook")],
    f"DELETE {OWN}/webhooks/<subscription_id>": [Call(in_force(WRITERS), "hook", changes=True)],
    f"GET {OWN}/webhooks/<subscription_id>/dead": [Call(in_force(READERS), "hook")],
    f"POST {OWN}/webhooks/<subscription_id>/_replay": [
        Call(in_force(WRITERS), "hook", changes=True)
    ],
    f"POST {OWN}/webhooks/<subscription_id>/_enable": [
        Call(in_force(WRITERS), "hook", changes=True)
    ],
    f"GET {OWN}/organisations/<org_id>": [Call(of_thing(ORG_READERS), "org")],
    f"GET {OWN}/organisations/<org_id>/branding": [Call(of_thing(ORG_READERS), "org")],
    f"PUT {OWN}/organisations/<org_id>/branding": [
        Call(of_thing(ORG_WRITERS), "org", {"displayName": "Other"} | WHY)
    ],
    f"PATCH {OWN}/organisations/<org_id>/branding": [
        Call(of_thing(ORG_WRITERS), "org", {"displayName": "Other"} | WHY)
    ],
    f"PUT {OWN}/organisations/<org_id>/branding/logo": [
        Call(of_thing(ORG_WRITERS), "org", {}, "?reason=a+test")
    ],
    f"DELETE {OWN}/organisations/<org_id>/branding/logo": [
        Call(of_thing(ORG_WRITERS), "org", query="?reason=a+test", changes=True)
    ],
    f"GET {OWN}/organisations/<org_id>/sender": [Call(of_thing(ORG_READERS), "org")],
    f"PUT {OWN}/organisations/<org_id>/sender": [
        Call(of_thing(ORG_WRITERS), "org", {"email": {"fromAddress": "a@acme.example"}} | WHY)
    ],
    f"DELETE {OWN}/organisations/<org_id>/sender": [
        Call(of_thing(ORG_WRITERS), "org", query="?reason=a+test", changes=True)
    ],
    f"GET {OWN}/organisations/<org_id>/preview": [Call(of_thing(ORG_READERS), "org")],
    f"POST {OWN}/organisations/<org_id>/_send_test": [
        Call(of_thing(ORG_WRITERS), "org", {"to": "eve@example.com"} | WHY)
    ],
    f"GET {OWN}/organisations/<org_id>/texts": [Call(of_thing(ORG_READERS), "org")],
    f"GET {OWN}/organisations/<org_id>/texts/history": [Call(of_thing(ORG_READERS), "org")],
    f"POST {OWN}/organisations/<org_id>/texts/_rollback": [
        Call(of_thing(ORG_WRITERS), "org", {"version": 1} | WHY)
    ],
    f"GET {OWN}/organisations/<org_id>/texts/<language>": [Call(of_thing(ORG_READERS), "org")],
    f"PUT {OWN}/organisations/<org_id>/texts/<language>": [
        Call(of_thing(ORG_WRITERS), "org", {"sentences": {"reset.code": "Or:"}} | WHY)
    ],
    f"DELETE {OWN}/organisations/<org_id>/texts/<language>": [
        Call(of_thing(ORG_WRITERS), "org", query="?reason=a+test", changes=True)
    ],
    f"POST {OWN}/batches": [
        Call(anywhere_in_force(WRITERS), "user", {"userIds": ["%"]}),
        Call(batch, "batch", {"planId": "%"}),
        Call(selection, "org", {"select": {"orgId": "%", "since": SINCE}}),
    ],
    f"GET {OWN}/batches": [Call(anywhere_in_force(WRITERS))],
    f"GET {OWN}/batches/<batch_id>": [Call(batch, "batch")],
    f"GET {OWN}/batches/<batch_id>/results": [Call(batch, "batch")],
    f"POST {OWN}/batches/<batch_id>/_pause": [Call(batch, "batch", {})],
    f"POST {OWN}/batches/<batch_id>/_resume": [Call(batch, "batch", {})],
    f"POST {OWN}/batches/<batch_id>/_cancel": [Call(batch, "batch", {})],
    f"POST {OWN}/users/<user_id>/_forget": [
        Call(of_thing(DELETERS), "user", WHY),
        Call(of_thing(DELETERS), "user", WHY | {"withAudit": True, "withSuppressions": True}),
    ],
    f"GET {OWN}/users/<user_id>/export": [Call(of_thing(READERS), "user", changes=True)],
    f"POST {OWN}/_forget": [
        Call(instance("IAM_OWNER"), body={"address": f"{SECRET}@example.com"} | WHY)
    ],
    f"POST {OWN}/organisations/<org_id>/_remove": [
        Call(owner_of_all, "org", {"withUsers": True} | WHY)
    ],
}
REST_OF_RPC = {
    "SendHumanResetPasswordNotification": "POST /users/<user_id>/password/_reset",
    "PasswordReset": "POST /v2/users/<user_id>/password_reset",
    "SetPassword": "POST /v2/users/<user_id>/password",
}
MIN_TRIES = 2_600
PER_CALL = len(HEADERS) * len(KNOWN) + 4 * len(UNKNOWN)  # at least


class Answer(NamedTuple):
    """What a caller is told, by whatever protocol."""

    status: int  # as REST has it
    error_id: str | None
    whole: str  # with headers, without what differs in each

    @property
    def is_refused(self) -> bool:
        return self.status in (401, 403, 404) or self.error_id in UNKNOWN_PERSON


READ: dict[str, Callable[[Any, str], Any]] = {
    "string": lambda pipe, name: pipe.get(name),
    "hash": lambda pipe, name: pipe.hgetall(name),
    "set": lambda pipe, name: pipe.smembers(name),
    "zset": lambda pipe, name: pipe.zrange(name, 0, -1, withscores=True),
    "list": lambda pipe, name: pipe.lrange(name, 0, -1),
    "stream": lambda pipe, name: pipe.xrange(name),
}


class World:
    """Two tenants with the same things, and callers of every kind; it can be put back."""

    def __init__(self, client: Any) -> None:
        self.wire = wire = Wire(client)
        self.redis = client
        services = wire.services
        services.directory._hasher = Argon2Hasher(memory_kib=64, passes=1)
        self.things: dict[tuple[str, str | None], str] = {}
        for org, user in (("acme", "ada"), ("beta", "bob")):
            a_user(services, user, orgId=org, email=f"{SECRET}@example.com", password=PRESENT)
            self._fill(org, user)
        for kind, absent in {
            "user": "nobody",
            "org": "none-such",
            "hook": "hook_0000000000000000",
            "batch": "0" * 16,
            "reset": services.digests.new_reset_id("bob"),
        }.items():
            self.things[kind, None] = absent
        self.tokens = {name: self._token(who) for name, who in KNOWN.items()}
        good = self.tokens["owner"]
        expired = a_token(services, "ORG_OWNER", lifetime_seconds=0.001)
        revoked = a_token(services, "ORG_OWNER")
        services.callers.revoke_token(services.callers.list_tokens()[-1].token_id)
        made = {"expired": expired, "revoked": revoked, "%~": good[:-1]}
        self.unknown = {
            name: header and re.sub("expired|revoked|%~", lambda m: made[m[0]], header)
            .replace("%", good)
            for name, header in UNKNOWN.items()
        }  # fmt: skip
        for token in self.tokens.values():  # notes the use of each, once a minute
            wire.call(f"{OWN}/resets?limit=1", method="GET", headers=wire.headers(token))
        self.snapshot, self.digest = self._dump(), self.state()

    def _token(self, who: Who) -> str:
        return a_token(
            self.wire.services,
            org_id=who.org_id,
            memberships=who.roles,
            instance=who.instance,
            user_id=who.user_id,
        )

    def _fill(self, org: str, user: str) -> None:
        wire = self.wire
        headers = wire.headers(a_token(wire.services, "ORG_OWNER", org_id=org))
        self.things |= {("user", org): user, ("org", org): org}
        made = wire.call(f"/v2/users/{user}/password_reset", headers=headers)
        self.things["reset", org] = made.headers["Keyturn-Reset-Id"]
        code = wire.call(
            f"/v2/users/{user}/password_reset", headers=headers, json={"returnCode": {}}
        )
        self.things["code", org] = code.get_json()["verificationCode"]
        hook = {"url": f"https://{SECRET}.{org}.example.com/"}
        added = wire.call(f"{OWN}/webhooks", headers=headers, json=hook)
        self.things["hook", org] = added.get_json()["subscriptionId"]
        wire.services.profiles.save_text(
            org, "de", {"reset.code": f"Von {org}"}, version=0, by="eve", reason="a test"
        )
        batch_id = ("a" if org == "acme" else "b") * 16
        fields = {"batch_id": batch_id, "org_ids": frozenset({org}), "reason": f"{SECRET} {org}"}
        a_batch(wire.services, user, **fields)
        self.things["batch", org] = batch_id

    def _dump(self) -> dict[str, bytes]:
        found = sorted(self.redis.keys("*"))
        pipe = self.redis.pipeline(transaction=False)
        for name in found:
            pipe.execute_command("DUMP", name, NEVER_DECODE=True)
        return dict(zip(found, pipe.execute(), strict=True))

    def state(self) -> dict[str, Any]:
        """Everything but counted calls and tries, and when a token was used; in no order."""
        ignored = (f"{keys.GATE}:n:", keys.tried(""), "kt:token:")
        names = [name for name in self.redis.keys("*") if not name.startswith(ignored)]
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.type(name)
        for name, kind in zip(names, pipe.execute(), strict=True):
            READ[kind](pipe, name)
        return dict(zip(names, pipe.execute(), strict=True))

    def put_back(self) -> None:
        self.redis.flushdb()
        pipe = self.redis.pipeline(transaction=False)
        for name, value in self.snapshot.items():
            pipe.execute_command("RESTORE", name, 0, value)
        pipe.execute()


@pytest.fixture(scope="module")
def world(real_redis_url) -> Iterator[World]:
    with connect(real_redis_url) as client:
        client.flushdb()
        yield World(client)


def ask(
    world: World, route: str, call: Call, target: str | None, authorization: str | None,
    org_header: str | None,
) -> Answer:  # fmt: skip
    """One call by REST."""
    method, _, path = route.partition(" ")
    thing = world.things.get((call.thing, target), "")
    code = world.things.get(("code", target), "ABCDEFGH")
    path = path.replace("<language>", "de")
    path = re.sub("<[^>]*>", thing, path) + call.query.replace("%", thing)
    text = json.dumps(call.body).replace("%code", code).replace("%", thing)
    body = {} if call.body is None else {"data": text, "content_type": "application/json"}
    response = world.wire.call(
        path, method=method, headers=_headers(authorization, org_header), **body
    )
    answer = response.get_data(as_text=True)
    told = json.loads(answer) if response.mimetype == "application/json" else {}
    first = (told.get("details") or [{}])[0] if response.status_code >= 400 else {}
    return Answer(response.status_code, first.get("id"), _whole(response, answer, (thing, code)))


def _headers(authorization: str | None, org_header: str | None) -> dict[str, str]:
    given = {"Authorization": authorization, "x-zitadel-orgid": org_header, "If-Match": "*"}
    return {name: value for name, value in given.items() if value is not None}


def _whole(response: Any, answer: str, ids: tuple[str, ...]) -> str:
    headers = [f"{k}: {v}" for k, v in response.headers if k.lower() not in CHANGING]
    whole = "\n".join([str(response.status_code), *headers, answer])
    for each in filter(None, ids):
        whole = whole.replace(each, "ID")
    return whole


CHANGING = ("x-request-id", "content-length")


def ask_rpc(
    world: World, kind: str, path: str, call: Call, target: str | None,
    authorization: str | None, org_header: str | None,
) -> Answer:  # fmt: skip
    """The same call by one of the RPC protocols on the port of REST."""
    thing = world.things[call.thing, target]
    code = world.things.get(("code", target), "ABCDEFGH")
    text = json.dumps(call.body | {"userId": thing}).replace("%code", code)
    rpc = RPC_CALLS[path]
    if kind == "application/json":
        data = text.encode()
    else:
        data = Parse(text, rpc.request()).SerializeToString()
    if "grpc" in kind:
        data = write_frame(data)
    if "text" in kind:
        data = base64.b64encode(data)
    headers = _headers(authorization, org_header)
    response = world.wire.call(path, data=data, content_type=kind, headers=headers)
    answer = response.get_data()
    if "text" in kind:
        answer = base64.b64decode(answer)
    words = answer.decode("latin-1") + "".join(f"{k}: {v}\r\n" for k, v in response.headers)
    found = re.search(r"(COMMAND|AUTH|AUTHZ|CODE|KEYTURN)-\w+", words)
    status = response.status_code
    if "grpc" in kind:
        status = 200
        if number := int(re.search(r"grpc-status: (\d+)", words)[1]):
            status = HTTP_STATUS[number]
    whole = _whole(response, answer.decode("latin-1"), (thing, code))
    return Answer(status, found[0] if found else None, whole)


def judge(
    world: World, call: Call, name: str, org_header: str | None, answers: dict[str | None, Answer]
) -> list[str]:
    """What is wrong with the answers to one caller, by the organisation of the thing."""
    told = {(each.status, each.error_id) for each in answers.values()}
    who = KNOWN.get(name)
    if who is None:
        return [] if {status for status, _ in told} == {401} else ["401"]
    if org_header and not (org_header in ORGS and who.is_member(org_header)):
        expected = (404, "AUTHZ-cdgFk") if org_header in ORGS else (403, "AUTH-Bs7Ds")
        return [] if told == {expected} else [f"the organisation header's {expected}"]
    wrong = []
    for target, answer in answers.items():
        if call.rule(who, org_header or who.org_id, target) == answer.is_refused:
            wrong.append(f"{target}: {'allowed' if answer.is_refused else 'refused'}")
        if target != who.own_org_of_user:
            knows = target in ORGS and (
                who.is_member(target) if call.thing == "org" else who.may(target, READERS)
            )
            if answer.is_refused and not knows and answer.whole != answers[None].whole:
                wrong.append(f"{target}: as absent")
            wrong += find_leaks(world, who, answer)
    return wrong


def find_leaks(world: World, who: Who, answer: Answer) -> Iterator[str]:
    """Tell what an answer holds of tenants whose users the caller may not see."""
    hidden = [org for org in ORGS if not who.may(org, READERS)]
    if hidden == [*ORGS] and SECRET in answer.whole:
        yield "silent"
    for org in hidden:
        if world.things["reset", org] in answer.whole or f"{SECRET}.{org}" in answer.whole:
            yield f"silent of {org}"


def run(world: World, call: Call, ask_one: Callable[..., Answer]) -> tuple[list[str], int]:
    """Ask as everyone; return what is wrong, and how many calls that were."""
    wrong, tries = [], 0
    known = {name: f"Bearer {token}" for name, token in world.tokens.items()}
    may_change = call.body is not None or call.changes
    for name, authorization in {**known, **world.unknown}.items():
        for org_header in HEADERS if name in known else HEADERS[:4]:
            answers = {}
            for target in (None, *ORGS) if call.thing else (None,):
                answer = answers[target] = ask_one(call, target, authorization, org_header)
                tries += 1
                if may_change and not answer.is_refused:
                    world.put_back()
            problems = judge(world, call, name, org_header, answers)
            wrong += [f"{name}, {str(org_header)[:12]!r}: not {each}" for each in problems]
        if names := changed(world):
            wrong.append(f"{name} was refused and changed {names}")
            world.put_back()
    return wrong, tries


def changed(world: World) -> list[str]:
    """The keys that changed, but the one by which readiness tries to write."""
    state = world.state()
    names = {*state, *world.digest} - {keys.confirmed(keys.GATE)}
    return [name for name in names if state.get(name) != world.digest.get(name)]


def routes_of(world: World) -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in world.wire.app.url_map.iter_rules()
        if rule.rule not in {*OPEN_ROUTES, *CONSOLE_ROUTES}  # test_console.py has the console's
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_route_says_who_may(world):
    assert routes_of(world) == set(CALLS)


def test_every_rpc_call_says_who_may():
    assert {path.rpartition("/")[2] for path in RPC_CALLS} == set(REST_OF_RPC)


@pytest.mark.parametrize(
    ("route", "number"), [(route, n) for route, each in CALLS.items() for n in range(len(each))]
)
def test_each_route_to_each_caller(world, route, number):
    wrong, tries = run(
        world, CALLS[route][number], lambda *arguments: ask(world, route, *arguments)
    )

    assert wrong == []
    assert tries >= PER_CALL


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("path", RPC_CALLS)
def test_each_rpc_call_to_each_caller(world, path, kind):
    calls = CALLS[REST_OF_RPC[path.rpartition("/")[2]]]
    call = calls[list(PROTOCOLS).index(kind) % len(calls)]

    wrong, _ = run(world, call, lambda *arguments: ask_rpc(world, kind, path, *arguments))

    assert wrong == []


def test_the_matrix_is_as_large_as_it_was():
    assert PER_CALL * sum(map(len, CALLS.values())) >= MIN_TRIES


@pytest.mark.parametrize("route", sorted(OPEN_ROUTES))
def test_an_open_route_answers_all_alike(world, route):
    """A token or an organisation changes nothing; nothing of a tenant's own is in it."""
    path = re.sub("<[^>]*>", "x", route)
    rules = [rule for rule in world.wire.app.url_map.iter_rules() if rule.rule == route]
    for method in {each for rule in rules for each in rule.methods or ()} - {"OPTIONS"}:
        answers = set()
        for authorization in (None, *(f"Bearer {t}" for t in world.tokens.values()), "Bearer x"):
            for org_header in HEADERS[:2]:
                headers = _headers(authorization, org_header)
                response = world.wire.call(path, method=method, headers=headers)
                answers.add(response.status_code)
                assert SECRET not in response.get_data(as_text=True)
        assert len(answers) == 1, (method, answers)
    assert set(changed(world)) <= {f"{tag}:m" for tag in keys.TAGS}  # counted, for /metrics
    world.put_back()


@pytest.mark.parametrize("route", [route for route in CALLS if not route.startswith("GET ")])
def test_a_route_that_changes_is_limited(route):
    """The caller's limit holds for each; the next one is 429."""
    wire = Wire(FakeRedis(), caller_limit_per_minute=2)
    method, _, path = route.partition(" ")
    path = re.sub("<user_id>", "ada", path)
    reset_id = wire.reset().headers["Keyturn-Reset-Id"] if "_resend" in path else "x"
    body = {"newPassword": {"password": NEW}} if path.endswith("/password") else {}

    def statuses() -> list[int]:
        where = re.sub("<[^>]*>", reset_id, path)
        return [
            wire.call(where, method=method, json=body, headers=wire.headers()).status_code
            for _ in range(3)
        ]

    assert statuses()[-1] == 429
