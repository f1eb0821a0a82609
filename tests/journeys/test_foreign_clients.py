"""Clients nobody here wrote, pointed at a running Keyturn with a plain token and nothing else.

Those of npm are installed once, into the user's cache, when the journeys first run; without node,
npm or a way to a package index they are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings

import grpc
import pytest

from tests import CHECKOUT
from tests.journeys.foreign import needs_node, run_script
from tests.support.rpc import PASSWORD_RESET

NO_USER, NO_TOKEN = "COMMAND-SAF4f", "AUTH-7fs1e"
pytestmark = pytest.mark.real_server


@pytest.fixture
def run_client(clients, keyturn):
    def run(script: str) -> dict[str, dict[str, object]]:
        """What became of the cases of a script."""
        grpc_url = f"http://{keyturn.grpc_target}"
        return run_script(clients, script, url=keyturn.url, grpc_url=grpc_url, token=keyturn.token)

    return run


@needs_node
def test_connect_node_speaks_all_three_protocols(run_client):
    told = run_client("connect_node.mjs")

    for name in ("connectJson", "connectProto", "grpcWeb", "grpcWebDeadline", "grpc"):
        assert told[f"{name} v1"] == {"ok": "demo"}
        assert told[f"{name} password"] == {"ok": "demo"}
        assert told[f"{name} unknown user"]["error"] == {"code": 5, "id": NO_USER}
        assert told[f"{name} unknown token"]["error"] == {"code": 16, "id": NO_TOKEN}


@needs_node
def test_zitadel_client_speaks_grpc_and_grpc_web(run_client):
    told = run_client("zitadel_client.mjs")

    for name in ("grpc", "grpcWeb"):
        assert told[f"{name} v1"] == {"ok": "demo"}
        assert told[f"{name} v2"] == {"ok": "demo"}
        assert told[f"{name} unknown user"]["error"] == {"code": 5, "id": NO_USER}
        assert told[f"{name} unknown token"]["error"] == {"code": 16, "id": NO_TOKEN}


@needs_node
def test_zitadel_node_speaks_grpc(run_client):
    told = run_client("zitadel_node.mjs")

    assert told["grpc v1"] == {"ok": "demo"}
    assert told["grpc unknown type"]["error"] == {"code": 3, "id": None}
    assert told["grpc unknown user"]["error"] == {"code": 9, "id": "COMMAND-Hj9ds"}
    assert told["grpc unknown token"]["error"] == {"code": 16, "id": NO_TOKEN}


@needs_node
def test_grpc_js_speaks_grpc(run_client):
    told = run_client("grpc_js.mjs")

    assert told["grpc v1"] == told["grpc v2"] == {"ok": "demo"}
    assert told["grpc handle"] == {"ok": "string"}
    assert told["grpc forty"] == {"ok": 40}
    unknown_user = {"code": 9, "id": "COMMAND-Hj9ds", "hasDetails": True}
    assert told["grpc unknown user"]["error"] == unknown_user
    unknown_token = {"code": 16, "id": NO_TOKEN, "hasDetails": True}
    assert told["grpc unknown token"]["error"] == unknown_token


@needs_node
@pytest.mark.parametrize("protocol", ["grpc", "grpcweb", "connect"])
def test_buf_curl_speaks_all_three_protocols(clients, keyturn, protocol, tmp_path):
    # buf reads every .proto below its schema, and a checkout's .venv holds those of others.
    shutil.copytree(CHECKOUT / "web" / "rpc", tmp_path / "web" / "rpc")
    base = f"http://{keyturn.grpc_target}" if protocol == "grpc" else keyturn.url
    # Reflection is native gRPC's; the other two read our own .proto files.
    where = ["--http2-prior-knowledge"] if protocol == "grpc" else ["--schema", "."]
    command = [clients / "node_modules/.bin/buf", "curl", "--protocol", protocol, *where]
    command += ["--header", f"Authorization: Bearer {keyturn.token}"]

    def call(user_id: str) -> subprocess.CompletedProcess[str]:
        asked = ["--data", json.dumps({"userId": user_id}), base + PASSWORD_RESET]
        return subprocess.run(
            [*command, *asked], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert json.loads(call("ada").stdout)["details"]["resourceOwner"] == "demo"
    refused = json.loads(call("nobody").stderr)
    assert refused["code"] == "not_found"
    assert NO_USER in refused["message"]


def test_grpc_requests_finds_the_calls_by_reflection(keyturn):
    from grpc_requests import Client

    client = Client(keyturn.grpc_target)
    metadata = [("authorization", f"Bearer {keyturn.token}")]

    answer = client.request(
        "zitadel.user.v2.UserService", "PasswordReset", {"user_id": "ada"}, metadata=metadata
    )

    assert "zitadel.management.v1.ManagementService" in client.service_names
    assert answer["details"]["resource_owner"] == "demo"
    with pytest.raises(grpc.RpcError) as refused:
        client.request(
            "zitadel.user.v2.UserService", "PasswordReset", {"user_id": "x"}, metadata=metadata
        )
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_zitadels_python_client_speaks_connect(keyturn):
    with warnings.catch_warnings(record=True):  # of a library below it, about another one
        from zitadel_client import Zitadel
    from zitadel_client.exceptions import ApiError
    from zitadel_client.models import (
        UserServicePassword,
        UserServicePasswordResetRequest,
        UserServiceSetPasswordRequest,
    )

    users = Zitadel.with_access_token(keyturn.url, keyturn.token).users
    code = users.password_reset(
        UserServicePasswordResetRequest(user_id="ada", return_code={})
    ).verification_code
    done = users.set_password(
        UserServiceSetPasswordRequest(
            user_id="ada",
            new_password=UserServicePassword(password="Correct-Horse-1"),
            verification_code=code,
        )
    )

    assert done.details.resource_owner == "demo"
    with pytest.raises(ApiError) as refused:
        users.password_reset(UserServicePasswordResetRequest(user_id="nobody"))
    assert refused.value.code == 404
    assert NO_USER in str(refused.value.response_body)
    strangers = Zitadel.with_access_token(keyturn.url, "unknown").users
    with pytest.raises(ApiError) as refused:
        strangers.password_reset(UserServicePasswordResetRequest(user_id="ada"))
    assert refused.value.code == 401
