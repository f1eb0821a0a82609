"""Limits hold for every call that changes or sends, and are spent by those they belong to."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from shared.directories.passwords import HASHES_AT_ONCE, Argon2Hasher
from shared.errors import DirectoryUnavailableError
from shared.log import LINES_PER_MINUTE, LineLimit, set_up_logging
from tests.support.builders import a_token, a_user
from tests.support.rpc import SET_PASSWORD, RpcCaller, RpcServer
from tests.support.wire import ERROR_DETAIL, RETRY_INFO, problem
from tests.support.wire_v2 import GOOD, PASSWORD, WireV2
from web.rpc.generated.user_pb2 import SetPasswordRequest

OWN = "/keyturn/v1"
WHY = {"reason": "a test"}
LIMITED = (429, 8, "KEYTURN-RateLimited")
URL = "https://hooks.example.com/keyturn"
PRESENT = "Xylophon-quartz-1"
CALLS: dict[str, tuple[str, str, Any]] = {
    "pause": ("POST", f"{OWN}/pauses", {"scope": "organisation", "name": "acme"} | WHY),
    "resume": ("POST", f"{OWN}/pauses/_resume", {"scope": "organisation", "name": "acme"} | WHY),
    "clear": ("POST", f"{OWN}/limits/_clear", {"limit": "user", "id": "ada"} | WHY),
    "hold": ("POST", f"{OWN}/resets/0x/_hold", WHY),
    "release": ("POST", f"{OWN}/resets/0x/_release", WHY),
    "batch": ("POST", f"{OWN}/batches", {"userIds": ["ada"]}),
    "plan": ("POST", f"{OWN}/batches", {"userIds": ["ada"], "dryRun": True}),
    "batch pause": ("POST", f"{OWN}/batches/x/_pause", {}),
    "batch resume": ("POST", f"{OWN}/batches/x/_resume", {}),
    "batch cancel": ("POST", f"{OWN}/batches/x/_cancel", {}),
    "webhook": ("POST", f"{OWN}/webhooks", {"url": URL}),
    "webhook remove": ("DELETE", f"{OWN}/webhooks/x", None),
    "webhook replay": ("POST", f"{OWN}/webhooks/x/_replay", None),
    "webhook enable": ("POST", f"{OWN}/webhooks/x/_enable", None),
    "by permission": ("POST", PASSWORD.format("ada"), {"newPassword": {"password": GOOD}}),
    "by code": (
        "POST",
        PASSWORD.format("ada"),
        {"newPassword": {"password": GOOD}, "verificationCode": "23456789"},
    ),
    "by password": (
        "POST",
        PASSWORD.format("ada"),
        {"newPassword": {"password": GOOD}, "currentPassword": "x"},
    ),
}
LIMITS = {"organisation": "org_limit_per_minute", "caller": "caller_limit_per_minute"}


def ask(wire: WireV2, call: str, token: str | None = None) -> Any:
    method, path, body = CALLS[call]
    return wire.call(path, method=method, json=body, headers=wire.headers(token))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_changes_is_limited(fake_client, call, limit):
    wire = WireV2(fake_client, **{LIMITS[limit]: 3})
    answers = [ask(wire, call) for _ in range(5)]

    assert 429 not in [answer.status_code for answer in answers[:3]]
    for answer in answers[3:]:
        body, seconds = answer.get_json(), int(answer.headers["Retry-After"])
        assert problem(answer) == LIMITED
        assert 50 <= seconds <= 60
        assert [each["@type"] for each in body["details"]] == [ERROR_DETAIL, RETRY_INFO]
        assert f"({limit});" in body["message"]


def test_resend_is_counted_once_with_the_resets(fake_client):
    wire = WireV2(fake_client, caller_limit_per_minute=3)
    old = wire.reset().headers["Keyturn-Reset-Id"]
    path = f"{OWN}/resets/{old}/_resend"

    answers = [wire.call(path, json={}, headers=wire.headers()).status_code for _ in range(4)]

    assert answers == [200, 200, 429, 429]


def test_all_calls_that_change_share_one_limit(fake_client):
    wire = WireV2(fake_client, caller_limit_per_minute=3)
    statuses = [ask(wire, call).status_code for call in ("pause", "webhook", "batch", "resume")]

    assert statuses == [200, 200, 202, 429]


def test_setpassword_by_grpc_is_limited(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=2)
    server = RpcServer(wire.services).start()
    try:
        caller = RpcCaller(server.target, wire.token)
        message = SetPasswordRequest(user_id="ada", new_password={"password": GOOD})
        errors = [caller.start(SET_PASSWORD, message).exception() for _ in range(3)]
        caller.channel.close()
    finally:
        server.stop()

    assert errors[:2] == [None, None]
    assert errors[2].code().name == "RESOURCE_EXHAUSTED"


def test_connect_counts_with_rest(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=2)
    ask(wire, "by permission")
    body = {"userId": "ada", "newPassword": {"password": GOOD}}

    answers = [wire.call(SET_PASSWORD, json=body, headers=wire.headers()) for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 429]
    assert answers[1].get_json()["code"] == "resource_exhausted"


def test_resets_that_flood_leave_room_for_what_stops_them(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=2, caller_limit_per_minute=2)
    assert [wire.reset().status_code for _ in range(3)] == [200, 200, 429]

    assert ask(wire, "pause").status_code == 200
    clear = {"limit": "organisation", "id": "acme"} | WHY
    assert wire.call(f"{OWN}/limits/_clear", json=clear, headers=wire.headers()).status_code == 200
    assert ask(wire, "resume").status_code == 429


def test_a_cleared_limit_clears_both_windows(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=1)
    ask(wire, "pause")
    assert ask(wire, "resume").status_code == 429

    root = a_token(wire.services, instance=("IAM_OWNER",), org_id="beta")
    clear = {"limit": "organisation", "id": "acme"} | WHY
    cleared = wire.call(f"{OWN}/limits/_clear", json=clear, headers=wire.headers(root))

    assert cleared.get_json()["wasCounted"] is True
    assert ask(wire, "resume").status_code == 200


@pytest.mark.parametrize(
    "grants",
    [
        {"user_id": "ada"},
        {"user_id": "ada", "roles": ("ORG_OWNER_VIEWER",)},
        {"org_id": "beta", "memberships": {"beta": ("ORG_OWNER",)}},
        {"roles": ("ORG_SETTINGS_MANAGER",)},
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_an_organisations_limit_is_not_spent_by_those_who_may_not_write(fake_client, grants, call):
    wire = WireV2(fake_client, org_limit_per_minute=3)
    token = a_token(wire.services, *grants.pop("roles", ()), **grants)
    for _ in range(5):
        ask(wire, call, token)

    assert wire.reset().status_code == 200
    assert [ask(wire, "by permission").status_code for _ in range(3)] == [200] * 3


def test_setpassword_counts_for_the_users_organisation(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=2)
    pages = a_token(wire.services, instance=("IAM_LOGIN_CLIENT",), org_id="beta")
    a_user(wire.services, "bob", orgId="beta")

    answers = [wire.set_password("ada", token=pages).status_code for _ in range(3)]

    assert answers == [200, 200, 429]
    assert wire.set_password("bob", token=pages).status_code == 200
    assert wire.set_password("ada").status_code == 429


def test_a_limited_call_changes_nothing(fake_client):
    wire = WireV2(fake_client, caller_limit_per_minute=1)
    a_user(wire.services, password=PRESENT)
    ask(wire, "pause")
    before = wire.stored_words()

    for call in CALLS:
        assert problem(ask(wire, call)) == LIMITED

    assert wire.stored_words() == before


def test_reading_is_not_limited(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=1, caller_limit_per_minute=1)
    root = a_token(wire.services, instance=("IAM_OWNER",))
    for path in ("resets", "pauses", "webhooks", "audit", "status"):
        for _ in range(4):
            answer = wire.call(f"{OWN}/{path}", method="GET", headers=wire.headers(root))
            assert answer.status_code == 200


def test_nought_switches_the_limits_off(fake_client):
    wire = WireV2(fake_client)

    assert [ask(wire, "pause").status_code for _ in range(20)] == [200] * 20
    assert wire.redis.keys("*:n:*") == []


def test_a_revoked_token_acts_no_more(fake_client):
    wire = WireV2(fake_client)
    assert ask(wire, "pause").status_code == 200
    for each in wire.services.callers.list_tokens():
        wire.services.callers.revoke_token(each.token_id)

    for call in CALLS:
        assert problem(ask(wire, call)) == (401, 16, "AUTH-7fs1e")


def test_a_batch_is_one_call(fake_client):
    wire = WireV2(fake_client, org_limit_per_minute=2)
    body = {"userIds": [f"u{n}" for n in range(500)]}

    answers = [wire.call(f"{OWN}/batches", json=body, headers=wire.headers()) for _ in range(3)]

    assert [each.status_code for each in answers] == [202, 202, 429]


# Argon2: few at a time, few that wait, and nothing else behind them.


class HeldHasher(Argon2Hasher):
    """Hashes that take as long as a test wants."""

    def __init__(self, **options: Any) -> None:
        super().__init__(memory_kib=64, passes=1, **options)
        self.may_go, self.inside, self.most = threading.Event(), 0, 0
        self._argon2 = self  # what the slots protect

    def verify(self, _hash: str, _password: str) -> bool:
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert self.may_go.wait(20)
        self.inside -= 1
        return True


def test_beyond_its_places_a_password_is_refused_at_once():
    hasher = HeldHasher(places=3)
    with ThreadPoolExecutor(6) as pool:
        under_way = [pool.submit(hasher.matches, None, "x") for _ in range(3)]
        _wait_for(lambda: hasher._places._value == 0)
        started_at = time.monotonic()
        with pytest.raises(DirectoryUnavailableError):
            hasher.matches(None, "x")
        assert time.monotonic() - started_at < 1
        hasher.may_go.set()
        assert [each.result() for each in under_way] == [True] * 3
    assert hasher.most <= HASHES_AT_ONCE
    assert hasher.matches("h", "x")


def test_waiting_for_a_password_ends():
    hasher = HeldHasher(places=3)
    with ThreadPoolExecutor(6) as pool:
        under_way = [pool.submit(hasher.matches, None, "x") for _ in range(2)]
        _wait_for(lambda: hasher.inside == 2)
        started_at = time.monotonic()
        with pytest.raises(DirectoryUnavailableError):
            hasher.matches(None, "x")
        assert 1.9 < time.monotonic() - started_at < 10
        hasher.may_go.set()
        assert [each.result() for each in under_way] == [True] * 2


def _wait_for(is_done: Any) -> None:
    until = time.monotonic() + 20
    while not is_done():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_busy_passwords_are_503_and_leave_other_calls_alone(fake_client):
    wire = WireV2(fake_client, web_threads=4)
    a_user(wire.services, password=PRESENT)
    hasher = wire.services.directory._hasher = HeldHasher(places=2)
    stranger = a_token(wire.services, org_id="beta")
    with ThreadPoolExecutor(4) as pool:
        under_way = [
            pool.submit(wire.set_password, each, current="x", token=stranger) for each in "ab"
        ]
        _wait_for(lambda: hasher.inside == 2)
        for _ in range(6):
            refused = wire.set_password(current=PRESENT)
            assert problem(refused) == (503, 14, "KEYTURN-Unavailable")
        assert wire.reset().status_code == 200
        assert wire.call("/livez", method="GET").status_code == 200
        hasher.may_go.set()
        assert {each.result().status_code for each in under_way} == {400}


def test_a_busy_moment_costs_neither_the_code_nor_a_try(fake_client):
    wire = WireV2(fake_client)
    a_user(wire.services, password=PRESENT)
    code, hasher = wire.a_code(), wire.services.directory._hasher
    taken = [hasher._places.acquire(blocking=False) for _ in range(100)].count(True)

    for _ in range(7):
        assert problem(wire.set_password(code=code))[0] == 503
        assert problem(wire.set_password(current=PRESENT))[0] == 503
    for _ in range(taken):
        hasher._places.release()

    assert wire.set_password(code=code).status_code == 200
    assert wire.set_password(current=GOOD, password=PRESENT).status_code == 200


def test_half_of_the_threads_stay_free_of_passwords(fake_client):
    wire = WireV2(fake_client, web_threads=16)

    assert wire.services.directory._hasher._places._initial_value == 8


# Log lines that a stranger can cause.


class Clock:
    def __init__(self) -> None:
        self.seconds = 600.0

    def __call__(self) -> float:
        return self.seconds


def write(limit: LineLimit, name: str, level: str = "info") -> dict[str, Any] | None:
    try:
        return dict(limit(None, level, {"event": name}))
    except structlog.DropEvent:
        return None


def test_a_flood_of_lines_is_cut_and_counted():
    clock = Clock()
    limit = LineLimit(most=5, clock=clock)
    first = [write(limit, "code.refused") for _ in range(1005)]

    written = [each for each in first if each is not None]
    assert [each.get("left_out") for each in written] == [None] * 5 + [1, 10, 100, 1000]
    clock.seconds += 60
    assert write(limit, "code.refused") == {"event": "code.refused", "left_out": 1000}
    assert write(limit, "code.refused") == {"event": "code.refused"}


def test_each_event_has_its_own_lines():
    limit = LineLimit(most=2, clock=Clock())
    for _ in range(50):
        write(limit, "code.refused")

    assert write(limit, "callback.refused", "warning") == {"event": "callback.refused"}


@pytest.mark.parametrize(
    ("name", "level"),
    [("request.failed", "error"), ("store.unavailable", "warning"), ("reset.limited", "warning"),
     ("reset.requested", "info"), ("password.changed", "info"), ("code.refused", "error")],
)  # fmt: skip
def test_our_own_lines_are_never_dropped(name, level):
    limit = LineLimit(most=2, clock=Clock())

    assert [write(limit, name, level) for _ in range(100)] == [{"event": name}] * 100


@pytest.fixture
def log_lines():
    """Sets up the logs of a web process; gives what it wrote, as often as called."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    set_up_logging("info", service="web", stream=out)
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: [json.loads(line) for line in out.buffer.getvalue().splitlines()]
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


def test_forged_callbacks_write_few_lines_and_are_all_counted(fake_client, log_lines):
    wire = WireV2(fake_client)
    for _ in range(300):
        assert wire.call("/callbacks/sendgrid", data=b"[]").status_code == 403

    refused = [line for line in log_lines() if line["event"] == "callback.refused"]
    assert LINES_PER_MINUTE <= len(refused) <= 2 * LINES_PER_MINUTE + 6
    assert max(line.get("left_out", 0) for line in refused) >= 10
    metrics = wire.call("/metrics", method="GET").get_data(as_text=True)
    (counted,) = [line for line in metrics.splitlines() if 'outcome="refused"' in line]
    assert counted.endswith(" 300.0")


def test_wrong_codes_write_few_lines(fake_client, log_lines):
    wire = WireV2(fake_client)
    wire.a_code()
    for number in range(300):
        a_user(wire.services, name := f"u{number}")
        wire.set_password(name, code="23456789")

    refused = [line for line in log_lines() if line["event"] == "code.refused"]
    assert LINES_PER_MINUTE <= len(refused) <= 2 * LINES_PER_MINUTE + 6
