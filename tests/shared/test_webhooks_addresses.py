"""A subscriber is on the public Internet, whatever its address is wrapped in."""

from __future__ import annotations

import pytest

from shared.webhooks import is_public

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "loopback, another": "127.8.8.8",
    "loopback, IPv6": "::1",
    "private": "10.1.2.3",
    "private, 172": "172.16.0.1",
    "private, 192": "192.168.1.1",
    "metadata of a cloud": "169.254.169.254",
    "shared by a carrier": "100.64.0.1",
    "this host": "0.0.0.0",
    "this host, IPv6": "::",
    "broadcast": "255.255.255.255",
    "multicast": "224.0.0.1",
    "multicast, IPv6": "ff02::1",
    "benchmarks": "198.18.0.1",
    "documentation": "192.0.2.1",
    "link-local with its zone": "fe80::1%eth0",
    "unique local": "fd00::1",
    "site-local": "fec0::1",
    "loopback, mapped": "::ffff:127.0.0.1",
    "loopback, compatible": "::7f00:1",
    "private behind NAT64": "64:ff9b::a00:1",
    "loopback behind 6to4": "2002:7f00:1::",
    "private behind Teredo": "2001:0:808:808::f5ff:fffe",
    "no address": "localhost",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address):
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_any_other_may_not(address):
    assert not is_public(address)
