"""A store that lost its data or takes no writes, and a broker that holds what is no hint."""

from __future__ import annotations

import json
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import redis

from shared.errors import SettingsError
from shared.models import Queue, Status
from shared.store import keys
from shared.store.connection import connect
from shared.store.digests import Digests
from shared.wiring import check_keys
from tests.journeys.stack import Stack
from tests.support.broker_messages import POISON, SECRET_TEXT, a_message
from tests.support.builders import SECRET, some_services
from tests.support.waiting import wait_until
from tests.support.wire import Wire, problem
from tests.support.worker_process import WorkerProcess
from tests.web.admin.test_status import Watched
from web.up.demo import USER

pytestmark = pytest.mark.real_server


@pytest.fixture
def server(own_server, tmp_path):
    """A client of a server of this test's own."""
    own_server()
    with redis.Redis(unix_socket_path=str(tmp_path / "own.sock"), decode_responses=True) as client:
        yield client


@pytest.fixture
def start_worker(tmp_path):
    """Starts a worker process on that server."""
    started = []

    def start(**settings):
        started.append(WorkerProcess(tmp_path / "own.sock", **settings).wait_ready())
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def counted(server, name):
    return int(server.hget(keys.counters(keys.TAGS[0]), name) or 0)


def test_what_is_no_hint_is_dropped_counted_and_told_and_ends_no_worker(server, start_worker):
    worker = start_worker()

    for queue in ("urgent", "receipts"):
        server.lpush(queue, a_message(), *POISON.values(), a_message("0last"))

    wait_until(
        lambda: counted(server, "unread") >= 2 * len(POISON) or not worker.is_running(),
        what="all of it counted",
    )
    assert worker.is_running(), worker.log()[-2000:]
    assert counted(server, "unread") == 2 * len(POISON)
    assert counted(server, "ws:urgent") == 1
    lines = worker.events("hint.unreadable")
    assert sum(line["number"] for line in lines) == 2 * len(POISON)
    assert SECRET_TEXT not in worker.log()
    assert server.exists("unacked", "urgent", "receipts") == 0


@pytest.mark.parametrize("channel", ["/0.celery.pidbox", "/0.celeryev/worker.heartbeat"])
def test_nor_does_what_comes_by_another_way(server, start_worker, channel):
    worker = start_worker()

    for item in POISON.values():
        server.publish(channel, item)
    server.lpush("urgent", a_message(task="nothing of ours"))

    wait_until(lambda: counted(server, "unread") or not worker.is_running(), what="the last one")
    assert worker.is_running(), worker.log()[-2000:]


def test_status_tells_of_workers_that_start_again_and_again_and_of_what_was_dropped(real_client):
    watched = Watched(real_client)
    watched.sample(seconds_ago=290)
    for number in range(3):
        watched.services.dues.heartbeat(f"bulk,webhooks again-{number}")
        watched.services.dues.deregister(f"bulk,webhooks again-{number}")
    watched.services.counters.add("unread", 7)

    told = watched.told()

    bulk = next(each for each in told["queues"] if each["queue"] == "bulk")
    assert bulk["started"] == 3
    restarts, webhooks, dropped = told["troubles"]
    assert restarts.startswith("Workers of the bulk queue started 3 times")
    assert webhooks.startswith("Workers of the webhooks queue started 3 times")
    assert dropped.startswith("7 messages in the broker were no hints")


def test_status_is_quiet_about_workers_that_were_restarted_once(real_client):
    watched = Watched(real_client)
    watched.sample(seconds_ago=290)
    watched.services.dues.heartbeat("urgent,receipts again-1")

    assert watched.told()["troubles"] == []


READ_ONLY = {
    "a replica": (("REPLICAOF", "127.0.0.1", "9"), ("REPLICAOF", "NO", "ONE"), "a replica"),
    "full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "full"),
    "alone": (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
        "too few replicas",
    ),
}


@pytest.fixture
def wire(server):
    """An installation on that server, whose worker was seen a moment ago."""
    with connect(f"unix://{server.connection_pool.connection_kwargs['path']}") as client:
        yield Watched(client)


def ready(wire):
    answer = wire.call("/readyz", method="GET")
    return answer.status_code, answer.get_json()["checks"]


@pytest.mark.parametrize("how", READ_ONLY)
def test_readyz_and_status_say_at_once_that_redis_takes_no_writes(server, wire, how):
    hurt, heal, word = READ_ONLY[how]
    assert ready(wire)[0] == 200
    server.execute_command(*hurt)

    status, checks = ready(wire)
    trouble = wire.alerts()[0]

    assert status == 503
    assert checks["redis"].startswith("read-only")
    assert word in checks["redis"]
    assert checks["worker"] == "unknown"
    assert trouble.startswith("Redis is read-only")
    assert word in trouble
    assert wire.reset().status_code == 503
    server.execute_command(*heal)
    assert ready(wire)[0] == 200


def test_readyz_says_at_once_that_the_disk_takes_no_writes(server, wire, tmp_path):
    server.config_set("stop-writes-on-bgsave-error", "yes")
    server.config_set("save", "3600 1")
    (tmp_path / "dump.rdb").mkdir()  # in the way of the file
    (tmp_path / "dump.rdb" / "x").touch()
    server.bgsave()
    wait_until(lambda: server.info()["rdb_last_bgsave_status"] == "err", what="a failed save")

    assert ready(wire)[1]["redis"] == "read-only: it cannot write to its disk"


@pytest.mark.parametrize("is_replaced", [False, True], ids=["gone", "another"])
def test_a_process_whose_digest_key_is_not_the_store_s_refuses(
    server, wire, fake_client, is_replaced
):
    kept = server.dump(keys.SEAL)
    server.delete(keys.SEAL)
    if is_replaced:
        Digests(fake_client, (SECRET,)).check()
        server.hset(keys.SEAL, mapping=fake_client.hgetall(keys.SEAL))

    status, checks = ready(wire)

    assert (status, checks["redis"]) == (503, "lost its data, or is another one")
    assert checks["worker"] == "unknown"
    assert problem(wire.reset()) == (503, 14, "KEYTURN-Unavailable")
    assert wire.reset("nobody").status_code == 503
    assert wire.reset_v2(body={"returnCode": {}}).status_code == 503
    server.delete(keys.SEAL)
    server.restore(keys.SEAL, 0, kept)
    assert ready(wire)[0] == 200
    assert wire.reset().status_code == 200


def test_a_new_token_and_an_unknown_one_are_unavailable_rather_than_wrong(server, wire):
    server.flushall()

    answers = [wire.reset(token=keys.TOKEN_PREFIX + "a" * 43), wire.reset()]

    assert [each.status_code for each in answers] == [503, 503]


def test_a_process_that_starts_on_data_without_a_digest_key_does_not_make_another(server, wire):
    server.delete(keys.SEAL)

    with pytest.raises(SettingsError, match="digest key"):
        check_keys(some_services(wire.redis).digests)

    assert not server.exists(keys.SEAL)


def test_a_process_that_starts_on_an_empty_store_makes_one(server, wire):
    server.flushall()

    check_keys(some_services(wire.redis).digests)

    assert server.exists(keys.SEAL)


def test_a_worker_sends_nothing_and_is_not_seen_while_the_store_is_another(
    server, wire, start_worker, tmp_path
):
    start_worker(KEYTURN_PROVIDER_TIMEOUT_SECONDS="1", KEYTURN_LEASE_SECONDS="7")
    wait_until(lambda: wire.services.dues.workers_seen(Queue.URGENT), what="a worker")
    server.flushall()
    fresh = Wire(wire.redis)
    reset_id = fresh.reset().headers["Keyturn-Reset-Id"]
    fresh.services.suppressions.add(
        fresh.services.directory.find_user("ada").email, reason="bounce", source="eve"
    )
    server.lpush("urgent", a_message(reset_id))
    server.delete(keys.WORKERS)
    time.sleep(3)

    reset = fresh.services.resets.find(reset_id)
    assert (reset.status, reset.attempts) == (Status.QUEUED, ())
    assert int(server.hget(keys.reset(reset_id), "cl")) < 2  # nor is it spoilt by claims in vain
    assert fresh.services.dues.workers_seen(Queue.URGENT) == []
    assert not (tmp_path / "outbox").exists()
    start_worker()
    wait_until(
        lambda: fresh.services.resets.find(reset_id).status is Status.SUPPRESSED,
        what="what a worker that started anew makes of it",
    )


def test_a_whole_keyturn_refuses_until_it_is_restarted(tmp_path):
    stack = Stack(tmp_path, KEYTURN_USER_COOLDOWN_SECONDS="0").start()
    try:
        with redis.Redis(unix_socket_path=stack.redis_url.removeprefix("unix://")) as store:
            assert ask(stack) == 200
            store.flushall()
            wait_until(lambda: stack.status("/readyz") == 503, seconds=5, what="it to be noticed")
            stack.cli("org", "add", "demo", "--name", "Demo")
            user = json.dumps(USER)
            stack.cli("user", "import", "-", given=user)
            done = stack.cli("token", "add", "--org", "demo", "--role", "ORG_OWNER", "--json")
            stack.cli("suppression", "add", USER["email"], "--reason", "bounced")
            token = json.loads(done.stdout)["token"]

            assert ask(stack, token) == 503
            assert stack.status("/readyz") == 503
        assert stack.stop() == 0
        stack.start()
        assert ask(stack, token) == 400
        assert stack.cli("suppression", "list").stdout.count("bounced") == 1
    finally:
        if stack.process.poll() is None:
            stack.stop()


def ask(stack, token=None):
    call = Request(f"{stack.url}/management/v1/users/ada/password/_reset", method="POST", data=b"")
    call.add_header("Authorization", f"Bearer {token or stack.token}")
    try:
        with urlopen(call, timeout=60) as answer:
            return answer.status
    except HTTPError as error:
        return error.code
