"""Redis for the tests: a fake one in the process, and a real one on a unix socket."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from werkzeug.routing import Rule

from shared.directories.passwords import MEMORY_KIB, PASSES, Argon2Hasher
from shared.store import resets, topology
from shared.store.connection import connect
from tests.support import databases
from tests.support.cluster import Cluster, TestedCluster
from tests.support.fakes import FakeRedis
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS


def pytest_addoption(parser):
    parser.addoption(
        "--topology",
        choices=("single", "cluster"),
        default="single",
        help="cluster: the store's clients, fake ones too, are those of a three-node cluster",
    )


def pytest_configure(config):
    if is_cluster(config):
        topology.StoreCluster = TestedCluster
        os.environ["KEYTURN_BROKER_URL"] = "redis://127.0.0.1:9/0"  # a cluster is none


def pytest_collection_modifyitems(config, items):
    """On a cluster, `client` is one client, none is fake, and some tests are of one server."""
    if is_cluster(config):
        twice = [
            i
            for i in items
            if i.get_closest_marker("one_server")
            or (getattr(i, "callspec", None) and "fake" in i.callspec.params.values())
        ]
        config.hook.pytest_deselected(items=twice)
        items[:] = [item for item in items if item not in twice]


def is_cluster(config):
    return config.getoption("--topology") == "cluster"


@pytest.fixture(scope="session", autouse=True)
def rules_compiled_once():
    """Have werkzeug compile each rule once: thousands of tests make an application of their own."""
    compile_builder, known = Rule._compile_builder, {}

    def compile_once(rule, append_unknown=True):
        key = (tuple(rule._trace), repr(rule.defaults), append_unknown)
        if key not in known:
            known[key] = compile_builder(rule, append_unknown)
        return known[key]

    Rule._compile_builder = compile_once
    yield
    Rule._compile_builder = compile_builder


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes():
    """Hash passwords a hundred times cheaper; `real_hashes` is for tests about their cost."""
    usual = dict(Argon2Hasher.__init__.__kwdefaults__)
    Argon2Hasher.__init__.__kwdefaults__.update(memory_kib=64, passes=1)
    yield
    Argon2Hasher.__init__.__kwdefaults__.update(usual)


@pytest.fixture
def real_hashes(cheap_hashes):
    """The product's own cost."""
    usual = dict(Argon2Hasher.__init__.__kwdefaults__)
    Argon2Hasher.__init__.__kwdefaults__.update(memory_kib=MEMORY_KIB, passes=PASSES)
    yield
    Argon2Hasher.__init__.__kwdefaults__.update(usual)


@pytest.fixture(scope="session")
def real_redis_url(pytestconfig):
    """The URL of a real server: KEYTURN_TEST_REDIS_URL (it is emptied!), else one of our own."""
    given = os.environ.get("KEYTURN_TEST_REDIS_URL")
    if is_cluster(pytestconfig):
        with tempfile.TemporaryDirectory(prefix="keyturn-test-") as directory:
            cluster = Cluster(Path(directory))
            yield cluster.url
            cluster.stop()
        return
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="keyturn-test-") as directory:
        socket = Path(directory) / "valkey.sock"
        server = start_server(socket)
        yield f"unix://{socket}"
        server.terminate()
        server.wait(HANG_SECONDS)


@pytest.fixture
def own_server(tmp_path):
    """Starts a server on a socket, as often as asked; all of them end with the test."""
    started = []

    def start(socket: Path = tmp_path / "own.sock") -> subprocess.Popen[bytes]:
        socket.unlink(missing_ok=True)
        started.append(start_server(socket))
        return started[-1]

    yield start
    for server in started:
        server.kill()
        server.wait(HANG_SECONDS)


@pytest.fixture(scope="session")
def postgresql_url():
    with databases.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url():
    with databases.mariadb() as url:
        yield url


@pytest.fixture
def fake_client(request, monkeypatch):
    # A fake server compiles its scripts anew, and a busy machine lets it wait: no caller is gone.
    monkeypatch.setattr(resets, "PATIENCE_US", int(HANG_SECONDS * 1_000_000))
    if is_cluster(request.config):
        yield request.getfixturevalue("real_client")
        return
    with FakeRedis() as client:
        yield client


@pytest.fixture
def real_client(real_redis_url):
    with connect(real_redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real_server)])
def client(request):
    """Both, one after the other: what holds for one must hold for the other."""
    return request.getfixturevalue(f"{request.param}_client")
