"""Bodies that stall or break off, connections that idle, and bytes that are no HTTP.

The web process runs as a program, alone and behind deploy/haproxy.cfg.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.journeys.stack import free_ports
from tests.support.front_door import HAPROXY, FrontDoor, ask, read_answer
from tests.support.redis_server import start_server
from tests.support.waiting import HANG_SECONDS
from web.middleware import BODY_SECONDS
from web.rpc.calls import V1_CALL

pytestmark = pytest.mark.real_server

V1 = "/management/v1/users/ada/password/_reset"
V2 = "/v2/users/ada/password_reset"
LISTS = "/keyturn/v1/batches"
FRAME = b"\0\0\0\0\x05\n\x03ada"
FORM = b"userID=ada&code=AAAAAAAA&password=x&passwordConfirm=x"
SMALL = {
    "v1": (V1, "application/json", b'{"type":"TYPE_EMAIL"}'),
    "v1 bare": ("/users/ada/password/_reset", "application/json", b'{"type":1}   '),
    "v2": (V2, "application/json", b'{"returnCode":{}}'),
    "page": ("/ui/password/reset", "application/x-www-form-urlencoded", FORM),
    "fresh": ("/ui/password/reset/fresh", "application/x-www-form-urlencoded", FORM),
    "sendgrid": ("/callbacks/sendgrid", "application/json", b'[{"event":"bounce"}]'),
    "twilio": ("/callbacks/twilio?resetId=x", "application/x-www-form-urlencoded", b"a=b&c=d"),
    "gateway": ("/callbacks/http", "application/json", b'{"event":"delivered"}'),
    "connect": (V1_CALL.path, "application/json", b'{"userId":"ada"}'),
    "connect binary": (V1_CALL.path, "application/proto", b"\n\x03ada"),
    "grpc-web": (V1_CALL.path, "application/grpc-web", FRAME),
    "grpc-web on the REST path": (V1, "application/grpc-web+proto", FRAME),
    "webhooks": ("/keyturn/v1/webhooks/none/_enable", "application/json", b"{}"),
}
IDS = [f"user-{number:05}" for number in range(10_000)]
LIST = "\n".join(["ada", *IDS]).encode()


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    server = start_server(folder / "redis.sock")
    running = FrontDoor(folder, folder / "redis.sock")
    try:
        yield running.start()
    finally:
        running.stop()
        server.terminate()
        server.wait(HANG_SECONDS)


@pytest.fixture(params=["direct", "proxied"])
def address(request, door):
    if request.param == "proxied" and not HAPROXY:
        pytest.skip("haproxy is not installed: apt install haproxy")
    return getattr(door, request.param)


def chunked(body: bytes) -> bytes:
    size = max(7, len(body) // 100)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def framed(door, path: str, kind: str, body: bytes, framing: str) -> tuple[bytes, bytes]:
    """Head and body of a request, by one of the two framings."""
    if framing == "chunked":
        return door.head(path, f"Content-Type: {kind}", "Transfer-Encoding: chunked"), chunked(body)
    return door.head(path, f"Content-Type: {kind}", f"Content-Length: {len(body)}"), body


def lives(address) -> int:
    return ask(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").status


def resets(door, address) -> int:
    return ask(address, *framed(door, *SMALL["v1"], "announced")).status


# ---- bodies that break off


@pytest.mark.parametrize("framing", ["announced", "chunked"])
@pytest.mark.parametrize("name", SMALL)
def test_a_small_body_that_breaks_off_anywhere_leaves_nothing_behind(door, address, name, framing):
    head, body = framed(door, *SMALL[name], framing)
    before = door.recorded()

    for cut in range(len(body)):
        ask(address, head, body[:cut], end="reset")
        answer = ask(address, head, body[:cut], end="half")
        assert answer.status in (0, 400, 408) or answer.headers.get("grpc-status") != "0"
        assert b"grpc-status: 0" not in answer.body, cut

    assert lives(address) == 200
    assert door.recorded() == before


@pytest.mark.parametrize("framing", ["announced", "chunked"])
@pytest.mark.parametrize("name", ["v1", "v2", "connect", "grpc-web"])
def test_the_same_body_whole_is_taken(door, address, name, framing):
    answer = ask(address, *framed(door, *SMALL[name], framing))

    assert answer.status == 200
    assert "keyturn-reset-id" in answer.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-ndjson; charset=utf-8"])
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_a_list_that_breaks_off_anywhere_starts_nothing(door, address, framing, kind):
    head, body = framed(door, LISTS, kind, LIST, framing)
    before = door.recorded()
    cuts = [0, 1, 2, 3, 4, 5, 9, len(body) // 2, len(body) // 2 + 3]
    cuts += [len(body) - back for back in (14, 12, 8, 5, 4, 3, 2, 1)]

    for cut in cuts:
        ask(address, head, body[:cut], end="reset")
        assert ask(address, head, body[:cut], end="half").status in (0, 400)

    assert lives(address) == 200
    assert door.recorded() == before


@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_a_whole_list_is_taken(door, address, framing):
    answer = ask(address, *framed(door, LISTS, "text/plain", LIST, framing))

    assert answer.status == 202
    assert b'"total":10001' in answer.body


MALFORMED = [
    b"zz\r\nada\r\n0\r\n\r\n",
    b"-1\r\n\r\n",
    b"3;\r\nadax\r\n0\r\n\r\n",
    b"3\r\nada0\r\n\r\n",
]


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize("path", [V1, LISTS, V1_CALL.path])
def test_a_malformed_chunk_is_refused(door, address, path, body):
    kind = "text/plain" if path == LISTS else "application/json"
    head = door.head(path, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
    before = door.recorded()

    assert ask(address, head, body).status == 400
    assert door.recorded() == before


def test_trailers_are_no_break(door):
    head, body = framed(door, *SMALL["v1"], "chunked")

    answer = ask(door.direct, head, body.removesuffix(b"\r\n") + b"X-Sum: 1\r\n\r\n")

    assert answer.status == 200


def test_a_list_is_asked_for_only_from_callers_who_may_send_one(door):
    lines = ["POST /keyturn/v1/batches HTTP/1.1", "Host: x", "Content-Type: text/plain"]
    head = "\r\n".join([*lines, "Content-Length: 900000", "", ""]).encode()

    answer = ask(door.direct, head, seconds=BODY_SECONDS / 2)

    assert (answer.status, answer.code) == (401, 16)


def test_the_lists_of_one_caller_do_not_fill_the_disk(door):
    head = door.head(LISTS, "Content-Type: text/plain", "Content-Length: 900000")
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection(door.direct)) for _ in range(4)]
        for line in lines:
            line.sendall(head + b"ada\n")
        time.sleep(0.5)

        assert ask(door.direct, head).status == 429
        assert lives(door.direct) == 200


def test_an_endless_list_is_refused_by_its_announcement(door):
    head = door.head(LISTS, "Content-Type: text/plain", f"Content-Length: {1 << 40}")

    assert ask(door.direct, head, seconds=BODY_SECONDS / 2).status == 413


# ---- bodies that stall, connections that idle


def dripping(line: socket.socket, seconds: float) -> None:
    """Send a byte now and then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            line.send(b" ")
        except OSError:
            return
        time.sleep(0.5)


def test_stalled_and_dripping_bodies_keep_nobody_waiting(door):
    addresses = [door.direct, door.proxied] if HAPROXY else [door.direct]
    requests = [*SMALL.values(), (LISTS, "text/plain", LIST)]
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(32))
        lines = []
        for number in (1, 9, 64, 300):
            for at in range(number):
                head, body = framed(
                    door, *requests[at % len(requests)], ("announced", "chunked")[at // 13 % 2]
                )
                address = addresses[at // 26 % len(addresses)]
                lines.append(stack.enter_context(socket.create_connection(address)))
                lines[-1].sendall(head + body[: at % 3])
            for line in lines[:30]:
                pool.submit(dripping, line, BODY_SECONDS)
            for address in addresses:
                assert (lives(address), resets(door, address)) == (200, 200)
        until = time.monotonic() + BODY_SECONDS + 3
        while time.monotonic() < until:
            for address in addresses:
                began = time.monotonic()
                assert (lives(address), resets(door, address)) == (200, 200)
                assert time.monotonic() - began < BODY_SECONDS / 2
            time.sleep(0.2)
        before = door.recorded()
        for line in lines:
            line.settimeout(HANG_SECONDS)
        statuses = {read_answer(line).status for line in lines}
    # gRPC-Web tells its status in a 200; what dripped long enough was whole, and no callback.
    assert statuses <= {0, 200, 400, 403, 404, 408, 429}
    assert 400 in statuses
    assert door.recorded() == before


def test_idle_connections_of_one_address_do_not_keep_others_out(door, address):
    with ExitStack() as stack:
        for number in range(1100):
            line = stack.enter_context(socket.create_connection(address, HANG_SECONDS))
            if number % 2:
                line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")

        began = time.monotonic()
        assert (lives(address), resets(door, address)) == (200, 200)
        assert time.monotonic() - began < BODY_SECONDS / 2


# ---- what is no HTTP

HOSTS = {
    "none": "",
    "two": "Host: x\r\nHost: y\r\n",
    "the same twice": "Host: x\r\nHost: x\r\n",
    "empty": "Host:\r\n",
    "a space": "Host: a b\r\n",
    "a path": "Host: a/b\r\n",
    "a user": "Host: u@a\r\n",
    "a list": "Host: a, b\r\n",
    "a port that is none": "Host: a:x\r\n",
    "a bracket": "Host: [::1\r\n",
    "an empty label": "Host: a..b\r\n",
    "no ASCII": "Host: \xe4\r\n",
}


@pytest.mark.parametrize("path", ["/livez", V1, "/ui/password/reset", V1_CALL.path])
@pytest.mark.parametrize("lines", HOSTS.values(), ids=HOSTS)
def test_a_host_that_is_missing_doubled_or_malformed_is_refused(door, path, lines):
    answer = ask(door.direct, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))

    assert answer.status == 400
    if answer.body:  # of ours, not of the HTTP library
        assert (answer.code, answer.headers["cache-control"]) == (3, "no-store")
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("host", ["x", "x.example:8080", "[::1]:80", "127.0.0.1", "a_b-c.", "x:"])
def test_a_host_is_a_name_or_an_address(door, host):
    assert ask(door.direct, f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == 200


def test_http_1_0_needs_no_host(door):
    assert ask(door.direct, b"GET /livez HTTP/1.0\r\n\r\n").status == 200


@pytest.mark.parametrize("method", ["get", "Get", "post", "pOST", "head"])
@pytest.mark.parametrize("path", ["/livez", V1, "/ui/password/reset", V1_CALL.path])
def test_a_method_in_lower_case_is_no_method(door, method, path):
    before = door.recorded()

    assert ask(door.direct, door.head(path, method=method)).status in (400, 405, 501)
    assert door.recorded() == before


@pytest.mark.parametrize(
    "path",
    ["/" + V1, "//" + V1, "///livez", "//ui/password/reset", "/%2Flivez", "/" + V1_CALL.path],
)
@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web+proto"])
def test_a_doubled_slash_in_front_is_not_found(door, address, path, kind):
    body = FRAME if "grpc" in kind else b"{}"
    for method in ("GET", "POST"):
        head = door.head(
            path, f"Content-Type: {kind}", f"Content-Length: {len(body)}", method=method
        )

        answer = ask(address, head, body)

        assert (answer.status, answer.code) == (404, 5)


CODINGS = ["chunked, chunked", "gzip, chunked", "chunked\r\nTransfer-Encoding: chunked", "identity"]


@pytest.mark.parametrize("coding", [*CODINGS, "gzip", "xchunked"])
@pytest.mark.parametrize("path", [V1, "/ui/password/reset", V1_CALL.path, LISTS])
def test_other_transfer_codings_are_refused(door, address, path, coding):
    before = door.recorded()

    answer = ask(address, door.head(path, f"Transfer-Encoding: {coding}"), b"2\r\n{}\r\n0\r\n\r\n")

    assert answer.status in (400, 422, 501)  # 422 is HAProxy's
    assert door.recorded() == before


def test_a_header_with_an_underscore_passes_for_no_other(door):
    answer = ask(door.direct, door.head(V1, "X_Request_Id: mine", "Content-Length: 0"))

    assert answer.headers["x-request-id"] != "mine"


# ---- HAProxy

INTERNAL = ["/metrics", "/docs", "/openapi.json", "/dev/inbox", "/dev/inbox.json"]
INTERNAL += ["/console", "/console/sign-in", "/console/static/console.css"]
DISGUISED = ["//metrics", "/%6detrics", "/%6Detrics", "/dev%2finbox", "/dev%2Finbox", "/./metrics"]
DISGUISED += ["/livez/../metrics", "/docs?x=1", "/metrics#x", "//%64ocs", "/dev//inbox", "/METRICS"]
DISGUISED += ["http://x/metrics", "/dev/%69nbox", "/%2fmetrics", "/livez/%2e%2e/metrics"]
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
needs_haproxy = pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")


@needs_haproxy
@pytest.mark.parametrize("path", [*INTERNAL, *DISGUISED, REFLECTION])
def test_what_is_internal_is_not_shown_outside(door, path):
    answer = ask(door.proxied, door.head(path, method="GET"))

    assert answer.status in (400, 404)


@needs_haproxy
def test_what_is_internal_is_shown_to_those_who_ask_for_it(door):
    (port,) = free_ports(1)
    door.start_haproxy(("127.0.0.1", port), KEYTURN_PUBLIC_SHOW_INTERNAL="yes")

    for path in ("/metrics", "/docs", "/openapi.json"):
        assert ask(("127.0.0.1", port), door.head(path, method="GET")).status == 200


@needs_haproxy
@pytest.mark.parametrize("path", ["/livez", "/metrics", "/ui/password/reset", "/nothing"])
def test_browsers_are_told_to_stay_with_tls(door, path):
    answer = ask(door.proxied, door.head(path, method="GET"))

    assert answer.headers["strict-transport-security"].startswith("max-age=")
