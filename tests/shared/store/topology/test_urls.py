"""KEYTURN_REDIS_URL: what each form leads to, and what is refused with a sentence."""

from __future__ import annotations

import sys
import types

import pytest
import redis

from shared.errors import SettingsError
from shared.settings import load_settings
from shared.store.connection import connect
from shared.store.topology.cluster import StoreCluster
from shared.wiring import connect_store

BROKER = {"KEYTURN_BROKER_URL": "redis://broker:6379/1"}


def options_of(client):
    return client.connection_pool.connection_kwargs


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_cluster_names_several_hosts_and_one_login(scheme):
    with connect(f"{scheme}+cluster://me:p%40ss@a,b:7000,[::1]:7001") as client:
        assert isinstance(client, StoreCluster)
        assert list(client._seeds) == [("a", 6379), ("b", 7000), ("::1", 7001)]
        assert client._options["username"] == "me"
        assert client._options["password"] == "p@ss"
        is_encrypted = issubclass(client._connection_class, redis.SSLConnection)
        assert is_encrypted == (scheme == "rediss")


def test_sentinel_names_hosts_a_primary_a_database_and_two_logins():
    url = "redis+sentinel://me:secret@a,b:26380/orders/3?sentinel_password=other"
    with connect(url) as client:
        options = options_of(client)
        proxy = options["connection_pool"]

        assert (options["db"], options["username"], options["password"]) == (3, "me", "secret")
        assert proxy.service_name == "orders"
        asked = [
            each.connection_pool.connection_kwargs for each in proxy.sentinel_manager.sentinels
        ]
        assert [(each["host"], each["port"]) for each in asked] == [("a", 26379), ("b", 26380)]
        assert {each["password"] for each in asked} == {"other"}


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://a,,b",
        "redis+cluster://a:x",
        "redis+cluster://a/2",
        "redis+cluster://a:70000",
        "redis+sentinel://a,b",
        "redis+sentinel:///name",
        "redis+sentinel://a/name/x",
        "redis+other://a",
        "rediss+:///a",
        "amqp://a",
        "banana",
    ],
)
def test_what_is_no_url_of_redis_is_refused_without_repeating_it(url):
    secret = url.replace("://", "://me:hunter2@")
    settings = load_settings(BROKER | {"KEYTURN_REDIS_URL": secret})

    with pytest.raises(SettingsError, match=r"must look like redis://.*redis\+sentinel") as raised:
        connect_store(settings)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis+cluster://a", "rediss+sentinel://a/b", "REDIS+CLUSTER://a"])
def test_hints_travel_through_neither_cluster_nor_sentinel(url):
    with pytest.raises(SettingsError, match=r"KEYTURN_BROKER_URL must be set.*none"):
        load_settings({"KEYTURN_REDIS_URL": url})
    with pytest.raises(SettingsError, match=r"KEYTURN_BROKER_URL.*none"):
        load_settings({"KEYTURN_REDIS_URL": "redis://a", "KEYTURN_BROKER_URL": url})

    assert load_settings(BROKER | {"KEYTURN_REDIS_URL": url})


def test_an_authority_of_ones_own_is_used_for_store_and_broker(tmp_path):
    certificates = tmp_path / "ca.pem"
    certificates.write_text("")
    for url in ("rediss://a:6380/0", "rediss+cluster://a", "rediss+sentinel://a/b"):
        given = {"KEYTURN_REDIS_URL": url, "KEYTURN_REDIS_CA_PATH": str(certificates)}
        with connect_store(load_settings(BROKER | given)) as client:
            options = client._options if "cluster" in url else options_of(client)
            assert options["ssl_ca_certs"] == str(certificates)

    given["KEYTURN_REDIS_URL"] = "rediss://a:6380/0"
    assert f"ssl_ca_certs={certificates}".replace("/", "%2F") in load_settings(given).hint_url


def test_an_authority_that_cannot_be_used_is_refused(tmp_path):
    missing = {"KEYTURN_REDIS_CA_PATH": str(tmp_path / "none")}
    settings = load_settings({"KEYTURN_REDIS_URL": "rediss://a"} | missing)
    with pytest.raises(SettingsError, match="file that can be read"):
        connect_store(settings)
    here = load_settings({"KEYTURN_REDIS_URL": "redis://a", "KEYTURN_REDIS_CA_PATH": __file__})
    with pytest.raises(SettingsError, match="TLS"):
        connect_store(here)


class Tokens:
    def get_credentials(self):
        return "me", "a token of this hour"


@pytest.fixture
def tokens_module(monkeypatch):
    module = types.ModuleType("tokens_of_a_cloud")
    module.Tokens, module.Nothing = Tokens, object
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


@pytest.mark.parametrize("url", ["redis://a", "redis+cluster://a", "redis+sentinel://a/b"])
def test_credentials_that_expire_are_asked_for_at_every_connection(url, tokens_module):
    given = {"KEYTURN_REDIS_URL": url, "KEYTURN_REDIS_CREDENTIALS": f"{tokens_module}:Tokens"}

    with connect_store(load_settings(BROKER | given)) as client:
        options = client._options if "cluster" in url else options_of(client)
        assert options["credential_provider"].get_credentials()[1] == "a token of this hour"

    with pytest.raises(SettingsError, match="KEYTURN_BROKER_URL must be set"):
        load_settings(given)


@pytest.mark.parametrize(
    "name", ["", ":", "none:Tokens", "{}:Missing", "{}:Nothing", "{}", "os:sep"]
)
def test_credentials_that_cannot_be_made_are_refused(name, tokens_module):
    given = {
        "KEYTURN_REDIS_URL": "redis://a",
        "KEYTURN_REDIS_CREDENTIALS": name.format(tokens_module),
    }

    settings = load_settings(BROKER | given)
    if not name:
        connect_store(settings).close()
        return
    with pytest.raises(SettingsError, match=r"package\.module:Name"):
        connect_store(settings)


@pytest.mark.parametrize(
    "level", ["memory", "replica", "replica:2", "replica:3", "disk", "service"]
)
def test_levels_of_durability(level):
    assert load_settings({"KEYTURN_DURABILITY": level}).durability == level


@pytest.mark.parametrize("level", ["replica:0", "replica:4", "replica:", "replicas", "none"])
def test_other_levels_of_durability_are_refused(level):
    with pytest.raises(SettingsError, match="KEYTURN_DURABILITY"):
        load_settings({"KEYTURN_DURABILITY": level})
