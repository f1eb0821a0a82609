"""KEYTURN_DURABILITY with real servers: what a caller was told of survives what it promises."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from shared.errors import SettingsError, StoreUnavailableError
from shared.models import Status
from shared.settings import Settings, TwilioAccount
from shared.store import keys
from shared.store.connection import connect
from shared.store.digests import Digests
from shared.store.idempotency import IdempotencyStore, KeyedRequest
from shared.store.receipts import ReceiptStore
from shared.store.scripts import check_durability
from shared.wiring import check_server
from tests.support.builders import SECRET, a_user
from tests.support.callback_builders import (
    TWILIO_SID,
    TWILIO_TOKEN,
    a_status,
    form_body,
    twilio_headers,
    twilio_query,
)
from tests.support.cluster import Cluster
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.redis_server import DEBIANS_REDIS, start_server
from tests.support.store_builders import notice_id_of, stores_of
from tests.support.waiting import HANG_SECONDS, wait_until
from tests.support.wire import Wire, problem

pytestmark = pytest.mark.real_server

MAX_SECONDS = 10.0  # five are promised; a busy machine may add as many
WRITERS = 8
WRITING_SECONDS = 0.5
UNAVAILABLE = (503, 14, "KEYTURN-Unavailable")


class Pair:
    """A primary and its replica, to be torn apart."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.primary = self.start(
            "primary", "--port", str(self.port), "--repl-diskless-sync-delay", "0"
        )
        self.replica = self.start("replica", "--replicaof", "127.0.0.1", str(self.port))
        self.wait_joined()

    def start(self, name, *options):
        (self.directory / name).mkdir(exist_ok=True)
        return start_server(self.socket(name), *options)

    def socket(self, name):
        return self.directory / name / "s"

    def url(self, name):
        return f"unix://{self.socket(name)}"

    def ask(self, name):
        return redis.Redis(unix_socket_path=str(self.socket(name)), decode_responses=True)

    def wait_joined(self):
        def is_joined():
            with self.ask("replica") as replica:
                return replica.info("replication")["master_link_status"] == "up"

        wait_until(is_joined)

    def promote(self):
        """The replica becomes a primary; the old one knows nothing of it."""
        with self.ask("replica") as replica:
            replica.replicaof("NO", "ONE")

    @contextmanager
    def frozen_replica(self):
        os.kill(self.replica.pid, signal.SIGSTOP)
        yield
        os.kill(self.replica.pid, signal.SIGCONT)

    def stop(self):
        for server in (self.primary, self.replica):
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait(HANG_SECONDS)


def free_port():
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def primary(pair):
    with connect(pair.url("primary")) as client:
        yield client


class Writers:
    """Record resets from many threads until told to stop; remember what they were told of."""

    def __init__(self, client, durability):
        self.stores = stores_of(client, durability=durability)
        self.told: list[str] = []
        self.refused = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(HANG_SECONDS)

    def _write(self, number):
        while not self._stop.is_set():
            try:
                self.told.append(self.stores.record(f"writer-{number}"))
            except StoreUnavailableError:
                self.refused += 1


def lost(writers, url):
    """What callers were told of and a server does not know."""
    with connect(url) as client:
        return {each for each in writers.told if stores_of(client).resets.find(each) is None}


def cut_off_while_writing(pair, primary, durability):
    """The replica is promoted half a second before the writers leave the old primary."""
    with Writers(primary, durability) as writers:
        time.sleep(WRITING_SECONDS)
        pair.promote()
        time.sleep(WRITING_SECONDS)
    return writers


def test_no_reset_a_caller_was_told_of_is_lost_with_the_primary(pair, primary):
    writers = cut_off_while_writing(pair, primary, "replica")

    assert len(writers.told) > WRITERS
    assert writers.refused >= 1
    assert lost(writers, pair.url("replica")) == set()


def test_memory_alone_loses_resets_with_the_primary(pair, primary):
    writers = cut_off_while_writing(pair, primary, "memory")

    assert lost(writers, pair.url("replica"))  # so the test above cuts what it says it cuts


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_no_reset_a_caller_was_told_of_is_lost_with_a_killed_server(tmp_path, appendfsync):
    options = ("--appendonly", "yes", "--appendfsync", appendfsync)
    path = tmp_path / "s"
    server = start_server(path, *options)
    with connect(f"unix://{path}") as client, Writers(client, "disk") as writers:
        time.sleep(1.5)
        server.kill()
        server.wait(HANG_SECONDS)

    path.unlink()
    server = start_server(path, *options)
    try:
        assert len(writers.told) > WRITERS
        assert lost(writers, f"unix://{path}") == set()
    finally:
        server.kill()
        server.wait(HANG_SECONDS)


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}], ids=["plain", "with a key"])
def test_a_call_waits_for_the_replica_and_no_longer_than_five_seconds(pair, primary, headers):
    wire = Wire(primary, durability="replica", user_cooldown_seconds=60.0)

    with pair.frozen_replica():
        began = time.monotonic()
        refused = wire.reset(**headers)
        took = time.monotonic() - began

    assert problem(refused) == UNAVAILABLE
    assert took < MAX_SECONDS
    assert wire.hints.published == []


def test_a_key_whose_reset_was_not_confirmed_waits_again_and_finds_it(pair, primary):
    wire = Wire(primary, durability="replica", user_cooldown_seconds=60.0)

    with pair.frozen_replica():
        first, second = (wire.reset(Idempotency_Key="k") for _ in range(2))
    third = wire.reset(Idempotency_Key="k")

    assert problem(first) == problem(second) == UNAVAILABLE
    assert third.status_code == 200
    assert wire.records() == [third.headers["Keyturn-Reset-Id"]]


def test_waits_for_a_replica_that_is_away_do_not_add_up(pair, primary):
    stores = stores_of(primary, durability="replica")

    def is_refused(number):
        try:
            return not stores.record(f"user-{number}")
        except StoreUnavailableError:
            return True

    with pair.frozen_replica(), ThreadPoolExecutor(4) as threads:
        began = time.monotonic()
        refusals = list(threads.map(is_refused, range(60)))
        took = time.monotonic() - began

    assert all(refusals)
    assert took < MAX_SECONDS
    assert stores.record("after")


def test_a_password_is_told_to_be_changed_once_that_is_confirmed(pair, primary):
    stores = stores_of(primary, durability="replica")
    token = stores.take(reset_id := stores.record())
    notice = stores.notice()

    def complete():
        return stores.codes.complete("ada", reset_id=reset_id, token=token, notice=notice)

    with pair.frozen_replica():
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                complete()
    done = complete()

    with connect(pair.url("replica")) as replica:
        found = stores_of(replica)
        assert done
        assert found.resets.find(reset_id).completed_at
        assert found.resets.find(notice_id_of(notice))


def test_no_message_goes_out_before_a_replica_knows_of_its_attempt(pair, primary):
    provider = ScriptedProvider()
    worker = some_delivery_services(primary, provider, durability="replica")
    first, second = worker.record(), worker.record(a_user(worker.services, "bob"))

    with pair.frozen_replica():
        assert worker.deliver(first) == "queued"
        worker.bulk_delivery().deliver([second])
    assert provider.messages == []
    assert worker.look(second).status is Status.QUEUED

    assert worker.again(first) == worker.again(second) == "accepted"
    assert len(provider.messages) == 2


@pytest.mark.parametrize("durability", ["memory", "service"])
def test_messages_go_out_without_a_replica_where_none_is_asked_for(pair, primary, durability):
    worker = some_delivery_services(primary, durability=durability)

    with pair.frozen_replica():
        assert worker.deliver(worker.record()) == "accepted"


def test_a_callback_whose_report_was_not_confirmed_must_come_again(pair, primary):
    account = TwilioAccount(account_sid=TWILIO_SID, auth_token=(TWILIO_TOKEN,))
    wire = Wire(primary, durability="replica", twilio_accounts=(account,))
    reset_id = wire.reset().headers["Keyturn-Reset-Id"]
    query, form = twilio_query(reset_id), a_status("delivered")
    sent = {"data": form_body(form), "headers": twilio_headers(query, form)}

    with pair.frozen_replica():
        refused = wire.call(f"/callbacks/twilio?{query}", **sent)
    assert refused.status_code == 503
    assert wire.call(f"/callbacks/twilio?{query}", **sent).status_code == 204

    pair.promote()
    with connect(pair.url("replica")) as replica:
        receipts = ReceiptStore(replica, Settings())
        (shard,) = receipts.shards_waiting()
        assert [each.event.reset_id for each in receipts.head(shard, most=2)] == [reset_id]


def test_no_reset_is_recorded_under_a_key_that_a_failover_may_forget(pair, primary):
    wire = Wire(primary, durability="replica")

    with pair.frozen_replica():
        assert problem(wire.reset(Idempotency_Key="k")) == UNAVAILABLE
    assert wire.records() == []


def test_a_reset_that_is_not_where_it_is_confirmed_is_not_confirmed(pair, primary):
    stores = stores_of(primary, durability="replica")
    reset_id = stores.record()
    stores.resets.confirm(reset_id)

    primary.delete(keys.reset(reset_id))  # as on a server that took the primary's place
    with pytest.raises(StoreUnavailableError):
        stores.resets.confirm(reset_id)


def test_a_cluster_does_not_forget_the_key_of_a_reset_on_another_node(tmp_path):
    cluster = Cluster(tmp_path, primaries=1, replicas=1)
    replica = cluster.processes[cluster.ports[1]]
    try:
        with connect(cluster.url) as client:
            digests = Digests(client, (SECRET,))
            store = IdempotencyStore(client, digests, "replica")
            request = KeyedRequest("caller", "key", "meaning")
            replica.send_signal(signal.SIGSTOP)
            with pytest.raises(StoreUnavailableError):
                store.begin(request)
            replica.send_signal(signal.SIGCONT)
            assert store.begin(request) == store.find(request)
    finally:
        replica.send_signal(signal.SIGCONT)
        cluster.stop()


def test_a_server_that_forgot_its_scripts_is_told_them_again(pair, primary):
    stores = stores_of(primary, durability="replica")
    primary.script_flush()

    assert stores.status(stores.record())


def a_server(tmp_path, *options, program=None):
    path = tmp_path / "s"
    return start_server(path, *options, program=program), f"unix://{path}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--appendonly", "no"), "set appendonly yes"),
        (("--appendonly", "yes", "--appendfsync", "no"), "needs appendfsync always"),
    ],
    ids=["no file", "never synced"],
)
def test_disk_is_refused_where_nothing_reaches_it(tmp_path, options, words):
    server, url = a_server(tmp_path, *options)

    with connect(url) as client, pytest.raises(SettingsError, match=words):
        check_durability(client, "disk")

    server.kill()
    server.wait(HANG_SECONDS)


@pytest.mark.skipif(not DEBIANS_REDIS, reason="Debian's redis-server is not installed")
def test_disk_is_refused_by_a_server_of_before_waitaof(tmp_path):
    server, url = a_server(tmp_path, "--appendonly", "yes", program=DEBIANS_REDIS)

    with connect(url) as client:
        version = tuple(int(part) for part in client.info("server")["redis_version"].split("."))
        if version < (7, 2):
            with pytest.raises(SettingsError, match="needs WAITAOF"):
                check_durability(client, "disk")
        else:
            check_durability(client, "disk")

    server.kill()
    server.wait(HANG_SECONDS)


def test_a_replica_that_is_away_at_the_start_is_no_reason_to_refuse(tmp_path):
    server, url = a_server(tmp_path)

    check_server(Settings(redis_url=url, secret_keys=(SECRET,), durability="replica"))

    server.kill()
    server.wait(HANG_SECONDS)


@pytest.mark.parametrize("level", ["memory", "replica", "disk"])
def test_a_server_that_is_away_at_the_start_is_no_reason_to_refuse(tmp_path, level):
    url = f"unix://{tmp_path}/nobody"
    check_server(Settings(redis_url=url, secret_keys=(SECRET,), durability=level))
