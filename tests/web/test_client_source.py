"""Where a request comes from: the peer, or what trusted proxies say of it."""

from __future__ import annotations

import tracemalloc

import pytest

from shared.errors import SettingsError
from shared.settings import load_settings
from tests.support.wire import Wire
from web.http import client_source, find_source

PROXIES = "127.0.0.0/8,10.0.0.0/8,2001:db8:aaaa::/48"
TRUSTED = load_settings({"KEYTURN_TRUSTED_PROXIES": PROXIES}).trusted_proxies


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("203.0.113.7", "", "203.0.113.7/32"),
        ("203.0.113.7", "198.51.100.9", "203.0.113.7/32"),
        ("127.0.0.1", "198.51.100.9", "198.51.100.9/32"),
        ("127.0.0.1", "1.2.3.4, 198.51.100.9", "198.51.100.9/32"),
        ("127.0.0.1", "1.2.3.4, 198.51.100.9, 10.0.0.3", "198.51.100.9/32"),
        ("127.0.0.1", "10.0.0.9,10.0.0.3", "10.0.0.9/32"),
        ("127.0.0.1", "", "127.0.0.1/32"),
        ("127.0.0.1", "1.2.3.4, unknown", "127.0.0.1/32"),
        ("127.0.0.1", "1.2.3.4, ,10.0.0.3", "10.0.0.3/32"),
        ("127.0.0.1", "198.51.100.9:4711", "198.51.100.9/32"),
        ("127.0.0.1", "[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
        ("::ffff:127.0.0.1", "::ffff:198.51.100.9", "198.51.100.9/32"),
        ("2001:db8:aaaa::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "1.2.3.4", "fe80::/64"),
        ("", "198.51.100.9", "unknown"),
        ("/run/web.sock", "198.51.100.9", "unknown"),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy_is_the_source(peer, forwarded, counted):
    assert find_source(peer, forwarded, TRUSTED).counted == counted


@pytest.mark.parametrize(
    ("peer", "cut"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("", "unknown"),
    ],
)
def test_what_is_shown_is_cut(peer, cut):
    assert find_source(peer, "", ()).cut == cut


def source_of_request(client, **settings):
    """What a request of 127.0.0.1 that names another address is taken for."""
    app = Wire(client, **settings).app
    headers = {"X-Forwarded-For": "198.51.100.9"}
    with app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"}):
        return client_source().counted


def test_no_header_is_believed_unless_a_setting_says_so(fake_client):
    assert source_of_request(fake_client) == "127.0.0.1/32"


def test_a_header_of_a_trusted_proxy_is_believed(fake_client):
    assert source_of_request(fake_client, trusted_proxies=TRUSTED) == "198.51.100.9/32"


@pytest.mark.parametrize(("trusted", "source"), [(TRUSTED, "198.51.100.9"), ((), "127.0.0.1")])
def test_a_long_header_fills_no_memory(trusted, source):
    tracemalloc.start()
    for number in range(100):
        claims = f"1.2.3.{number}, " + "10.0.0.1, " * 6000
        assert find_source("127.0.0.1", f"{claims}198.51.100.9", trusted).counted == f"{source}/32"
    del claims
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept_bytes < 500_000


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "127.0.0.1;::1"])
def test_a_network_that_is_none_is_refused_with_the_remedy(value):
    with pytest.raises(SettingsError, match=r"KEYTURN_TRUSTED_PROXIES.*such as 10\.0\.0\.0/8"):
        load_settings({"KEYTURN_TRUSTED_PROXIES": value})
