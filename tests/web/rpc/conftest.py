from __future__ import annotations

import pytest

from tests.support.rpc import RpcCaller, RpcServer
from tests.support.wire import Wire


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client)


@pytest.fixture
def server(wire):
    running = RpcServer(wire.services).start()
    yield running
    running.stop()


@pytest.fixture
def caller(wire, server):
    with_token = RpcCaller(server.target, wire.token)
    yield with_token
    with_token.channel.close()
