"""A TCP port in front of the server's socket; SIGUSR1 cuts every connection through it.

Commands under way at a cut are run and their answers are lost, which is the worse half of a cut.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

DEAF_SECONDS = 0.05  # answers are dropped for so long, then the lines are closed


class Half(asyncio.Protocol):
    """One direction's receiving end; what it reads goes out at the other half."""

    def __init__(self, pairs: set[Half], peer: Half | None = None) -> None:
        self._pairs, self.peer = pairs, peer
        self.is_deaf = False
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._pairs.add(self)
        for data in self._early:
            transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and not self.is_deaf:
            self.peer.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self._early.append(data)
        else:
            self.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._pairs.discard(self)
        if self.peer is not None:
            self.peer.close()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Proxy:
    """All connections, and how they end together."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._pairs: set[Half] = set()
        self._dialling: set[asyncio.Task[None]] = set()

    def accept(self) -> Half:
        near = Half(self._pairs)
        far = Half(self._pairs, peer=near)
        near.peer = far
        task = asyncio.ensure_future(self._dial(near, far))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        return near

    async def _dial(self, near: Half, far: Half) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: far, self._server)
        except OSError:
            near.close()

    def cut(self) -> None:
        for half in self._pairs:
            half.is_deaf = half.peer is not None and half.transport is not None
        asyncio.get_running_loop().call_later(DEAF_SECONDS, self._close_all, list(self._pairs))

    @staticmethod
    def _close_all(halves: list[Half]) -> None:
        for half in halves:
            half.close()


async def serve(port: int, server: str) -> None:
    proxy = Proxy(server)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, proxy.cut)
    listening = await loop.create_server(proxy.accept, "127.0.0.1", port, backlog=256)
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", required=True, help="the server's unix socket")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, chosen.server))


if __name__ == "__main__":
    main()
