"""Brokers on loopback, each with ports and folders of its own: Debian's RabbitMQ, moto's SQS."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in PATH becomes another user
QUEUE_TYPES = ("classic", "quorum")  # and the names of the virtual hosts that have them
BROKERS = ("redis", *QUEUE_TYPES, "sqs", "none")  # redis: the store's server
SLOW_START_SECONDS = 120.0


class RabbitNode:
    """A RabbitMQ node and the port mapper of Erlang that it needs; the caller runs both."""

    def __init__(
        self, folder: Path, *, port: int, distribution_port: int, mapper_port: int
    ) -> None:
        """Nothing may listen on the three ports."""
        self.folder, self.port = folder, port
        self._password = secrets.token_hex(8)
        self._own = {
            "HOME": folder,  # for Erlang's cookie
            "ERL_EPMD_PORT": mapper_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"keyturn{port}@localhost",
            "RABBITMQ_NODE_PORT": port,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": distribution_port,
            "RABBITMQ_MNESIA_BASE": folder / "mnesia",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": folder / "none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "plugins",
            # One scheduler that does not spin: tests share their cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }

    @property
    def environ(self) -> dict[str, str]:
        """The environment of both commands."""
        return os.environ | {name: str(value) for name, value in self._own.items()}

    @property
    def commands(self) -> tuple[Sequence[str], Sequence[str]]:
        """The port mapper's, and the node's."""
        return ("epmd",), (str(RABBITMQ),)

    def url(self, queue_type: str) -> str:
        """The URL of a virtual host."""
        return f"amqp://keyturn:{self._password}@127.0.0.1:{self.port}/{queue_type}"

    def prepare(self) -> None:
        """Write the configuration: a virtual host for each type of queue."""
        self.folder.mkdir(exist_ok=True)
        definitions = self.folder / "definitions.json"
        user, anything = "keyturn", {"configure": ".*", "write": ".*", "read": ".*"}
        definitions.write_text(
            json.dumps(
                {
                    "users": [{"name": user, "password": self._password, "tags": ""}],
                    "vhosts": [
                        {"name": each, "metadata": {"default_queue_type": each}}
                        for each in QUEUE_TYPES
                    ],
                    "permissions": [{"user": user, "vhost": e, **anything} for e in QUEUE_TYPES],
                }
            )
        )
        (self.folder / "plugins").write_text("[].")
        (self.folder / "rabbitmq.conf").write_text(f"load_definitions = {definitions}\n")


def sqs_command(port: int, *, module: str = "moto.server") -> Sequence[str]:
    """The command of a server that answers as SQS; of `faults.sqs` one that doubles messages."""
    return (sys.executable, "-m", module, "-H", "127.0.0.1", "-p", str(port))


def sqs_url(port: int) -> str:
    """Its URL; it takes every key."""
    return f"sqs://key:secret@127.0.0.1:{port}"
