"""A real SMTP server (aiosmtpd) on loopback that keeps what it takes."""

from __future__ import annotations

import email
import socket
from email.message import EmailMessage
from email.policy import default as modern
from typing import Any, Self, cast

from aiosmtpd.controller import Controller


class SmtpServer:
    """`with SmtpServer() as server: … server.url … server.mails …`."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=0)
        # aiosmtpd knocks at the port it was told, and that was 0.
        self._controller._trigger_server = self._knock  # type: ignore[method-assign]

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._address[1]}"

    @property
    def reset_ids(self) -> list[str]:
        """Whose mails it took, in their order."""
        return [str(mail["Keyturn-Reset-Id"]) for mail in self.mails]

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = email.message_from_bytes(envelope.content, policy=modern)
        self.mails.append(cast("EmailMessage", mail))
        return f"250 2.0.0 Ok: queued as M{len(self.mails)}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def _address(self) -> Any:
        return cast("Any", self._controller.server).sockets[0].getsockname()

    def _knock(self) -> None:
        socket.create_connection(self._address).close()
