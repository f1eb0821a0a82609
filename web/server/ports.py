"""Ask whether a port can be listened on."""

from __future__ import annotations

import socket


def taken_port(host: str, port: int, *, is_shared: bool = False) -> str | None:
    """Return a sentence why a port cannot be listened on; None if it can.

    `is_shared`: servers of the same user may share the port, as granian's processes do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"cannot listen on {host} port {port}: {error.strerror}"
    return None
