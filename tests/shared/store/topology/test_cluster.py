"""A cluster: every node answers for its own slots, whatever becomes of the others."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
import redis
from redis.crc import key_slot

from shared.errors import StoreUnavailableError
from shared.models import Queue
from shared.store import keys
from shared.store.admin.inspection import inspect_nodes
from shared.store.connection import connect, store_errors
from shared.store.scripts import Scripts
from tests.support.builders import a_settings
from tests.support.cluster import Cluster
from tests.support.store_builders import stores_of
from tests.support.waiting import SLACK_SECONDS, wait_until

pytestmark = pytest.mark.real_server

TIMEOUT_SECONDS = 0.4
COUNTED = "{kt:is}:counted"  # the first shard: on the first node
MOVING_SECONDS = 1.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture
def client(cluster):
    with connect(cluster.url, timeout_seconds=TIMEOUT_SECONDS) as made:
        for node in made.nodes():
            node.flushall()
        yield made


@pytest.fixture
def patient_client(cluster, client):
    with connect(cluster.url) as made:
        yield made


def slot_of(name):
    return key_slot(name.encode())


def home_of(cluster, name):
    return cluster.owner(slot_of(name))


def another_than(cluster, port):
    return next(each for each in cluster.ports if each != port)


@contextmanager
def frozen(cluster, port):
    os.kill(cluster.processes[port].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(cluster.processes[port].pid, signal.SIGCONT)
    wait_until(lambda: cluster.ask(port, "CLUSTER INFO")["cluster_state"] == "ok")


def tags_by_node(cluster):
    tags = {}
    for tag in keys.TAGS:
        tags.setdefault(home_of(cluster, tag), []).append(tag)
    return tags


def test_shards_are_spread_evenly_over_the_nodes(cluster):
    assert sorted(map(len, tags_by_node(cluster).values())) == [21, 21, 22]


def test_one_host_of_several_that_answers_is_enough(cluster):
    gone = "redis+cluster://127.0.0.1:9,127.0.0.1:" + str(cluster.ports[1])

    with connect(gone, timeout_seconds=TIMEOUT_SECONDS) as client:
        assert client.set("x", 1)
        assert len(client.nodes()) == 3


def test_no_node_that_answers_is_refused_within_the_timeout():
    with connect("redis+cluster://127.0.0.1:9,127.0.0.1:10") as client:
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(redis.RedisError):
                client.get("x")
        assert time.monotonic() - began < 2 + SLACK_SECONDS


def test_a_pipeline_and_commands_of_many_keys_reach_every_node(client):
    pipeline = client.pipeline(transaction=False)
    for tag in keys.TAGS:
        pipeline.set(f"{tag}:x", tag)
        pipeline.get(f"{tag}:x")
    assert pipeline.execute()[1::2] == list(keys.TAGS)

    names = [f"{tag}:x" for tag in keys.TAGS]
    assert sorted(client.scan_iter(match="*:x")) == sorted(names)
    assert client.exists(*names, "{kt:is}:y") == 64
    assert client.delete(*names) == 64


def test_scripts_the_nodes_do_not_know_run_in_a_pipeline(client):
    calls = [((f"{tag}:due:urgent",), (0, 1, tag)) for tag in keys.TAGS]
    for node in client.nodes():
        node.script_flush()

    assert Scripts(client).run_many("reset/list_due", calls) == [[0, 0, ""]] * 64


def test_a_transaction_stays_in_its_slot_and_may_write_elsewhere(client):
    client.hset("kt:user:a", "name", "before")

    def change(pipe):
        before = pipe.hget("kt:user:a", "name")
        if before == "before":
            client.hset("kt:user:a", "name", "meanwhile")
        pipe.multi()
        pipe.hset("kt:user:a", "name", "after")
        pipe.sadd("kt:addr:x", "a")
        return before

    assert client.transaction(change, "kt:user:a", value_from_callable=True) == "meanwhile"
    assert client.hget("kt:user:a", "name") == "after"
    assert client.smembers("kt:addr:x") == {"a"}


def test_a_slot_that_has_moved_is_found_whatever_the_command(cluster, client):
    home, slot = home_of(cluster, COUNTED), slot_of(COUNTED)
    client.incr(COUNTED)  # the map is read
    cluster.move(slot, another_than(cluster, home))
    wait_until(lambda: cluster.owner(slot) != home)

    pipeline = client.pipeline(transaction=True)
    pipeline.incr(COUNTED)
    assert pipeline.execute() == [2]
    assert client.incr(COUNTED) == 3

    cluster.move(slot, home)
    wait_until(lambda: cluster.owner(slot) == home)
    pipeline = client.pipeline(transaction=False)
    pipeline.incr(COUNTED)
    pipeline.get("elsewhere")
    assert pipeline.execute() == [4, None]


def test_while_a_slot_moves_under_load_every_command_runs_once(cluster, patient_client):
    client, stop, done, refused = patient_client, threading.Event(), [], []

    def count():
        while not stop.is_set():
            try:
                client.incr(COUNTED)
                done.append(1)
            except redis.RedisError:
                refused.append(1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    home = home_of(cluster, COUNTED)
    ends = time.monotonic() + MOVING_SECONDS
    while time.monotonic() < ends:
        for port in (another_than(cluster, home), home):
            cluster.move(slot_of(COUNTED), port)
            wait_until(lambda port=port: home_of(cluster, COUNTED) == port)
    stop.set()
    for thread in threads:
        thread.join()

    assert int(client.get(COUNTED)) == len(done) > 100
    assert not refused


def test_asking_and_trying_again_while_a_slot_moves_key_by_key(cluster, client):
    home, slot = home_of(cluster, COUNTED), slot_of(COUNTED)
    target = another_than(cluster, home)
    client.set("{kt:is}:old", 1)
    names = {port: cluster.ask(port, "CLUSTER MYID") for port in (home, target)}
    cluster.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[home])
    cluster.ask(home, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    try:
        assert client.incr("{kt:is}:new") == 1  # ASK: it is made where the slot goes
        pipeline = client.pipeline(transaction=False)
        pipeline.incr("{kt:is}:new")
        pipeline.incr("{kt:is}:old")
        assert pipeline.execute() == [2, 2]
        assert cluster.ask(home, "EXISTS", "{kt:is}:old") == 1

        began = time.monotonic()
        with pytest.raises(StoreUnavailableError), store_errors():
            client.execute_command("SUNION", "{kt:is}:old", "{kt:is}:new")  # TRYAGAIN
        assert time.monotonic() - began < 2 + SLACK_SECONDS
    finally:
        for port in cluster.ports:
            cluster.ask(port, "CLUSTER", "SETSLOT", slot, "STABLE")
        cluster.ask(target, "CLUSTER", "SETSLOT", slot, "NODE", names[home])
        for port in (target, home):
            cluster.ask(port, "CLUSTER", "SETSLOT", slot, "STABLE")


def test_a_frozen_node_is_refused_at_once_and_the_others_go_on(cluster, client):
    tags = tags_by_node(cluster)
    needed = home_of(cluster, keys.GATE)
    assert home_of(cluster, keys.SEAL) == needed  # no second node that all depend on
    victim = next(port for port in tags if port != needed)
    stores = stores_of(client)
    stores.digests.check()
    for tag in keys.TAGS:
        client.get(tag)
    with frozen(cluster, victim):
        with pytest.raises(redis.RedisError):
            client.get(tags[victim][0])  # this one waits, and finds out
        began = time.monotonic()
        for tag in tags[victim]:
            with pytest.raises(redis.RedisError):
                client.get(tag)
        for port in tags:
            for tag in tags[port] if port != victim else ():
                assert client.get(tag) is None
        # One wait for each of the node's tags would be more.
        assert time.monotonic() - began < TIMEOUT_SECONDS + SLACK_SECONDS

        users = [f"user-{number}" for number in range(40)]
        places = {user: stores.digests.user_place(user)[0] for user in users}
        reached = [user for user in users if places[user] not in tags[victim]]
        ids = {stores.record(user_id=user) for user in reached}
        view = stores.dues.look(Queue.URGENT, most=10)
        assert {reset_id for reset_id, _ in view.resets} == ids
        with pytest.raises(StoreUnavailableError):
            stores.record(user_id=next(user for user in users if user not in reached))
    wait_until(lambda: _answers(client, tags[victim][0]))


def _answers(client, key):
    try:
        client.get(key)
    except redis.RedisError:
        return False
    return True


def test_the_clock_of_a_node_says_nothing_of_anothers(client):
    scripts = Scripts(client)
    one, other = keys.TAGS[:2]
    assert abs(scripts.clock_us(one) - scripts.clock_us(other)) < 1_000_000
    ahead_us, until = scripts.clocks[one]

    scripts.clocks[one] = ahead_us + 60_000_000, until

    ahead_us = scripts.clock_us(one) - scripts.clock_us(other)
    assert ahead_us == pytest.approx(60_000_000, abs=1_000_000)


def test_every_node_is_inspected_by_its_address(cluster, client):
    tls = dataclasses.replace(a_settings(), redis_url="rediss+cluster://a")

    found = [
        (each.level, each.text) for each in inspect_nodes(client, tls) if each.about == "redis"
    ]

    assert {text.partition(": ")[0] for _, text in found} == {
        f"127.0.0.1:{port}" for port in {cluster.owner(slot_of(tag)) for tag in keys.TAGS}
    }
    assert {level for level, _ in found} == {"ok"}


def test_a_cluster_that_is_away_is_told():
    with connect("redis+cluster://127.0.0.1:1") as away:
        (found,) = inspect_nodes(away, a_settings())

    assert found.level == "error"
    assert "does not answer" in found.text
