"""Sends the same mail with many threads and tells what it took: `python -m bench.sending ours`.

bare: a prepared request by http.client over a kept-alive connection; bulk: the same for 1,000.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from ssl import create_default_context
from urllib.parse import urlsplit

import orjson
from sendgrid import SendGridAPIClient

from shared.languages import Languages
from shared.messages.rendering import TEMPLATES, MailTemplate, Wording, make_environment
from shared.models import Channel, Email, Recipient
from shared.providers.message_checks import message_headers
from shared.providers.sendgrid import PATH, SendGrid, build_payload
from shared.settings import load_settings

WARM_UP_SECONDS = 0.5
SETTINGS = load_settings(os.environ)
TLS = create_default_context()
PARTS = MailTemplate.load(make_environment(TEMPLATES), "reset")
OWN = {
    "greeting": "Hello Person 1,",
    "code": "ABCD-EFGH",
    "link": "https://id.example/ui/password/reset?userId=u1&code=ABCDEFGH",
    "moment": "Sunday, 1 March 2026 at 12:00 (UTC)",
}
VALUES = Wording(SETTINGS, Languages()).common_values("en", None, OWN)
MAIL = Email(
    reset_id="0" * 27,
    recipient=Recipient(Channel.EMAIL, "u1@example.com"),
    from_address="no-reply@keyturn.example",
    from_name="Keyturn",
    subject="Your new password",
    text=PARTS.text.render(VALUES),
    html=PARTS.html.render(VALUES),
    message_id="<1@keyturn.example>",
)
BODY = orjson.dumps(build_payload(MAIL))
BULK_SIZE = 1000


def bulk_body() -> bytes:
    """A request for 1,000 with substitutions as ours."""
    person = {
        "to": [{"email": "u1@example.com"}],
        "headers": message_headers(MAIL),
        "substitutions": {
            f"-{'0' * 16}:{k}.{p}-": v for k, v in OWN.items() for p in ("text", "html")
        },
        "custom_args": {"keyturn_reset_id": "0" * 27},
    }
    return orjson.dumps(build_payload(MAIL) | {"personalizations": [person] * BULK_SIZE})


def bare(body: bytes = BODY) -> Callable[[], object]:
    """A request and its answer over one connection; for one thread."""
    place = urlsplit(SETTINGS.sendgrid_api_url)
    line = HTTPSConnection(place.hostname or "", place.port, context=TLS)
    headers = {"Authorization": "Bearer SG.bench", "Content-Type": "application/json"}

    def send() -> None:
        line.request("POST", PATH, body, headers)
        line.getresponse().read()

    return send


def sender(name: str) -> Callable[[], object]:
    """One call hands over one mail."""
    if name in ("bare", "bulk"):
        return bare(BODY if name == "bare" else bulk_body())
    if name == "ours":
        ours = SendGrid(SETTINGS)
        return lambda: ours.send(MAIL)
    official = SendGridAPIClient(SETTINGS.sendgrid_api_key, host=SETTINGS.sendgrid_api_url)
    return lambda: official.send(build_payload(MAIL))


def main() -> None:
    name, seconds, threads = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    shared, sent, is_over = sender(name), [0] * threads, threading.Event()

    def work(number: int) -> None:
        send = sender(name) if name in ("bare", "bulk") else shared
        while not is_over.is_set():
            send()
            sent[number] += 1

    for number in range(threads):
        threading.Thread(target=work, args=(number,)).start()
    time.sleep(WARM_UP_SECONDS)
    began, cpu, before = time.perf_counter(), time.process_time(), sum(sent)
    time.sleep(seconds)
    took, number = time.perf_counter() - began, sum(sent) - before
    figures = {"cpu_ms": (time.process_time() - cpu) * 1000 / number, "per_second": number / took}
    is_over.set()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
