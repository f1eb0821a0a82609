"""Sentinel: the primary is asked for anew, and a failover loses nothing that was confirmed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.errors import StoreUnavailableError
from shared.store.connection import connect
from tests.support.cluster import Cluster, Sentinels
from tests.support.store_builders import stores_of
from tests.support.waiting import SLACK_SECONDS, wait_until

pytestmark = pytest.mark.real_server

TIMEOUT_SECONDS = 0.5
MAX_SECONDS = 15.0  # until a failover is over: Sentinel's own second, a vote, and a busy machine


@pytest.fixture(scope="module", params=[1, 2])
def sentinels(request, tmp_path_factory):
    made = Sentinels(tmp_path_factory.mktemp("sentinels"), replicas=request.param)
    yield made
    made.stop()


def durability_of(sentinels):
    """Every replica confirms: Sentinel may promote any, by offsets that are seconds old."""
    return {1: "replica", 2: "replica:2"}[len(sentinels.ports) - 1]


class Writers:
    """Record resets from many threads until told to stop; remember which were acknowledged."""

    def __init__(self, client, durability="replica", number=6):
        self.stores = stores_of(client, durability=durability)
        self.told, self.refused, self._stop = [], [], threading.Event()
        self._pool = ThreadPoolExecutor(number)
        self._running = [self._pool.submit(self._write, n) for n in range(number)]

    def _write(self, number):
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                self.told.append(self.stores.record(user_id=f"user-{number}-{count}"))
            except StoreUnavailableError:
                self.refused.append(time.monotonic())
                time.sleep(0.01)

    def wait_for(self, more):
        wanted = len(self.told) + more
        wait_until(lambda: len(self.told) >= wanted)

    def end(self):
        self._stop.set()
        for each in self._running:
            each.result()
        self._pool.shutdown()

    def lost(self):
        found = {each.reset_id for each in self.stores.resets.find_many(self.told)}
        return [each for each in self.told if each not in found]


def test_a_failover_is_followed_and_replica_loses_nothing(sentinels):
    with connect(sentinels.url, timeout_seconds=TIMEOUT_SECONDS) as client:
        writers = Writers(client, durability_of(sentinels))
        for _ in range(2):
            former = sentinels.primary()
            writers.wait_for(50)
            sentinels.kill(former)
            wait_until(lambda former=former: sentinels.primary() != former)
            sentinels.restart(former)
            began = time.monotonic()
            writers.wait_for(50)
            assert time.monotonic() - began < MAX_SECONDS
        writers.end()

        assert writers.refused
        assert writers.lost() == []


def test_a_primary_that_became_a_replica_is_left_at_once(sentinels):
    with connect(sentinels.url, timeout_seconds=TIMEOUT_SECONDS) as client:
        former = sentinels.primary()
        assert client.set("x", 1)
        wait_until(sentinels.fail_over)

        def is_written_elsewhere():
            try:
                return client.set("x", 2) and sentinels.primary() != former
            except redis.RedisError:
                return False

        wait_until(is_written_elsewhere)
        assert int(sentinels.ask(sentinels.primary(), "GET", "x")) == 2


def test_sentinels_that_do_not_answer_are_refused_soon():
    with connect("redis+sentinel://127.0.0.1:9,127.0.0.1:10/keyturn") as client:
        began = time.monotonic()
        with pytest.raises(redis.ConnectionError):
            client.get("x")
        assert time.monotonic() - began < 2 + SLACK_SECONDS


def test_one_sentinel_that_answers_is_enough(sentinels):
    url = sentinels.url.replace("//", "//127.0.0.1:9,127.0.0.1:10,")

    with connect(url) as client:
        assert client.ping()


def test_a_failover_in_a_cluster_loses_nothing_that_was_confirmed(tmp_path):
    cluster = Cluster(tmp_path, replicas=1)
    try:
        with connect(cluster.url, timeout_seconds=TIMEOUT_SECONDS) as client:
            writers = Writers(client)
            writers.wait_for(50)
            cluster.kill(cluster.ports[1])
            wait_until(lambda: cluster.owner(8000) != cluster.ports[1])
            writers.wait_for(200)
            writers.end()

            assert writers.refused
            assert writers.lost() == []
    finally:
        cluster.stop()
