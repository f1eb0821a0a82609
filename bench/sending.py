"""Sends the same mail with many threads and tells what it took: `python -m bench.sending ours`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

from sendgrid import SendGridAPIClient

from shared.models import Channel, Email, Recipient
from shared.providers.sendgrid import SendGrid, build_payload
from shared.settings import load_settings

WARM_UP_SECONDS = 0.5
TEXT = "Somebody asked for a new password for Person 1. Was it you?\n" * 20
MAIL = Email(
    reset_id="0" * 27,
    recipient=Recipient(Channel.EMAIL, "u1@example.com"),
    from_address="no-reply@keyturn.example",
    from_name="Keyturn",
    subject="Your new password",
    text=TEXT,
    html=f"<p>{TEXT}</p>" * 4,
    message_id="<1@keyturn.example>",
)


def sender(name: str) -> Callable[[], object]:
    """One call hands over one mail."""
    settings = load_settings(os.environ)
    if name == "ours":
        ours = SendGrid(settings)
        return lambda: ours.send(MAIL)
    official = SendGridAPIClient(settings.sendgrid_api_key, host=settings.sendgrid_api_url)
    return lambda: official.send(build_payload(MAIL))


def main() -> None:
    name, seconds, threads = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    send, sent, is_over = sender(name), [0] * threads, threading.Event()

    def work(number: int) -> None:
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
