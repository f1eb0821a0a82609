"""SQS on loopback: `python -m faults.sqs --port N`: moto's server, which doubles some messages.

As SQS may deliver a message twice. Where moto counts all messages of a queue for each that it hands
out, keeps those whose time is over, and loses some that come while others go, it is mended here.
"""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

from moto.core.utils import unix_time, unix_time_millis
from moto.server import main
from moto.sqs.models import Queue, SQSBackend

DOUBLED_SHARE = 0.2
DOUBLED = "a message doubled"  # what is printed
_add, _delete = Queue.add_message, Queue.delete_message


def _is_in_time(self: Any, queue_name: str, message: Any) -> bool:
    kept_seconds = self.get_queue(queue_name).message_retention_period
    return bool(message.sent_timestamp / 1000 + kept_seconds > unix_time())


def _add_message(self: Any, message: Any) -> None:
    oldest = unix_time_millis() - self.message_retention_period * 1000
    with self._messages_lock:
        self._messages = [each for each in self._messages if each.sent_timestamp > oldest]
        _add(self, message)
        if random.random() < DOUBLED_SHARE:
            _add(self, deepcopy(message))
            print(DOUBLED, flush=True)


def _delete_message(self: Any, receipt_handle: str) -> None:
    with self._messages_lock:
        _delete(self, receipt_handle)


if __name__ == "__main__":
    SQSBackend.is_message_valid_based_on_retention_period = _is_in_time
    Queue.add_message = _add_message
    Queue.delete_message = _delete_message
    main()
