from __future__ import annotations

import pytest

from tests.support.wire_v2 import WireV2


@pytest.fixture
def wire(fake_client):
    return WireV2(fake_client)


@pytest.fixture
def document(wire):
    return wire.call("/openapi.json", method="GET").get_json()
