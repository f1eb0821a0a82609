"""One public port for every protocol: deploy/haproxy.cfg before a running Keyturn."""

from __future__ import annotations

import os
import shutil
import subprocess
from urllib.parse import urlsplit

import grpc
import pytest
import requests

from tests import CHECKOUT
from tests.journeys.foreign import needs_node, run_script
from tests.journeys.stack import free_ports
from tests.support.rpc import PASSWORD_RESET, V1, Notification, RpcCaller
from tests.support.waiting import wait_until
from web.rpc.generated.user_pb2 import PasswordResetRequest

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
CONFIG = CHECKOUT / "deploy" / "haproxy.cfg"
CURL = shutil.which("curl")
pytestmark = [
    pytest.mark.real_server,
    pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed: apt install haproxy"),
]


@pytest.fixture(scope="module")
def public(keyturn):
    """The public address."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    environ = os.environ | {
        "KEYTURN_PUBLIC_BIND": address,
        "KEYTURN_WEB_SERVER": urlsplit(keyturn.url).netloc,
        "KEYTURN_GRPC_SERVER": keyturn.grpc_target,
    }
    with subprocess.Popen([HAPROXY, "-f", CONFIG, "-db"], env=environ) as proxy:
        try:
            wait_until(lambda: is_up(address), what="haproxy")
            yield address
        finally:
            proxy.kill()


def is_up(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/livez", timeout=2).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture
def caller(public, keyturn):
    running = RpcCaller(public, keyturn.token)
    yield running
    running.channel.close()


def test_the_configuration_is_sound(public, keyturn):
    environ = os.environ | {
        "KEYTURN_PUBLIC_BIND": public,
        "KEYTURN_WEB_SERVER": urlsplit(keyturn.url).netloc,
        "KEYTURN_GRPC_SERVER": keyturn.grpc_target,
    }

    checked = subprocess.run(
        [HAPROXY, "-c", "-f", CONFIG], env=environ, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0
    assert "WARNING" not in checked.stdout + checked.stderr


def test_rest_passes(public, keyturn):
    answer = requests.post(
        f"http://{public}/management/v1/users/ada/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )

    assert answer.status_code == 200
    assert answer.headers["Keyturn-Reset-Id"]


@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web+proto"])
def test_connect_and_grpc_web_pass(kind, public, keyturn):
    message = Notification(user_id="ada").SerializeToString()
    frame = b"\x00" + len(message).to_bytes(4, "big") + message

    answer = requests.post(
        f"http://{public}{V1}",
        data=b'{"userId":"ada"}' if kind == "application/json" else frame,
        headers={"Authorization": f"Bearer {keyturn.token}", "Content-Type": kind},
        timeout=60,
    )

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
    assert answer.headers["Keyturn-Reset-Id"]


def test_a_chunked_body_passes(public, keyturn):
    answer = requests.post(
        f"http://{public}{V1}",
        data=iter([b'{"user', b'Id":"ada"}']),
        headers={"Authorization": f"Bearer {keyturn.token}", "Content-Type": "application/json"},
        timeout=60,
    )

    assert answer.status_code == 200


@pytest.mark.skipif(not CURL, reason="curl is not installed")
def test_connect_over_http_2_passes(public, keyturn):
    command = [CURL, "--silent", "--http2-prior-knowledge", "--json", '{"userId":"ada"}']
    command += ["--header", f"Authorization: Bearer {keyturn.token}", "--max-time", "10"]
    command += ["--write-out", " %{http_version} %{http_code}", f"http://{public}{V1}"]

    answer = subprocess.run(command, capture_output=True, text=True, check=True)

    assert '"resourceOwner":"demo"' in answer.stdout
    assert answer.stdout.endswith(" 2 200")


def test_native_grpc_passes(caller):
    answer, _ = caller.notify()

    assert answer.details.resource_owner == "demo"


def test_an_error_keeps_its_details(caller):
    refused = caller.refusal(PASSWORD_RESET, PasswordResetRequest(user_id="nobody"))

    assert refused == (grpc.StatusCode.NOT_FOUND, "COMMAND-SAF4f")


def test_the_rest_path_takes_native_grpc_too(caller):
    path = "/management/v1/users/ada/password/_reset"

    assert caller.start(path, Notification()).result()


def test_forty_calls_of_one_connection_pass(caller):
    calls = [caller.start(V1, Notification(user_id="ada")) for _ in range(40)]

    assert len([call.result() for call in calls]) == 40


@needs_node
@pytest.mark.parametrize("script", ["connect_node.mjs", "zitadel_client.mjs", "grpc_js.mjs"])
def test_the_clients_of_others_need_one_address_only(script, clients, public, keyturn):
    address = f"http://{public}"

    told = run_script(clients, script, url=address, grpc_url=address, token=keyturn.token)

    refused = {name for name, outcome in told.items() if "error" in outcome}
    assert refused == {name for name in told if " unknown " in name}
