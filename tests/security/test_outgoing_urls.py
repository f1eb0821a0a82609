"""Where Keyturn calls, and where its links lead: public hosts, https, no other port."""

from __future__ import annotations

import socket

import pytest

from shared.errors import UrlNotAllowedError
from shared.links import check_link_host
from shared.providers.transport import sockets
from shared.webhooks import Subscribers, is_public, read_url
from tests.support.builders import an_organisation
from tests.support.wire import Wire, problem
from tests.support.wire_v2 import WireV2

NOT_ALLOWED = (400, 3, "KEYTURN-UrlNotAllowed")

IMPOSSIBLE = {
    "a label of 64": f"{'a' * 64}.example",
    "254 characters": ".".join(["a" * 49] * 5) + ".exam",
    "an empty label": "hooks..example",
    "an empty first label": ".example",
    "an empty last label": "hooks.example.",
    "an A-label of nothing": "xn--.example",
    "an A-label that decodes to no letter": "xn--a.example",
    "an A-label that cannot be decoded": "hooks.xn--zz-9999",
    "a hyphen first": "-hooks.example",
    "a hyphen last": "hooks-.example",
    "a hyphen at the end": "hooks.example-",
    "an underscore": "my_hooks.example",
    "an escape": "hooks%2eexample",
    "a star": "*.example",
    "one number": "2130706433",
    "one number in hexadecimal": "0x7f000001",
    "one number in octal": "017700000001",
    "two parts": "127.1",
    "three parts": "127.0.1",
    "hexadecimal parts": "0x7f.0x0.0x0.0x1",
    "a hexadecimal part": "0x7f.1",
    "octal parts": "0177.0.0.1",
    "leading zeros": "127.000.000.001",
    "a root dot": "127.0.0.1.",
    "a part too large": "256.0.0.1",
    "five parts": "1.2.3.4.5",
    "a name that ends in a number": "hooks.example.1",
    "a name that ends in hexadecimal": "hooks.example.0x7f",
    "an empty hexadecimal": "127.0.0.0x",
    "a zone": "[fe80::1%25eth0]",
    "a bare zone": "[fe80::1%eth0]",
    "IPv6 without brackets": "::1",
    "no IPv6": "[::g]",
    "IPv4 in brackets": "[127.0.0.1]",
    "a future address": "[v1.fe80]",
    "full-width digits": "１２７.０.０.１",
    "full-width dots": "127。0。0。1",
    "circled digits": "①②⑦.⓪.⓪.①",
}
PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.192", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.255.255", "192.175.48.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::c000:c0",
    "64:ff9b::a83f:8110", "64:ff9b:1::8.8.8.8", "100::1", "100:0:0:1::1", "2001::1",
    "2001:0:808:808::f5ff:fffe", "2001:2::1", "2001:10::1", "2001:20::1", "2001:30::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3ffe::1", "3fff::1",
    "3fff:fff::1", "4000::1", "5f00::1", "8000::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254",
    "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "168.63.129.15", "168.63.129.17",
    "172.15.255.255", "172.32.0.1", "192.0.1.1", "198.17.255.255", "198.20.0.1",
    "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2001:200::1",
    "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00:1450::1",
]  # fmt: skip


def host_of(address):
    return f"[{address}]" if ":" in address else address


@pytest.fixture
def no_look_up(monkeypatch):
    """Refuse every look-up of a name; a number is read without one."""

    def look_up(host, port, flags):
        if not flags & socket.AI_NUMERICHOST:
            raise AssertionError(f"{host} was looked up")
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)

    monkeypatch.setattr(sockets, "_resolver", sockets.Resolver(look_up))
    monkeypatch.setattr(sockets, "_connect_any", lambda *_: pytest.fail("it was connected to"))


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client)


def subscribe(wire, url):
    return wire.call("/keyturn/v1/webhooks", json={"url": url}, headers=wire.headers())


@pytest.mark.parametrize("host", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("allow_private", [False, True], ids=["public", "any"])
def test_a_subscriber_at_a_host_that_cannot_be_is_refused(host, allow_private):
    scheme = "http" if allow_private else "https"

    with pytest.raises(ValueError, match="must"):
        read_url(f"{scheme}://{host}/hook", allow_private=allow_private)


@pytest.mark.parametrize(
    "host",
    ["hooks.example.com", "HOOKS.example.com", "a.b", f"{'a' * 63}.example", "1e2.example",
     "xn--strae-oqa.example", "127.0.0.1.example.com", "a--b.example", "0x7f.example", "9.example"],
)  # fmt: skip
def test_a_name_that_dns_can_have_is_taken(host):
    assert read_url(f"https://{host}:8443/hook?a=b", allow_private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_special_address_is_not_public(address):
    assert not is_public(address)
    with pytest.raises(ValueError, match="private"):
        read_url(f"https://{host_of(address)}/", allow_private=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_neighbour_of_one_is(address):
    assert is_public(address)
    assert read_url(f"https://{host_of(address)}/", allow_private=False)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "x.localhost"])
def test_this_machine_is_not_public_by_its_names(name):
    with pytest.raises(ValueError, match="private"):
        read_url(f"https://{name}/", allow_private=False)


@pytest.mark.parametrize(
    "host",
    [*map(host_of, PRIVATE), "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0xa9fea9fe",
     "3221225664", "2822734096"],
)  # fmt: skip
def test_a_stored_url_with_a_number_is_judged_as_that_number_without_a_look_up(no_look_up, host):
    """As one that was added before such spellings were refused."""
    subscribers = Subscribers(allow_private=False, timeout_seconds=1)

    reply = subscribers.call(f"https://{host}/", "whsec_AAAA", webhook_id="m", body=b"{}")

    assert (reply.is_taken, reply.reason) == (False, "connect_forbidden")
    subscribers.close()


def test_a_stored_url_with_a_label_too_long_is_a_name_that_leads_nowhere():
    subscribers = Subscribers(allow_private=False, timeout_seconds=1)
    url = f"https://{'a' * 64}.example/"

    assert subscribers.call(url, "whsec_AAAA", webhook_id="m", body=b"{}").reason == "connect_dns"
    subscribers.close()


@pytest.mark.parametrize("host", ["a..example", "0x7f.1", "192.0.0.192", "[3fff::1]"])
def test_the_api_refuses_such_a_subscriber(wire, host):
    answer = subscribe(wire, f"https://{host}/hook")

    assert problem(answer) == (400, 3, "KEYTURN-SubscriberUrl")
    assert wire.services.subscriptions.all() == []


# ---- url templates


@pytest.fixture
def served(fake_client):
    """What answers v2 with this public URL, and these hosts of setting and organisation."""

    def start(public_url, *, link_hosts=(), own=()):
        wire = WireV2(fake_client, public_url=public_url, link_hosts=link_hosts)
        an_organisation(wire.services, link_hosts=own)
        return wire

    return start


def ask(wire, template):
    return wire.reset_v2("ada", {"sendLink": {"urlTemplate": f"{template}/?c={{{{.Code}}}}"}})


@pytest.mark.parametrize(
    "origin",
    ["http://reset.example.com", "http://links.example", "http://own.example:8443",
     "HTTP://links.example", "http://links.example:443", "http://127.0.0.1:3000"],
)  # fmt: skip
def test_no_template_leaves_https(served, origin):
    hosts = ("links.example", "127.0.0.1", "reset.example.com:80")
    wire = served("https://reset.example.com", link_hosts=hosts, own=("own.example:8443",))

    assert problem(ask(wire, origin)) == NOT_ALLOWED
    assert wire.records() == []


@pytest.mark.parametrize("port", [":444", ":8443", ":80", ":0", ":4430", ":65535"])
@pytest.mark.parametrize("listed", [(), ("reset.example.com",), ("reset.example.com:443",)])
def test_another_port_of_the_public_host_is_another_service(served, port, listed):
    wire = served("https://reset.example.com", link_hosts=listed)

    assert problem(ask(wire, f"https://reset.example.com{port}")) == NOT_ALLOWED


@pytest.mark.parametrize("port", ["", ":", ":443", ":0443"])
def test_its_own_port_is_allowed_in_every_spelling(served, port):
    wire = served("https://reset.example.com/base")

    assert ask(wire, f"https://RESET.example.com{port}").status_code == 200


def test_the_port_of_the_public_url_counts(served):
    wire = served("https://reset.example.com:8443")

    assert ask(wire, "https://reset.example.com:8443").status_code == 200
    assert problem(ask(wire, "https://reset.example.com")) == NOT_ALLOWED


@pytest.mark.parametrize("where", ["link_hosts", "own"])
def test_a_port_that_is_listed_is_allowed(served, where):
    wire = served("https://reset.example.com", **{where: ("reset.example.com:8443",)})

    assert ask(wire, "https://reset.example.com:8443").status_code == 200
    assert problem(ask(wire, "https://reset.example.com:8444")) == NOT_ALLOWED


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:1"]
)
def test_on_this_machine_any_port_may_be_written_for(served, base):
    host = base.rpartition(":")[0]
    wire = served(base, link_hosts=("app.test",))

    for origin in (base, f"{host}:3000", "http://app.test:3000", "https://app.test"):
        assert ask(wire, origin).status_code == 200, origin


def test_without_https_another_machines_other_ports_are_refused(served):
    wire = served("http://reset.lan:8080")

    assert ask(wire, "http://reset.lan:8080").status_code == 200
    assert problem(ask(wire, "http://reset.lan:3000")) == NOT_ALLOWED
    assert problem(ask(wire, "https://reset.lan")) == NOT_ALLOWED


def test_a_public_url_of_a_foreign_name_is_allowed_in_ascii():
    base = "https://xn--strae-oqa.example"

    check_link_host(f"{base}/x", (), base=base)
    with pytest.raises(UrlNotAllowedError):
        check_link_host("https://strasse.example/x", (), base=base)
