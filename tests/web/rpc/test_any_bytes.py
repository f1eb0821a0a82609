"""Whatever bytes come, the answer is one of the protocol and no error of ours."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import EXAMPLES
from tests.support.rpc import PASSWORD_RESET, SET_PASSWORD, V1
from web.problems import INTERNAL
from web.rpc.http import PROTOCOLS

PATHS = (V1, PASSWORD_RESET, SET_PASSWORD)
# Frames whose length is right are met by chance too rarely.
BODIES = st.binary(max_size=64) | st.binary(max_size=64).map(
    lambda content: b"\x00" + len(content).to_bytes(4, "big") + content
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Encoding": st.sampled_from(["gzip", "identity", "br"]),
        "Grpc-Encoding": st.sampled_from(["gzip", "identity", "br"]),
        "Grpc-Timeout": st.text("0123456789Sm", max_size=9),
        "Connect-Timeout-Ms": st.text("0123456789-", max_size=11),
    },
)


@pytest.mark.parametrize("kind", PROTOCOLS)
@given(path=st.sampled_from(PATHS), body=BODIES, headers=HEADERS)
@settings(
    max_examples=6 * EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_bytes_are_an_error_of_ours(wire, kind, path, body, headers):
    response = wire.call(path, data=body, content_type=kind, headers=wire.headers() | headers)

    if "grpc" not in kind:
        assert response.status_code < 500 or response.get_json()["code"] in {
            "unimplemented",
            "deadline_exceeded",
        }
        return
    assert response.status_code == 200
    assert f"grpc-status: {INTERNAL}\r".encode() not in response.data
    assert response.headers.get("Grpc-Status") != str(INTERNAL)
