"""How full the broker is: asked without patience, and not again for a while when it is away."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import Any

from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError

from shared.errors import BrokerAwayError
from shared.models import Queue

AT_ONCE: dict[str, Any] = {"max_retries": 1, "interval_start": 0}  # or not at all
IMPATIENT = {"socket_timeout": 0.7, "socket_connect_timeout": 0.7}  # a frozen broker is none
REST_SECONDS = 2.0  # after a failure: whoever asks may have better things to do than wait


class BrokerDepth:
    """Asks over one connection, one after the other."""

    def __init__(self, app: Any) -> None:
        """`app` is a Celery application; connects when it is first asked."""
        self._app = app
        self._connection: Any = None
        self._rests_until = 0.0
        self._lock = Lock()

    def waiting(self, queue: Queue) -> int:
        """How many hints the broker holds for a queue; 0 where it cannot be asked so.

        Raises:
            BrokerAwayError: it does not answer, or did not a moment ago.
        """
        with self._lock:
            if monotonic() < self._rests_until:
                raise BrokerAwayError
            try:
                return self._ask(queue)
            except broker_errors(self._app.connection()) as error:
                self._rests_until = monotonic() + REST_SECONDS
                raise BrokerAwayError from error

    def _ask(self, queue: Queue) -> int:
        if self._connection is None:
            self._connection = connect_impatiently(self._app)
        self._connection.ensure_connection(**AT_ONCE)
        channel = self._connection.default_channel
        return int(channel.client.llen(queue.value)) if is_redis(channel) else 0

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.release()


def connect_impatiently(app: Any) -> Any:
    """A connection that soon gives up on a broker that is frozen."""
    patient = app.conf.broker_transport_options
    return app.connection_for_write(transport_options={**patient, **IMPATIENT})


def is_redis(channel: Any) -> bool:
    """True for a channel of kombu's Redis transport."""
    return hasattr(channel, "_q_for_pri") and hasattr(channel, "client")


def broker_errors(connection: Any) -> tuple[type[Exception], ...]:
    """Whatever this broker's client fails with."""
    own = connection.connection_errors + connection.channel_errors
    return (BrokerError, KombuError, OSError, *own)
