"""A hint, and the task message that carries it: a name and an id, nothing else."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from shared.models import Channel, Queue

# How long a broker that looks at such things (RabbitMQ) keeps a hint; the sweepers give a new one.
# Nothing in it asks a worker to look at its clock, which may be an hour ahead of the web's.
HINT_LIFETIME_SECONDS = 30
MOST_SHOWN_CHARACTERS = 100


class Task(StrEnum):
    """The names of the tasks, as Flower shows them."""

    SEND_EMAIL = "keyturn.send_email"  # look at one reset
    SEND_SMS = "keyturn.send_sms"
    SEND_EMAILS = "keyturn.send_emails"  # look at many resets by e-mail, named between commas
    APPLY_RECEIPTS = "keyturn.apply_receipts"  # what providers told of one shard's resets
    FEED_BATCH = "keyturn.feed_batch"  # bring one batch further
    SEND_WEBHOOK = "keyturn.send_webhook"  # tell one subscription what is due


SENDING = {Channel.EMAIL: Task.SEND_EMAIL, Channel.SMS: Task.SEND_SMS}


class Hint(NamedTuple):
    """What to look at, by which task, on which queue."""

    about: str  # an id, or ids between commas; nothing else
    task: Task
    queue: Queue


def hint_at(reset_id: str, channel: Channel, queue: Queue) -> Hint:
    """The hint at a reset."""
    return Hint(reset_id, SENDING[channel], queue)


def hint_at_receipts(shard: int) -> Hint:
    """The hint at what providers told of a shard's resets."""
    return Hint(str(shard), Task.APPLY_RECEIPTS, Queue.RECEIPTS)


def hint_at_many(reset_ids: Sequence[str], queue: Queue) -> Hint:
    """The hint at resets by e-mail that may go out in one call."""
    return Hint(",".join(reset_ids), Task.SEND_EMAILS, queue)


def spell_arguments(about: str) -> str:
    """A task's arguments as Flower shows them: many ids by their first ones and their number."""
    if len(about) <= MOST_SHOWN_CHARACTERS:
        return f"('{about}',)"
    shown, number = about[:MOST_SHOWN_CHARACTERS].rpartition(",")[0], about.count(",") + 1
    return f"('{shown},…' {number} in all,)"


class TaskEnvelope:
    """A task message as Celery and kombu make it, made once per task; filling one costs little.

    `delay()` makes it anew each time, at ten times the price (bench/accept.py).
    """

    def __init__(self, app: Any) -> None:
        """`app` is a Celery application; nothing is made before the first hint."""
        self._app = app
        self._made: dict[tuple[Task, Queue], dict[str, Any]] = {}

    def fill(self, channel: Any, hint: Hint) -> bytes:
        """The message of one hint."""
        key = (hint.task, hint.queue)
        if key not in self._made:
            self._made[key] = self._make(channel, *key)
        message = self._made[key]
        task_id = str(uuid.uuid4())
        arguments = [[hint.about], {}, message["embed"]]
        return orjson.dumps(
            {
                **message["rest"],
                "body": base64.b64encode(orjson.dumps(arguments)).decode(),
                "headers": {
                    **message["headers"],
                    "id": task_id,
                    "root_id": task_id,
                    "argsrepr": spell_arguments(hint.about),
                },
                "properties": {
                    **message["properties"],
                    "correlation_id": task_id,
                    "delivery_tag": task_id,
                },
            }
        )

    def _make(self, channel: Any, task: Task, queue: Queue) -> dict[str, Any]:
        made = self._app.amqp.as_task_v2("id", task.value, ("id",), {}, ignore_result=True)
        message = channel.prepare_message(
            "", 0, "application/json", "utf-8", made.headers, dict(made.properties)
        )
        message["properties"].update(
            delivery_mode=2,
            expiration=str(HINT_LIFETIME_SECONDS * 1000),
            body_encoding="base64",
            delivery_info={"exchange": "", "routing_key": queue.value},
        )
        rest = {k: v for k, v in message.items() if k.startswith("content-")}
        return {"rest": rest, "embed": made.body[2], **message}
