"""Messages in the broker as kombu's Redis transport holds them: hints, and what is none."""

from __future__ import annotations

import base64
import json
from typing import Any

SECRET_TEXT = "ada@example.com"
NONE: Any = object()


def encode(text: bytes) -> str:
    return base64.b64encode(text).decode()


def a_message(about: object = "0abc", task: object = "keyturn.send_email", **changes: Any) -> bytes:
    """A hint; `headers`, `properties` and `payload` change it, NONE takes a field out."""
    task_id = "11111111-2222-3333-4444-555555555555"
    embedded = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    payload = changes.pop("payload", [[about], {}, embedded])
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "ignore_result": True,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "there",
        "shadow": None,
    }
    properties: dict[str, Any] = {
        "correlation_id": task_id,
        "delivery_mode": 2,
        "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "urgent"},
        "body_encoding": "base64",
        "delivery_tag": task_id,
    }
    message = {
        "body": encode(json.dumps(payload).encode()),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _changed(headers, changes.pop("headers", {})),
        "properties": _changed(properties, changes.pop("properties", {})),
    }
    return json.dumps(_changed(message, changes)).encode()


def _changed(fields: dict[str, Any], changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    spelled = {
        name.replace("_", "-") if "content" in name else name: v for name, v in changes.items()
    }
    return {name: value for name, value in (fields | spelled).items() if value is not NONE}


def _v1(**fields: Any) -> bytes:
    return a_message(payload={"task": "keyturn.send_email", "id": "x"} | fields, headers=[])


POISON = {
    "no JSON": SECRET_TEXT.encode(),
    "empty": b"",
    "no UTF-8": b"\xff\xfe\x00",
    "a list": b"[1,2]",
    "a number": b"5",
    "null": b"null",
    "a string": b'"x"',
    "an empty object": b"{}",
    "nested deeply": b"[" * 100_000,
    "large": b"{" + b" " * 5_000_000,
    "no properties": a_message(properties=NONE),
    "properties a list": a_message(properties=[]),
    "no delivery tag": a_message(properties={"delivery_tag": NONE}),
    "delivery tag a list": a_message(properties={"delivery_tag": [1]}),
    "body encoding unknown": a_message(properties={"body_encoding": "rot13"}),
    "no headers": a_message(headers=NONE),
    "headers a list": a_message(headers=["a"]),
    "headers a string": a_message(headers="abc"),
    "no task": a_message(headers={"task": NONE}),
    "no id": a_message(headers={"id": NONE}),
    "id a list": a_message(headers={"id": [1]}),
    "task a list": a_message(task=["a"]),
    "task an object": a_message(task={}),
    "task null": a_message(task=None),
    "task unknown": a_message(task="os.system"),
    "task of Celery's own": a_message(task="celery.backend_cleanup"),
    "no base64": a_message(body="!!!"),
    "body a number": a_message(body=5),
    "body a list": a_message(body=[SECRET_TEXT]),
    "body null": a_message(body=None),
    "body no JSON": a_message(body=encode(b"{" + SECRET_TEXT.encode())),
    "body no UTF-8": a_message(body=encode(b"\xff\xfe")),
    "pickle": a_message(
        content_type="application/x-python-serialize",
        content_encoding="binary",
        body=encode(b"cos\nsystem\n(S'true'\ntR."),
    ),
    "yaml": a_message(content_type="application/x-yaml"),
    "type unknown": a_message(content_type="image/png"),
    "type null": a_message(content_type=None),
    "type a list": a_message(content_type=[1]),
    "compressed garbage": a_message(headers={"compression": "application/x-gzip"}),
    "compression unknown": a_message(headers={"compression": "squeeze"}),
    "payload too short": a_message(payload=[["a"]]),
    "payload an object": a_message(payload={}),
    "payload null": a_message(payload=None),
    "arguments a number": a_message(payload=[5, {}, {}]),
    "named a list": a_message(payload=[["a"], [1], {}]),
    "two arguments": a_message(payload=[["a", "b"], {}, {}]),
    "no argument": a_message(payload=[[], {}, {}]),
    "named arguments": a_message(payload=[["a"], {"x": 1}, {}]),
    "embedded callbacks": a_message(payload=[["a"], {}, {"callbacks": ["x"]}]),
    "about a number": a_message(5),
    "about a list": a_message([SECRET_TEXT]),
    "about null": a_message(None),
    "about an address": a_message(SECRET_TEXT),
    "about nothing": a_message(""),
    "eta far away": a_message(headers={"eta": "9999-01-01T00:00:00"}),
    "eta no time": a_message(headers={"eta": "tomorrow"}),
    "expires a list": a_message(headers={"expires": []}),
    "time limit no pair": a_message(headers={"timelimit": "x"}),
    "stamps a number": a_message(headers={"stamped_headers": 5, "stamps": 7}),
    "protocol 1": _v1(args=[SECRET_TEXT], kwargs={}),
    "protocol 1 without arguments": _v1(),
    "protocol 1 with wrong ones": _v1(args=5, kwargs=5),
}
