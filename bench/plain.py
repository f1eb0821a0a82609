"""The other side of a delivery: a Celery task that makes one bare HTTPS call and does nothing else.

`python -m bench.plain worker` works; `python -m bench.plain call 20 3` calls `delay()` 20 times a
second for 3 s and prints when. Pool, transport options and the size of the call are ours.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
import uuid
from collections import deque
from urllib.parse import urlsplit

from bench.sending import MAIL
from shared.providers.sendgrid import build_payload
from shared.queue import make_celery
from shared.settings import load_settings
from worker.__main__ import worker_arguments

QUEUE = "plain"
settings = load_settings(os.environ)
place = urlsplit(settings.sendgrid_api_url).netloc
context = ssl.create_default_context()
app = make_celery(settings, task_default_queue=QUEUE)
body = json.dumps(build_payload(MAIL), separators=(",", ":"))
idle: deque[http.client.HTTPSConnection] = deque()


@app.task(name="plain.send")
def send(reset_id: str) -> None:
    connection = idle.pop() if idle else http.client.HTTPSConnection(place, context=context)
    connection.request("POST", "/v3/mail/send", body.replace(MAIL.reset_id, reset_id))
    connection.getresponse().read()
    idle.append(connection)


def call(rate: float, seconds: float) -> dict[str, float]:
    """Reset → moment just before `delay()`."""
    send.delay("warms-up")
    sent, began = {}, time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0, began + number / rate - time.perf_counter()))
        reset_id = uuid.uuid4().hex
        sent[reset_id] = time.time()
        send.delay(reset_id)
    return sent


if __name__ == "__main__":
    if sys.argv[1] == "call":
        print(json.dumps(call(float(sys.argv[2]), float(sys.argv[3]))))
    else:
        arguments = worker_arguments([QUEUE], settings)  # type: ignore[list-item]
        app.worker_main(["--quiet", "worker", *arguments])
